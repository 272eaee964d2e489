"""`l2feat reproduce landscape`, at a small size."""

import csv

import pytest

from keras_l2feat.experiments import landscape


@pytest.mark.slow
def test_small_landscape(tmp_path, monkeypatch):
    for name, value in {
        "SIZES": ((4, 2),),
        "ORTHOGONAL": (3,),
        "NEURONS": (1, 256),
        "SAMPLES": 10,
        "WIDTHS": (4, 64),
        "SCALES": (0.01, 3.0),
        "SEEDS": 4,
        "STEPS": 1500,
    }.items():
        monkeypatch.setattr(landscape, name, value)
    text = landscape.run(tmp_path, seed=0, quiet=True)
    assert "Gaussian points" in text
    assert (tmp_path / "landscape.png").stat().st_size > 10_000
    with open(tmp_path / "regions.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    fractions = {(row["data"], row["m"]): float(row["global"]) for row in rows}
    assert fractions["general", "256"] > fractions["general", "1"]
    assert fractions["orthogonal", "256"] == 1.0
    with open(tmp_path / "training.csv", newline="") as stream:
        rows = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(stream)]
    # the solver reaches 1e-9
    assert max(row["region_minimum"] / row["loss"] for row in rows) <= 1 + 1e-7
    assert all(row["region_minimum"] >= row["optimum"] * (1 - 1e-6) for row in rows)
    assert all(row["gap"] >= -1e-6 for row in rows)
