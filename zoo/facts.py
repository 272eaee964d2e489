"""What a card says of a trained model, whether a recipe made it or a search for the plateau."""

import math

from keras_l2feat.plateau import certify
from keras_l2feat.plateau.curves import EPSILONS
from keras_l2feat.zoo.measure import metrics, probe

__all__ = ["certificate_facts", "model_facts", "plateau_facts"]


def model_facts(model, data, name, *, lam, cost=None, activation="relu", beta=1.0, seed=0) -> dict:
    """Data, architecture, settings of the training, and figures computed from the model.

    Args:
        model: a built Keras model, dense or convolutional.
        data: the `data.Dataset` it was trained on, which `data.load(name)` gives.
        name: under which others find the data.
        lam, cost, activation, beta, seed: of the training.
    """
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
        "activation": activation,
        "beta": beta,
        "lam": lam,
        "cost": cost or data.cost,
        "dtype": model.layers[-1].compute_dtype,
        "metrics": metrics(model, data, lam, cost),
        "probe": probe(model).tolist(),
        "seed": seed,
    }


def plateau_facts(curve) -> dict:
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


def certificate_facts(network, data, lam, cost=None, seed=0) -> dict:
    """The gap of the insertion certificate of each hidden layer of a `DenseNetwork`, and how it was
    found."""
    found = certify(network, data, lam, cost=cost, seed=seed)
    result = {
        "gaps": [round(layer.gap, 6) for layer in found.layers],
        "how": "all sign patterns enumerated"
        if found.enumerated
        else f"search, seed {seed}: a lower bound",
    }
    if found.lower_bound is not None:
        result["lower_bound"] = found.lower_bound
    return result
