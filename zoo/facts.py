"""What a card says of a trained model, whether a recipe made it or a search for the plateau."""

import math
from collections.abc import Sequence

from keras_l2feat.objectives import Problem
from keras_l2feat.plateau.curves import EPSILONS
from keras_l2feat.types import Model
from keras_l2feat.zoo.measure import metrics, probe

__all__ = ["certificate_facts", "model_facts", "plateau_facts"]


def model_facts(model: Model, name: str, problem: Problem, seed: int = 0) -> dict:
    """Data, architecture, settings of the training, and figures computed from the model.

    Args:
        model: a built Keras model, dense or convolutional.
        name: under which others find the data: `data.load(name)` gives those of the problem.
        problem: what the model was trained on.
        seed: of the training.
    """
    data = problem.data
    widths = [
        layer.units if hasattr(layer, "units") else layer.filters
        for layer in model.layers
        if layer.weights
    ]
    return {
        "data": name,
        "data_licence": data.licence,
        "data_source": data.source,
        "data_sha256": data.sha256,
        "depth": len(widths),
        "widths": [math.prod(model.input_shape[1:]), *widths],
        "activation": problem.activation,
        "beta": problem.beta,
        "lam": problem.lam,
        "cost": problem.cost,
        "dtype": model.layers[-1].compute_dtype,
        "metrics": metrics(model, problem),
        "probe": probe(model).tolist(),
        "seed": seed,
    }


def plateau_facts(curve: Sequence[tuple]) -> dict:
    """Losses by widths, and for each ε the narrowest widths (by their sum) whose loss is within ε
    of the least.

    Args:
        curve: pairs (hidden widths, loss).
    """
    least = min(loss for _, loss in curve)
    starts = {
        f"{epsilon:g}": list(
            min((widths for widths, loss in curve if loss <= (1 + epsilon) * least), key=sum)
        )
        for epsilon in sorted(EPSILONS)
    }
    return {"start": starts, "curve": {"-".join(map(str, widths)): loss for widths, loss in curve}}


def certificate_facts(found: dict, seed: int) -> dict:
    """What a card says of an insertion certificate: the gap of each hidden layer, and how it was
    found.

    Args:
        found: `InsertionCertificate.as_dict()`.
        seed: of its search.
    """
    result = {
        "gaps": [round(layer["gap"], 6) for layer in found["layers"]],
        "how": "all sign patterns enumerated"
        if found["enumerated"]
        else f"search, seed {seed}: a lower bound",
    }
    if found["lower_bound"] is not None:
        result["lower_bound"] = found["lower_bound"]
    return result
