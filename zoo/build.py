"""From a recipe to two models with their cards: data → training steps → wide parent → pruned plateau → figures."""

import math
from pathlib import Path

from keras_l2feat import data as datasets
from keras_l2feat import files
from keras_l2feat.errors import CheckFailed, InputError
from keras_l2feat.network import DenseNetwork
from keras_l2feat.zoo import registry
from keras_l2feat.zoo.cards import card_text
from keras_l2feat.zoo.measure import metrics, probe
from keras_l2feat.zoo.models import save
from keras_l2feat.zoo.recipe import ROLES, Recipe, recipe
from keras_l2feat.zoo.steps import Making, take

__all__ = ["EPSILONS", "build", "check", "ship"]

EPSILONS = (0.001, 0.01, 0.05)  # shares by which the loss may exceed the least one found


def build(name, folder, *, quiet=False) -> list:
    """Follow a recipe and save both models with cards and rows into `folder`.

    Args:
        name: of the recipe, or of one of its models.
        folder: an existing folder.
        quiet: no progress bars.

    Returns: the two entries, wide and plateau.

    Raises:
        InputError: no such recipe, or its data are not here.
        CheckFailed: the plateau is not equivalent to its parent; nothing is written.
    """
    from keras_l2feat.pruning import prune
    from keras_l2feat.pruning.graph import read
    from keras_l2feat.pruning.measure import latencies

    chosen = recipe(name)
    making = Making(chosen, datasets.load(chosen.data), quiet=quiet)
    for step in chosen.steps:
        take(making, step)
    wide = _stored(making)
    pruned, certificate = prune(wide, chosen.guarantee, data=making.data, seed=chosen.seed, **chosen.prune)
    seconds = latencies([wide, pruned], read(wide))
    built = []
    for role, model, latency in zip(ROLES, (wide, pruned), seconds):
        when = "before" if role == "wide" else "after"
        facts = _facts(making, role, model) | {
            "parameters": certificate.costs[f"parameters_{when}"],
            "flops": certificate.costs[f"flops_{when}"],
            "latency_ms": round(1e3 * latency, 4),
        }
        if role == "plateau":
            facts |= {"parent": chosen.models["wide"], "equivalence": _equivalence(certificate, making.data)}
        built.append(save(model, facts, Path(folder) / f"{chosen.models[role]}.keras"))
    return built


def check(built, shipped=None) -> list[str]:
    """What differs between built models and the shipped figures by more than the recipe's tolerances, one line each.

    Args:
        built: entries from `build`.
        shipped: the entries to compare with; by default those of the registry.
    """
    differences = []
    for one in built:
        expected = (shipped or {}).get(one.name) or registry.entry(one.name)
        for figure, limit in recipe(one.name).tolerances.items():
            was, now = (entry.facts["metrics"].get(figure) for entry in (expected, one))
            if was is None or now is None or not abs(now - was) <= limit:
                differences.append(f"{one.name}: {figure} is {now}, shipped {was}, tolerance {limit}")
        if one.facts["recipe_sha256"] != expected.facts["recipe_sha256"]:
            differences.append(f"{one.name}: the recipe has changed since the shipped model was built")
    return differences


def ship(built, folder) -> None:
    """Put models built in `folder` into the package itself: weights, cards and registry rows. For maintainers.

    Raises:
        CheckFailed: a file is not what its entry says.
    """
    rows = {one.name: one.as_row() for one in registry.read(registry.FOLDER / "registry.json")}
    for one in built:
        source = Path(folder) / one.file
        if files.sha256(source) != one.sha256:
            raise CheckFailed(f"{str(source)!r} has changed since it was built.")
        shipped = registry.Entry(**one.as_row() | {"shipped": True})
        with files.atomic_path(registry.FOLDER / "weights" / one.file) as temporary:
            temporary.write_bytes(source.read_bytes())
        files.write_text(registry.FOLDER / "cards" / f"{one.name}.md", card_text(shipped))
        rows[one.name] = shipped.as_row()
    order = sorted(rows, key=lambda name: (rows[name]["facts"]["family"], name.rpartition("-")[0], name[::-1]))
    files.write_json(registry.FOLDER / "registry.json", {"format": 1, "models": [rows[name] for name in order]})


def _stored(making):
    """The trained model in the dtype in which it is saved, without an optimizer's state."""
    try:
        network = DenseNetwork.from_model(making.model)
    except InputError:  # not a chain of dense layers: it was trained in its own dtype
        model = making.model.__class__.from_config(making.model.get_config())
        model.set_weights(making.model.get_weights())
        return model
    return network.to_model(dtype=making.recipe.dtype, lam=making.recipe.lam, name=making.model.name)


def _facts(making, role, model) -> dict:
    chosen, data = making.recipe, making.data
    facts = {
        "title": chosen.title,
        "family": chosen.family,
        "role": role,
        "data": chosen.data,
        "data_licence": data.licence,
        "data_source": data.source,
        "data_sha256": data.sha256,
        "activation": chosen.activation,
        "beta": chosen.beta,
        "lam": chosen.lam,
        "cost": chosen.cost or data.cost,
        "dtype": model.layers[-1].compute_dtype,
        "metrics": metrics(model, data, chosen.lam, chosen.cost),
        "probe": probe(model).tolist(),
        "recipe": f"recipes/{chosen.name}.yaml",
        "recipe_sha256": chosen.sha256,
        "seed": chosen.seed,
    }
    if chosen.optimum:
        facts["optimum"] = chosen.optimum
    widths = [layer.units if hasattr(layer, "units") else layer.filters for layer in model.layers if layer.weights]
    facts |= {"depth": len(widths), "widths": [math.prod(model.input_shape[1:]), *widths]}
    if making.curve:
        curve = {"-".join(map(str, widths)): loss for widths, loss in making.curve}
        facts["plateau"] = {"start": _starts(making.curve), "curve": curve}
    if chosen.certificate and role == "plateau":  # the same function as its parent, in the fewest neurons
        facts["certificate"] = _certificate(chosen, data, model)
    return facts


def _starts(curve) -> dict:
    """For each ε the narrowest widths (by their sum) whose loss is within ε of the least one found."""
    least = min(loss for _, loss in curve)
    return {
        f"{epsilon:g}": min((widths for widths, loss in curve if loss <= (1 + epsilon) * least), key=sum)
        for epsilon in EPSILONS
    }


def _certificate(chosen: Recipe, data, model) -> dict:
    from keras_l2feat.plateau.insertion import certify

    found = certify(DenseNetwork.from_model(model), data, chosen.lam, cost=chosen.cost, seed=chosen.seed)
    result = {
        "gaps": [round(layer.gap, 6) for layer in found.layers],
        "how": "all sign patterns enumerated" if found.enumerated else f"search, seed {chosen.seed}: a lower bound",
    }
    if found.lower_bound is not None:
        result["lower_bound"] = found.lower_bound
    return result


def _equivalence(certificate, data) -> dict:
    found = {
        "guarantee": certificate.guarantee,
        "max_abs_deviation": certificate.max_abs_deviation,
        "max_rel_deviation": certificate.max_rel_deviation,
        "bound": certificate.bound,
    }
    if data.classes is not None:
        found["changed_predictions"] = int(certificate.worst("changed"))
    return found
