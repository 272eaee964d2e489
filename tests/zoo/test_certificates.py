"""The certificates that are shipped prove their pairs, in integers."""

import pytest

from keras_l2feat import files
from keras_l2feat.checking import check
from keras_l2feat.pruning.certificate import load_certificate
from keras_l2feat.pruning.channels.read import read
from keras_l2feat.zoo.registry import FOLDER, entries, entry

NAMES = sorted(path.stem for path in (FOLDER / "certificates").glob("*.json"))


def test_every_exact_pair_has_one():
    pairs = [one for one in entries() if "parent" in one.facts]
    assert len(pairs) >= 20
    assert (
        sorted(one.name for one in pairs if one.facts["equivalence"]["guarantee"] == "exact")
        == NAMES
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_certificate_proves_its_pair(name):
    one = entry(name)
    wide, small = (
        read(files.load_model(FOLDER / "weights" / file))
        for file in (entry(one.facts["parent"]).file, one.file)
    )
    claim, maps = load_certificate(FOLDER / "certificates" / f"{name}.json")
    verdict = check(wide, small, maps, exact=True, input_range=claim.input_range)
    assert verdict.accepted, verdict
    assert verdict.worst.units <= 16
    small.model.weights[0].assign(1.001 * small.model.weights[0])
    assert not check(wide, small, maps, exact=True).accepted
