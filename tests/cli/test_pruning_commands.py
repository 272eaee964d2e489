"""`prune`, `inspect`, `expand` and `diff`, one after the other, as a user runs them."""

import json

import keras
import numpy as np
import pytest

from keras_l2feat.cli.main import main
from keras_l2feat.files import save_model
from keras_l2feat.models import mlp


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model whose second half of each hidden layer is a multiple of the first."""
    folder = tmp_path_factory.mktemp("commands")
    generator = np.random.default_rng(0)
    model = mlp(4, (12, 10), 3)
    weights = [generator.standard_normal(w.shape) for w in model.get_weights()]
    for at, half in ((0, 6), (2, 5)):
        for part in weights[at : at + 2]:
            part[..., half:] = 2 * part[..., :half]
    model.set_weights(weights)
    save_model(model, folder / "wide.keras")
    np.savez(
        folder / "points.npz",
        x_train=generator.standard_normal((30, 4)),
        y_train=generator.integers(0, 3, 30),
    )
    return folder


def run(capsys, *arguments):
    """Exit code, stdout, stderr."""
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    said = capsys.readouterr()
    return ended.value.code or 0, said.out, said.err


def test_diff_says_what_rounding_explains(folder, capsys):
    wide, points = folder / "wide.keras", folder / "points.npz"
    options = ("--tolerance-of", "float32,bfloat16")
    code, out, _ = run(capsys, "diff", wide, wide, "--data", points, *options)
    assert code == 0
    assert "between float32 and bfloat16, in any order of sums" in out
    code, out, _ = run(capsys, "diff", wide, wide, "--data", points, *options, "--json", "-")
    found = json.loads(out)["tolerance"]
    assert 1e-3 < found["median"] <= found["largest"] < 100
    assert run(capsys, "diff", wide, wide, *options)[0] == 2
    assert (
        run(capsys, "diff", wide, wide, "--data", points, "--tolerance-of", "float8,float32")[0]
        == 2
    )


@pytest.mark.slow
def test_an_export_says_where_it_is_and_how_near(folder, capsys):
    code, out, _ = run(
        capsys, "prune", folder / "wide.keras", "-o", folder / "out.keras",
        "--export", "saved_model", "--no-latency",
    )  # fmt: skip
    assert code == 0
    line = next(line for line in out.splitlines() if line.startswith("Exported:"))
    assert str(folder / "out") in line
    assert "of the largest output" in line
    assert (folder / "out" / "saved_model.pb").exists()


def test_prune_writes_a_model_a_plan_and_json(folder, capsys):
    code, out, _ = run(
        capsys, "prune", folder / "wide.keras", "-o", folder / "small.keras",
        "--data", folder / "points.npz", "--plan", folder / "plan.json",
        "--json", folder / "result.json", "--no-latency",
    )  # fmt: skip
    assert code == 0
    assert "6 aligned" in out
    assert "Guarantee exact: verified." in out
    result = json.loads((folder / "result.json").read_text())
    assert [layer["units_after"] for layer in result["layers"]] == [6, 5, 3]
    assert result["layers"][0] == {
        "name": "hidden_1",
        "units_before": 12,
        "units_after": 6,
        "removed": {"aligned": 6},
        "kept": "not redundant for every input",
    }
    assert result["parameters_before"] == 223
    assert result["parameters_after"] == 83
    assert result["guarantee"] == "exact"
    assert result["verified"] is True
    assert result["max_abs_deviation"] <= result["bound"]
    assert result["max_rel_deviation"] < 1e-6
    assert result["output"] == str(folder / "small.keras")
    model = keras.saving.load_model(folder / "small.keras")
    assert [layer.units for layer in model.layers] == [6, 5, 3]

    code, _, _ = run(
        capsys, "prune", folder / "wide.keras", "--apply-plan", folder / "plan.json",
        "-o", folder / "again.keras", "-q", "--no-latency",
    )  # fmt: skip
    assert code == 0
    again = keras.saving.load_model(folder / "again.keras")
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), again.get_weights()))


def test_a_wrong_plan_is_found_out_and_nothing_is_written(folder, capsys):
    run(
        capsys, "prune", folder / "wide.keras", "--plan", folder / "good.json", "-q", "--no-latency"
    )
    plans = json.loads((folder / "good.json").read_text())
    plans[0]["transfers"]["hidden_2"][0][2] *= 1.01
    (folder / "wrong.json").write_text(json.dumps(plans))
    (folder / "kept.keras").write_text("as it was")
    code, _, err = run(
        capsys,
        "prune",
        folder / "wide.keras",
        "--apply-plan",
        folder / "wrong.json",
        "-o",
        folder / "kept.keras",
    )
    assert code == 1
    assert err.startswith("Check failed: ")
    assert (folder / "kept.keras").read_text() == "as it was"


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda p: p[0].update(format="other"), "format"),
        (lambda p: p[0]["removed"].append(["output", 0, "dead", [], 0.0]), "has to stay"),
        (lambda p: p[0]["removed"].append(["nowhere", 0, "dead", [], 0.0]), "no unit"),
        (lambda p: p[0]["transfers"].update(hidden_9=[]), "hidden_9"),
        (lambda p: p[0]["transfers"]["hidden_2"].append([0, 99, 1.0]), "99"),
        (lambda p: p.clear() or p.append(3), "plan"),
    ],
)
def test_a_plan_that_does_not_fit_is_refused(folder, capsys, change, message):
    run(
        capsys, "prune", folder / "wide.keras", "--plan", folder / "good.json", "-q", "--no-latency"
    )
    plans = json.loads((folder / "good.json").read_text())
    change(plans)
    (folder / "bad.json").write_text(json.dumps(plans))
    code, _, err = run(capsys, "prune", folder / "wide.keras", "--apply-plan", folder / "bad.json")
    assert code == 2
    assert message in err


def test_source_is_not_overwritten(folder, capsys):
    code, _, err = run(capsys, "prune", folder / "wide.keras", "-o", folder / "wide.keras")
    assert code == 2
    assert "name the same file" in err


def test_dry_run_writes_nothing(folder, capsys):
    code, out, _ = run(
        capsys,
        "prune",
        folder / "wide.keras",
        "-o",
        folder / "dry.keras",
        "--dry-run",
        "--no-latency",
    )
    assert code == 0
    assert "Nothing written." in out
    assert not (folder / "dry.keras").exists()


def test_nothing_to_prune_is_said(folder, capsys):
    run(capsys, "prune", folder / "wide.keras", "-o", folder / "least.keras", "-q", "--no-latency")
    code, out, _ = run(capsys, "prune", folder / "least.keras", "--no-latency")
    assert code == 0
    assert "Nothing to prune" in out


def test_inspect_counts_rays(folder, capsys):
    code, out, _ = run(capsys, "inspect", folder / "wide.keras", "--json", "-")
    assert code == 0
    first = json.loads(out)["layers"][0]
    assert first["units"] == 12
    assert first["rays"]["1e-06"] == 6
    assert first["would_go"] == {"aligned": 6}
    code, out, _ = run(capsys, "inspect", folder / "wide.keras")
    assert "6 aligned" in out


def test_expand_is_undone_by_prune_and_diff_sees_equals(folder, capsys):
    run(capsys, "prune", folder / "wide.keras", "-o", folder / "narrow.keras", "-q", "--no-latency")
    code, _, _ = run(
        capsys, "expand", folder / "narrow.keras", "--widths", "20,9", "-o", folder / "grown.keras"
    )
    assert code == 0
    code, out, _ = run(
        capsys,
        "diff",
        folder / "wide.keras",
        folder / "grown.keras",
        "--data",
        folder / "points.npz",
    )
    assert code == 0
    assert "Equivalent." in out
    code, out, _ = run(capsys, "prune", folder / "grown.keras", "--json", "-", "--no-latency")
    assert [layer["units_after"] for layer in json.loads(out)["layers"]] == [6, 5, 3]


def test_diff_sees_a_difference(folder, capsys):
    model = keras.saving.load_model(folder / "wide.keras")
    weights = model.get_weights()
    weights[0][0, 0] *= 1.001
    model.set_weights(weights)
    save_model(model, folder / "other.keras")
    code, out, err = run(capsys, "diff", folder / "wide.keras", folder / "other.keras")
    assert code == 1
    assert "Not equivalent." in out
    assert err.startswith("Check failed")


@pytest.mark.parametrize("widths", ["5,5", "20", "a,b"])
def test_expand_refuses_widths_that_do_not_fit(folder, capsys, widths):
    code, _, err = run(
        capsys, "expand", folder / "wide.keras", "--widths", widths, "-o", folder / "no.keras"
    )
    assert code == 2
    assert "widths" in err
    assert not (folder / "no.keras").exists()
