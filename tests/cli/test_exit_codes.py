"""As a user meets it: the installed command, its exit codes, and nothing but one line for a
mistake."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

L2FEAT = Path(sys.executable).with_name("l2feat")


def l2feat(*arguments, cwd):
    return subprocess.run(
        [L2FEAT, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A folder with one good model and many that are none."""
    from keras_l2feat.files import save_model
    from keras_l2feat.network import DenseNetwork

    folder = tmp_path_factory.mktemp("models")
    first, last = DenseNetwork.random((5, 4, 3), seed=0).weights
    first, last = np.hstack([first, 2 * first[:, :1]]), np.vstack([last[:-1], last[:1], last[-1:]])
    save_model(DenseNetwork((first, last)).to_model(), folder / "good.keras")
    (folder / "truncated.keras").write_bytes((folder / "good.keras").read_bytes()[:1500])
    (folder / "zero.keras").touch()
    (folder / "directory.keras").mkdir()
    (folder / "foreign.keras").write_text("hello")
    (folder / "old.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + b"\0" * 64)
    return folder


def test_done_is_0_and_quiet_stderr(models):
    outcome = l2feat("prune", "good.keras", "-o", "small.keras", "--no-latency", cwd=models)
    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stderr == ""
    assert (models / "small.keras").exists()
    assert "1 aligned" in outcome.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["truncated.keras", "zero.keras", "directory.keras", "foreign.keras", "old.h5", "none"]
)
def test_a_file_that_is_no_model_is_2_and_writes_nothing(models, name):
    outcome = l2feat("prune", name, "-o", f"from-{name}.keras", cwd=models)
    assert outcome.returncode == 2
    assert outcome.stderr.startswith("Error: ")
    assert name in outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert not list(models.glob(f"*from-{name}*"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments, words",
    [
        (["train", "mnist-2k", "--widths", "5", "--lam", "1e-3", "-o", "m.keras"], "mnist-2k"),
        (["train", "teacher:n=20", "--widths", "5,x", "--lam", "1e-3", "-o", "m.keras"], "5,x"),
        (["train", "teacher:n=20", "--widths", "5", "--lam", "-1", "-o", "m.keras"], "lam"),
        (["certify", "good.keras", "--data", "mnist-1k", "--lam", "1e-3"], "784 inputs"),
        (["prune", "good.keras", "--data", "missing.npz"], "missing.npz"),
        (["prune", "zoo:no-such-model"], "no-such-model"),
        (["prune", "good.keras", "-o", "nowhere/small.keras"], "nowhere"),
        (["prune", "good.keras", "-o", "good.keras"], "good.keras"),
        (["zoo", "info", "no-such-model"], "no-such-model"),
    ],
)
def test_a_bad_call_is_2_with_its_reason(models, arguments, words):
    before = (models / "good.keras").read_bytes()
    outcome = l2feat(*arguments, cwd=models)
    assert outcome.returncode == 2, outcome.stdout + outcome.stderr
    assert words in outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert (models / "good.keras").read_bytes() == before
    assert not (models / "m.keras").exists()
