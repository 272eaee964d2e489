"""Claims compare as they say, and the quick experiments agree with the papers."""

import csv
import importlib

import networkx as nx
import pytest
from click.testing import CliRunner

from keras_l2feat.cli.reproduce import command as reproduce
from keras_l2feat.experiments.claims import Claims

SMALLER = {
    "prop13": {
        "GRAPHS": {"bipartite 3+3": nx.complete_bipartite_graph(3, 3), "path 4": nx.path_graph(4)},
        "RESTARTS": 5,
    },
    "prop14": {"SIZES": (4,)},
    "prop15": {"SIZES": (2, 4), "SHOWN": 4, "DRAWS": 3, "TRIALS": 2},
    "prop19": {},
    "linear": {"DEPTHS": (2, 3), "SHOWN": 3, "TRIALS": 2},
    "symmetries": {"LEAST_WIDTHS": (2, 10)},
}


def test_claims_agree_within_their_tolerance_only():
    claims = Claims()
    assert claims.check("equal", 2.0, 2.0001, tolerance=1e-3)
    assert not claims.check("off", 2.0, 2.01, tolerance=1e-3)
    assert claims.check("below", 1.0, 0.5, relation="≤")
    assert not claims.check("above", 1.0, 1.0, relation=">")
    assert not claims.check("not a number", 1.0, float("nan"))
    assert claims.agreed.startswith("2 of 5 claims agree")
    assert "**no**" in claims.table()


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALLER)
def test_experiments_agree_and_leave_picture_numbers_and_text(name, tmp_path, monkeypatch):
    module = importlib.import_module(f"keras_l2feat.experiments.{name}")
    for constant, value in SMALLER[name].items():
        assert hasattr(module, constant)
        monkeypatch.setattr(module, constant, value)
    result = CliRunner().invoke(reproduce, [name, "-o", str(tmp_path / name), "--quiet"])
    assert result.exit_code == 0, result.exception
    with open(tmp_path / name / "claims.csv") as stream:
        rows = list(csv.DictReader(stream))
    assert rows
    assert all(row["agrees"] == "True" for row in rows), [
        row for row in rows if row["agrees"] != "True"
    ]
    assert (tmp_path / name / f"{name}.png").stat().st_size > 10_000
    text = (tmp_path / name / "README.md").read_text()
    assert f"All {len(rows)} claims agree." in text
    assert "seed 0" in text
