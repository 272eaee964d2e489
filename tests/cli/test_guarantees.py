"""`l2feat prune` at every guarantee: what it writes, says and refuses."""

import json

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from keras_l2feat.cli.main import main  # noqa: E402
from keras_l2feat.files import save_model  # noqa: E402
from keras_l2feat.network import DenseNetwork  # noqa: E402


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A wide model, and 12 points with labels."""
    folder = tmp_path_factory.mktemp("guarantees")
    random = np.random.default_rng(0)
    weights = [
        w + 0.2 * random.standard_normal(w.shape)
        for w in DenseNetwork.random((4, 60, 2), seed=1).weights
    ]
    save_model(DenseNetwork(tuple(weights)).to_model(lam=1e-2), folder / "wide.keras")
    x = random.uniform(0, 1, (12, 4)).astype("float32")
    np.savez(folder / "points.npz", x_train=x, y_train=random.integers(0, 2, 12))
    np.savez(folder / "range.npz", low=np.zeros(4), high=np.full(4, 0.1))
    return folder


def invoke(capsys, folder, *options):
    """Exit code, stdout and stderr."""
    with pytest.raises(SystemExit) as ended:
        main(
            ["prune", str(folder / "wide.keras"), *(str(o) for o in options), "--no-latency", "-q"]
        )
    said = capsys.readouterr()
    return ended.value.code or 0, said.out, said.err


def run(capsys, folder, *options):
    code, out, err = invoke(capsys, folder, *options, "--json", "-")
    assert code == 0, err
    return json.loads(out)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--guarantee", "domain", "--input-range", "0,0.1"), "inactive"),
        (("--guarantee", "domain", "--input-range", "{}/range.npz"), "inactive"),
        (("--guarantee", "data", "--data", "{}/points.npz"), "redundant on the data"),
        (("--guarantee", "bounded", "--data", "{}/points.npz", "--tolerance", "0.1"), "taken over"),
        (("--guarantee", "bounded", "--input-range", "0,1", "--tolerance", "0.5"), "near-aligned"),
    ],
)
def test_each_guarantee_writes_a_smaller_verified_model(capsys, folder, tmp_path, options, reason):
    out, page = tmp_path / "small.keras", tmp_path / "page.html"
    result = run(capsys, folder, *(o.format(folder) for o in options), "-o", out, "--report", page)
    assert result["guarantee"] == options[1]
    assert result["verified"]
    (layer, _) = result["layers"]
    assert layer["units_after"] < layer["units_before"] == 60
    assert reason in layer["removed"]
    assert DenseNetwork.from_model(keras.saving.load_model(out)).hidden == (layer["units_after"],)
    assert result["max_abs_deviation"] <= result["bound"]
    assert page.read_text().count("<h2>") == 4 + (reason == "taken over")  # and all sizes


def test_a_size_is_reached_and_the_tradeoff_written(capsys, folder, tmp_path):
    points = folder / "points.npz"
    options = ("--guarantee", "bounded", "--data", points, "--test-data", points, "--units", "50%")
    for suffix, start in ((".csv", b"units,flops,parameters,points,max_abs"), (".png", b"\x89PNG")):
        out = tmp_path / f"curve{suffix}"
        page = tmp_path / f"page{suffix}.html"
        result = run(capsys, folder, *options, "--per", "flops", "--curve", out, "--report", page)
        assert out.read_bytes().startswith(start)
    assert result["layers"][0]["units_after"] <= 30
    body = page.read_text().partition("<pre>")[0]
    assert "All sizes" in body
    assert body.count("--flops ") == len(result["facts"]["curve"]) == body.count('r="2"')
    assert list(result["facts"]["measured"]) == ["fitted", "held out", "test"]
    assert result["verified"] is False  # no output is bounded


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--guarantee", "domain"), "--input-range"),
        (("--guarantee", "data"), "--data"),
        (("--guarantee", "bounded"), "--tolerance"),
        (("--guarantee", "bounded", "--tolerance", "0.1"), "needs data"),
        (("--guarantee", "bounded", "--tolerance", "-1"), "-1.0 is not in the range x>0"),
        (("--tolerance", "0.1"), "belongs to"),
        (("--keep-loss", "1%"), "'--keep-loss' belongs to"),
        (("--polish",), "see l2feat shrink"),
        (("--guarantee", "bounded", "--units", "0.5"), "needs data"),
        (("--guarantee", "bounded", "--units", "5%", "--agree", "1"), "One target"),
        (("--guarantee", "bounded", "--units", "0.5", "--curve", "a.gif"), ".csv or .png"),
        (("--curve", "a.csv"), "'--curve' belongs to"),
        (("--guarantee", "domain", "--input-range", "1,0"), "lower bound first"),
        (("--guarantee", "domain", "--input-range", "nan,1"), "lower bound first"),
    ],
)
def test_mistakes_are_named_and_nothing_is_written(capsys, folder, tmp_path, options, message):
    out = tmp_path / "small.keras"
    code, _, err = invoke(capsys, folder, *options, "-o", out)
    assert code == 2
    assert message in err
    assert not out.exists()
