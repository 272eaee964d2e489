"""From a recipe to two models with their cards: data → training steps → wide parent → pruned
plateau → figures."""

import hashlib
import time
from collections.abc import Sequence
from pathlib import Path

from keras_l2feat import data as datasets
from keras_l2feat import files
from keras_l2feat.errors import CheckFailed, InputError
from keras_l2feat.network import DenseNetwork
from keras_l2feat.plateau import certify
from keras_l2feat.zoo import best, registry
from keras_l2feat.zoo.cards import card_text
from keras_l2feat.zoo.checkpoints import Checkpoints
from keras_l2feat.zoo.facts import certificate_facts, model_facts, plateau_facts
from keras_l2feat.zoo.making import ALIGNED, Making, bare
from keras_l2feat.zoo.models import save
from keras_l2feat.zoo.recipe import recipe
from keras_l2feat.zoo.registry import Entry
from keras_l2feat.zoo.steps import take

__all__ = ["build", "check", "ship"]


def build(name: str, folder: str | Path, *, quiet: bool = False) -> list:
    """Follow a recipe and save both models with cards and rows into `folder`. What was interrupted
    goes on after the last step that was done.

    Args:
        name: of the recipe, or of one of its models.
        folder: an existing folder.
        quiet: no progress bars.

    Returns: the two entries, wide and narrow; one, where the recipe makes no pair.

    Raises:
        InputError: no such recipe, or its data are not here.
        CheckFailed: the narrow model is not equivalent to its parent, or has a greater loss than
            the recipe allows; nothing is written.
    """
    chosen = recipe(name)
    making = Making(chosen, datasets.load(chosen.data), quiet=quiet)
    steps = Checkpoints(Path(folder) / f"{chosen.name}.steps", making)
    for count in range(steps.restore(), len(chosen.steps)):
        began = time.process_time()
        take(making, chosen.steps[count])
        making.seconds += time.process_time() - began
        steps.keep(count + 1)
    model = stored(making)
    if chosen.pair:
        built = _pair(making, model, folder)
    else:
        built = [_saved(making, "shrunk", model, folder, *_costs(model))]
    steps.clear()
    return built


def _pair(making, wide, folder):
    """The two entries of a wide model and what is pruned of it."""
    from keras_l2feat.pruning import prune
    from keras_l2feat.pruning.certificate import save_certificate

    chosen = making.recipe
    narrow, certificate = prune(
        wide, chosen.guarantee, data=making.data, seed=chosen.seed, **chosen.prune
    )
    about = {
        "parent": chosen.models["wide"],
        "equivalence": _equivalence(certificate, making.data),
    }
    costs = _costs(wide, narrow)
    with files.together():  # both, or none where a limit is missed
        built = [
            _saved(making, role, model, folder, facts)
            for role, model, facts in zip(
                chosen.roles, (wide, narrow), (costs[0], costs[1] | about)
            )
        ]
        _check_limits(chosen, built[-1].facts)
    if certificate.proved:
        save_certificate(certificate, _certificate_of(built[-1], folder))
    return built


def _check_limits(chosen, facts):
    """Raise `CheckFailed` where the narrow model misses what the recipe asks of it."""
    figures = [("loss", facts["metrics"]["train_loss"], chosen.limit)]
    if chosen.gap is not None:
        figures.append(("gap", max(facts["certificate"]["gaps"]), chosen.gap))
    for figure, found, most in figures:
        if found > most:
            told = f"the {figure} is {found:.6g}. Expected: at most {most:.6g}"
            raise CheckFailed(f"Recipe {chosen.name!r}: {told}.")


def _saved(making, role, model, folder, about):
    facts = _facts(making, role, model) | about
    return save(model, facts, Path(folder) / f"{making.recipe.models[role]}.keras")


def _costs(*models) -> list:
    """What each costs; they are timed in turns."""
    from keras_l2feat.pruning.channels.read import read
    from keras_l2feat.pruning.measure import costs, latencies

    graphs = [read(model) for model in models]
    _, times = latencies(models, graphs[0])
    return [
        costs(model, graph) | {"latency_ms": round(1e3 * seconds, 4)}
        for model, graph, seconds in zip(models, graphs, times)
    ]


def check(built: Sequence[Entry], shipped: dict[str, Entry] | None = None) -> list[str]:
    """What differs between built models and the shipped figures by more than the recipe's
    tolerances, one line each.

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
                differences.append(
                    f"{one.name}: {figure} is {now}, shipped {was}, tolerance {limit}"
                )
        if one.facts["recipe_sha256"] != expected.facts["recipe_sha256"]:
            differences.append(
                f"{one.name}: the recipe has changed since the shipped model was built"
            )
    return differences


def ship(built: Sequence[Entry], folder: str | Path) -> None:
    """Put models built in `folder` into the package itself: weights, cards and registry rows. For
    maintainers.

    Raises:
        CheckFailed: a file is not what its entry says.
    """
    rows = {one.name: one.as_row() for one in registry.read(registry.FOLDER / "registry.json")}
    for one in built:
        source = files.current(Path(folder) / one.file)
        content = source.read_bytes()
        if hashlib.sha256(content).hexdigest() != one.sha256:
            raise CheckFailed(f"{str(source)!r} has changed since it was built.")
        shipped = registry.Entry(**one.as_row() | {"shipped": True})
        with files.atomic_path(registry.FOLDER / "weights" / one.file) as temporary:
            temporary.write_bytes(content)
        proof = files.current(_certificate_of(one, folder))
        if proof.exists():
            files.write_text(
                registry.FOLDER / "certificates" / f"{one.name}.json", proof.read_text()
            )
        rows[one.name] = shipped.as_row()
    best.lower([row["facts"] for row in rows.values()])
    for name, row in rows.items():  # what all are compared with may be lower now
        files.write_text(registry.FOLDER / "cards" / f"{name}.md", card_text(registry.Entry(**row)))
    order = sorted(rows, key=lambda name: _place(rows[name]["facts"]))
    files.write_json(
        registry.FOLDER / "registry.json", {"format": 1, "models": [rows[name] for name in order]}
    )


def _place(facts):
    """Where a row stands in the registry: families together, of a pair the parent first."""
    return facts["family"], facts["recipe"], facts["role"] != "wide"


def _certificate_of(built, folder):
    """Where the certificate of a built model lies: beside it."""
    return Path(folder) / f"{built.name}.certificate.json"


def stored(making):
    """The trained model in the dtype in which it is saved, without an optimizer's state.

    Neurons that training holds on one ray still differ by its rounding errors, which show in their
    least weights; they become exact multiples, so that they are one neuron for every input.
    """
    from keras_l2feat.training.rays import snap

    try:
        DenseNetwork.from_model(making.model)
        snap(making.model, ALIGNED, 0.0)
        network = DenseNetwork.from_model(making.model)
    except InputError:  # not a chain of dense layers: it was trained in its own dtype
        return bare(making.model)
    return network.to_model(
        dtype=making.recipe.dtype, lam=making.recipe.lam, name=making.model.name
    )


def _facts(making, role, model) -> dict:
    chosen, problem = making.recipe, making.problem
    facts = {
        "title": chosen.title,
        "family": chosen.family,
        "role": role,
        **model_facts(model, chosen.data, problem, chosen.seed),
        "recipe": f"recipes/{chosen.name}.yaml",
        "recipe_sha256": chosen.sha256,
        "seconds": round(making.seconds, 1),
    }
    if chosen.optimum:
        facts["optimum"] = chosen.optimum
    if making.curve:
        facts["plateau"] = plateau_facts(making.curve)
    best.compare(facts, chosen.best)
    # of the parent it would say the same: it is one function, in more neurons
    if chosen.certificate and role != "wide":
        found = certify(DenseNetwork.from_model(model), problem, seed=chosen.seed)
        facts["certificate"] = certificate_facts(found.as_dict(), chosen.seed)
    return facts


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
