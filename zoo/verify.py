"""Checking a model of the zoo against its card: file, figures, certificate, and equivalence to its
parent."""

from dataclasses import dataclass

import numpy as np

from keras_l2feat import data as datasets
from keras_l2feat.errors import InputError
from keras_l2feat.objectives import Problem
from keras_l2feat.zoo.measure import metrics, probe
from keras_l2feat.zoo.models import load_entry
from keras_l2feat.zoo.registry import FOLDER, entry

__all__ = ["Check", "verify"]

# A figure computed on another machine differs by the rounding of float32 sums; an accuracy by a tie
# or two at most.
RELATIVE, ABSOLUTE, PREDICTIONS = 1e-4, 1e-7, 1e-3
PROBE = 1e-6  # relative to the largest output: a few float32 roundings
GAP = 0.05  # the certificate's search is seeded, but climbs along rounded paths


@dataclass(frozen=True)
class Check:
    """One thing that was checked.

    Attributes:
        what: for example "test_accuracy".
        expected, found: as the card says, and as computed now.
        passed: whether they agree; `None` where it could not be checked, `found` then says why.
    """

    what: str
    expected: object
    found: object
    passed: bool | None


def verify(name: str, *, quiet: bool = True) -> list[Check]:
    """Check a model against its card.

    Args:
        name: of the model.
        quiet: no progress bar while downloading.

    Returns: every check, in order. Data that are not on this machine leave figures unchecked, and
        it says so.

    Raises:
        InputError: no such model, or its file cannot be had.
        CheckFailed: the file is not the one that the registry describes.
    """
    one = entry(name)
    model, facts = load_entry(one, quiet=quiet), one.facts
    checks = [Check("sha256", one.sha256, one.sha256, True)]  # or it would not have loaded
    checks.append(_equal("parameters", facts.get("parameters"), model.count_params()))
    if "probe" in facts:
        expected = np.array(facts["probe"])
        difference = float(np.abs(probe(model) - expected).max())
        limit = PROBE * max(1.0, float(np.abs(expected).max()))
        checks.append(
            Check("difference of the outputs on a ramp", limit, difference, difference <= limit)
        )
    try:
        data = datasets.load(facts["data"])
    except (KeyError, InputError) as error:
        reason = f"data not here: {error}" if "data" in facts else "the card names no data"
        return [*checks, Check("figures", None, reason, None)]
    checks.append(_equal("data_sha256", facts.get("data_sha256"), data.sha256))
    settings = {key: facts[key] for key in ("cost", "activation", "beta") if key in facts}
    problem = Problem(data, facts["lam"], **settings)
    found = metrics(model, problem)
    for figure, expected in facts.get("metrics", {}).items():
        checks.append(_close(figure, expected, found.get(figure)))
    if "certificate" in facts:
        checks += _certificate(facts, model, problem)
    if "parent" in facts:
        checks += _proof(one, model, quiet)
        checks += _equivalence(facts, model, data, quiet)
    return checks


def _equal(what, expected, found) -> Check:
    return Check(what, expected, found, expected == found)


def _close(figure, expected, found) -> Check:
    slack = PREDICTIONS if figure.endswith("accuracy") else ABSOLUTE + RELATIVE * abs(expected)
    return Check(figure, expected, found, found is not None and abs(found - expected) <= slack)


def _certificate(facts, model, problem):
    from keras_l2feat.network import DenseNetwork
    from keras_l2feat.plateau.insertion import certify

    found = certify(DenseNetwork.from_model(model), problem, seed=facts.get("seed", 0))
    for layer, expected in zip(found.layers, facts["certificate"]["gaps"]):
        passed = abs(layer.gap - expected) <= GAP * (1 + abs(expected))
        yield Check(f"certificate gap of layer {layer.layer}", expected, layer.gap, passed)


def _proof(one, model, quiet):
    """What the shipped certificate says of the parent and the model, shown again in integers."""
    path = FOLDER / "certificates" / f"{one.name}.json"
    if not path.exists():
        return
    from keras_l2feat.checking import check
    from keras_l2feat.pruning.certificate import load_certificate
    from keras_l2feat.pruning.channels.read import read

    claim, maps = load_certificate(path)
    parent = load_entry(entry(one.facts["parent"]), quiet=quiet)
    found = check(read(parent), read(model), maps, exact=True, input_range=claim.input_range)
    yield Check(f"equal to {one.facts['parent']}, proved", True, str(found), found.accepted)


def _equivalence(facts, model, data, quiet):
    """The parent and the model in float64, on the data and on random inputs, against the rounding
    bound."""
    from keras_l2feat.pruning.certificate import Claim, compare
    from keras_l2feat.pruning.channels.read import read

    parent = load_entry(entry(facts["parent"]), quiet=quiet)
    inputs = [
        data.inputs(model, split)
        for split, x in (("train", data.x_train), ("test", data.x_test))
        if x is not None
    ]
    stated = facts["equivalence"]
    claim = Claim("data") if stated["guarantee"] == "data" else Claim()
    for one in compare(read(parent), model, claim, data=(data.name, [np.concatenate(inputs)])):
        yield Check(
            f"deviation from {facts['parent']}, {one.inputs}", one.bound, one.max_abs, one.passed
        )
        if "changed_predictions" in stated and one.inputs.startswith("data"):
            limit = stated["changed_predictions"]
            yield Check("changed predictions", limit, one.changed, one.changed <= limit)
