import json

import pandas as pd
import pytest
from click.testing import CliRunner

from keras_l2feat import zoo
from keras_l2feat.cli.plateau import WidthRange
from keras_l2feat.cli.plateau import command as plateau
from keras_l2feat.cli.train import command as train
from keras_l2feat.errors import InputError
from keras_l2feat.files import load_model
from keras_l2feat.zoo.verify import verify


def run(command, *arguments):
    return CliRunner().invoke(
        command, [str(argument) for argument in arguments], catch_exceptions=False
    )


def test_width_ranges():
    convert = WidthRange().convert
    assert convert("2:100", None, None)[0::11] == (2, 100)
    assert len(convert("2:100", None, None)) == 12
    assert convert("1:4:3", None, None) == (1, 2, 4)
    assert convert("5,3", None, None) == (3, 5)
    for wrong in ("0:5", "a", "5,-1", ""):
        with pytest.raises(Exception, match="a range as in 2:100"):
            convert(wrong, None, None)


def test_train_writes_a_model(tmp_path):
    out = tmp_path / "m.keras"
    result = run(
        train,
        "mnist-789-42",
        "--widths",
        "4,3",
        "--iterations",
        20,
        "-o",
        out,
        "--json",
        "-",
        "--quiet",
    )
    report = json.loads(result.stdout)
    assert report["widths"] == [4, 3]
    assert report["reason"] == "max_iterations"
    assert load_model(out).count_params() == 785 * 4 + 5 * 3 + 4 * 3
    with pytest.raises(InputError, match=r"takes a file name that ends in \.keras"):
        run(train, "mnist-789-42", "-o", tmp_path / "m.h5")


@pytest.mark.slow
def test_plateau_writes_tables_picture_and_model(tmp_path):
    arguments = [
        "mnist-789-42",
        "--lam",
        "1e-2",
        "--widths",
        "2,3,8",
        "--iterations",
        60,
        "--certify",
        "-o",
        tmp_path,
    ]
    result = run(plateau, *arguments)
    assert "within 1 % of the least loss from width 3" in result.stdout
    frame = pd.read_csv(tmp_path / "curve.csv")
    assert list(frame["width"]) == [2, 3, 8]
    assert frame["gap"].notna().all()
    assert json.loads((tmp_path / "curve.json").read_text())["model"]["width"] == 3
    assert load_model(tmp_path / "model.keras").layers[0].units == 3
    assert (tmp_path / "curve.png").stat().st_size > 10_000
    row = json.loads((tmp_path / "model.json").read_text())
    address = {"file": row["file"], "url": (tmp_path / row["file"]).as_uri()}
    zoo.register(row["name"], **address, sha256=row["sha256"], size=row["size"], **row["facts"])
    checks = verify(row["name"])
    assert {"train_loss", "test_accuracy", "certificate gap of layer 2"} <= {
        check.what for check in checks
    }
    assert all(check.passed for check in checks), checks
    assert row["facts"]["plateau"]["start"]["0.01"] == [3, 3]
    # the gaps of the card are those that the curve was drawn from, to the digits it shows
    assert max(row["facts"]["certificate"]["gaps"]) == pytest.approx(frame["gap"][1], abs=1e-6)
    assert "Generated from the registry" not in (tmp_path / "model.md").read_text()
    before = (tmp_path / "curve.csv").read_bytes()
    run(plateau, *arguments)
    assert (tmp_path / "curve.csv").read_bytes() == before


@pytest.mark.slow
def test_sparsity_against_lam_and_n(tmp_path):
    """At λ = 10 no weights pay for themselves and any width will do; at 1e-2 three classes need
    three neurons."""
    options = ["--widths", "1,2,3,5", "--iterations", 60, "--sweep-lam", "--points", "21,42"]
    result = run(plateau, "mnist-789-42", "--lam", "10,1e-2", *options, "-o", tmp_path)
    rows = pd.read_csv(tmp_path / "sparsity.csv")
    assert list(rows) == ["lam", "n", "width", "low", "high", "reached"]
    assert sorted(zip(rows["lam"], rows["n"])) == [(0.01, 21), (0.01, 42), (10, 21), (10, 42)]
    starts = rows.set_index(["lam", "n"])["width"]
    assert starts[10, 21] == starts[10, 42] == 1
    assert starts[0.01, 42] == 3
    assert (tmp_path / "sparsity.png").stat().st_size > 10_000
    assert json.loads((tmp_path / "curve.json").read_text())["points"] == 42
    assert "λ = 0.01: within 1 % of the least loss from width 3" in result.stdout


def test_dry_run_and_mistakes(tmp_path):
    result = run(
        plateau,
        "mnist-789-42",
        "--lam",
        "1e-2,1e-3",
        "--widths",
        "2,3",
        "--method",
        "sweep",
        "--dry-run",
    )
    assert "4 tasks, about" in result.stdout
    with pytest.raises(InputError, match="'-o DIR' is needed"):
        run(plateau, "mnist-789-42")
    with pytest.raises(InputError, match="needs --method descent"):
        run(plateau, "mnist-789-42", "--per-layer", "--method", "sweep", "-o", tmp_path)
    with pytest.raises(InputError, match="'--continuation' needs --method descent"):
        run(plateau, "mnist-789-42", "--continuation", "1e-2", "--method", "growth", "-o", tmp_path)
    with pytest.raises(InputError, match="'continuation' must be λs that fall and end above"):
        run(plateau, "mnist-789-42", "--continuation", "1e-4", "--widths", "2", "-o", tmp_path)
    with pytest.raises(InputError, match="'--points' needs --sweep-lam"):
        run(plateau, "mnist-789-42", "--points", "10", "-o", tmp_path)
    with pytest.raises(InputError, match="'--points' must be at most N = 42"):
        run(plateau, "mnist-789-42", "--points", "50", "--sweep-lam", "-o", tmp_path)
