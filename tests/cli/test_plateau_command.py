import json

import pandas as pd
import pytest
from click.testing import CliRunner

from keras_l2feat.cli.plateau import WidthRange
from keras_l2feat.cli.plateau import command as plateau
from keras_l2feat.cli.train import command as train
from keras_l2feat.errors import InputError
from keras_l2feat.files import load_model


def run(command, *arguments):
    return CliRunner().invoke(command, [str(argument) for argument in arguments], catch_exceptions=False)


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
    result = run(train, "mnist-789-42", "--widths", "4,3", "--iterations", 20, "-o", out, "--json", "-", "--quiet")
    report = json.loads(result.stdout)
    assert report["widths"] == [4, 3]
    assert report["reason"] == "max_iterations"
    assert load_model(out).count_params() == 785 * 4 + 5 * 3 + 4 * 3
    with pytest.raises(InputError, match=r"must name a file that ends in \.keras"):
        run(train, "mnist-789-42", "-o", tmp_path / "m.h5")


@pytest.mark.slow
def test_plateau_writes_tables_picture_and_model(tmp_path):
    arguments = ["mnist-789-42", "--lam", "1e-2", "--widths", "2,3", "--iterations", 30, "--certify", "-o", tmp_path]
    result = run(plateau, *arguments)
    assert "within 1 % of the least loss from width 3" in result.stdout
    frame = pd.read_csv(tmp_path / "curve.csv")
    assert list(frame["width"]) == [2, 3]
    assert frame["gap"].notna().all()
    assert json.loads((tmp_path / "curve.json").read_text())["model"]["width"] == 3
    assert load_model(tmp_path / "model.keras").layers[0].units == 3
    assert (tmp_path / "curve.png").stat().st_size > 10_000
    before = (tmp_path / "curve.csv").read_bytes()
    run(plateau, *arguments)
    assert (tmp_path / "curve.csv").read_bytes() == before


def test_dry_run_and_mistakes(tmp_path):
    result = run(plateau, "mnist-789-42", "--lam", "1e-2,1e-3", "--widths", "2,3", "--method", "sweep", "--dry-run")
    assert "4 tasks, about" in result.stdout
    with pytest.raises(InputError, match="'-o DIR' is needed"):
        run(plateau, "mnist-789-42")
    with pytest.raises(InputError, match="needs --method descent"):
        run(plateau, "mnist-789-42", "--per-layer", "--method", "sweep", "-o", tmp_path)
