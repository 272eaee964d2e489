"""`l2feat zoo` from the outside."""

import json

import pytest
from click.testing import CliRunner

from keras_l2feat import files, zoo
from keras_l2feat.cli.zoo import command
from keras_l2feat.errors import CheckFailed, InputError
from keras_l2feat.zoo.verify import Check


def run(*arguments):
    outcome = CliRunner().invoke(command, [str(one) for one in arguments])
    if outcome.exception and not isinstance(outcome.exception, SystemExit):
        raise outcome.exception
    return outcome


def test_list():
    lines = run("list").output.splitlines()
    assert lines[0].split()[:2] == ["name", "widths"]
    assert [line.split()[0] for line in lines[1:]] == zoo.list()
    assert run("list", "--family", "bipartite").output.count("\n") == 7
    rows = json.loads(run("list", "--json", "-").output)
    assert [zoo.Entry(**row) for row in rows] == zoo.entries()
    with pytest.raises(InputError, match="family 'cats'"):
        run("list", "--family", "cats")


def test_info(tmp_path):
    assert run("info", "mnist-1k-1pct-narrow").output.startswith("<!-- Generated")
    assert run("info", "mnist-1k-1pct-narrow", "--json", tmp_path / "row.json").exit_code == 0
    assert json.loads((tmp_path / "row.json").read_text())["name"] == "mnist-1k-1pct-narrow"
    with pytest.raises(InputError, match="Did you mean"):
        run("info", "mnist-1k")


def test_download(tmp_path):
    output = run(
        "download", "bipartite-4-wide", "zoo:bipartite-4-plateau", "-o", tmp_path / "new"
    ).output
    assert output.split() == [
        str(tmp_path / "new" / f"bipartite-4-{role}.keras") for role in ("wide", "plateau")
    ]
    assert (
        files.sha256(tmp_path / "new" / "bipartite-4-wide.keras")
        == zoo.entry("bipartite-4-wide").sha256
    )
    with pytest.raises(InputError, match="No zoo model 'nothing'"):
        run("download", "bipartite-4-wide", "nothing", "-o", tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_verify(tmp_path):
    outcome = run("verify", "bipartite-4-plateau", "--json", tmp_path / "checks.json")
    line = next(line for line in outcome.output.splitlines() if line.endswith("train_loss"))
    assert line.split() == ["ok", "0.016", "0.016", "train_loss"]
    assert max(map(len, outcome.output.splitlines())) <= 80
    assert "FAILED" not in outcome.output
    checks = json.loads((tmp_path / "checks.json").read_text())["bipartite-4-plateau"]
    assert all(check["passed"] for check in checks)
    for arguments in [(), ("bipartite-4-plateau", "--all")]:
        with pytest.raises(InputError, match="one model, or give --all"):
            run("verify", *arguments)


def test_verify_fails_where_a_check_does(monkeypatch):
    monkeypatch.setattr(
        "keras_l2feat.zoo.verify.verify", lambda name, quiet: [Check("train_loss", 1.0, 2.0, False)]
    )
    with pytest.raises(CheckFailed, match="1 checks failed: bipartite-4-wide: train_loss"):
        run("verify", "bipartite-4-wide")


def test_build_and_check(tmp_path):
    output = run("build", "bipartite-4", "--check", "-o", tmp_path / "made").output
    assert "As shipped, within the tolerances" in output
    assert (tmp_path / "made" / "bipartite-4-plateau.md").exists()


def test_build_that_differs_fails(tmp_path, monkeypatch):
    monkeypatch.setattr("keras_l2feat.zoo.build.build", lambda name, folder, quiet: [])
    monkeypatch.setattr("keras_l2feat.zoo.build.check", lambda built: ["one figure differs"])
    with pytest.raises(CheckFailed, match="one figure differs"):
        run("build", "bipartite-4", "--check", "-o", tmp_path)


def test_gallery(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "keras_l2feat.zoo.registry.entries", lambda: [zoo.entry("bipartite-4-wide")]
    )
    assert run("gallery", "-o", tmp_path / "page.html").output.strip() == str(
        tmp_path / "page.html"
    )
    assert "bipartite-4-wide" in (tmp_path / "page.html").read_text()


def test_publish(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "keras_l2feat.zoo.registry.entries", lambda: [zoo.entry("bipartite-4-wide")]
    )
    assert "1 models in" in run("publish", tmp_path / "mirror").output
    assert (tmp_path / "mirror" / "index.html").exists()
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="Cannot make the folder"):
        run("publish", tmp_path / "file" / "mirror")


def test_what_was_written_comes_as_json_too(tmp_path):
    told = run("download", "bipartite-4-wide", "-o", tmp_path, "--json", "-").output
    assert json.loads(told) == [str(tmp_path / "bipartite-4-wide.keras")]
    told = run("publish", "bipartite-4-wide", "--preset", tmp_path / "p", "--json", "-").output
    assert str(tmp_path / "p" / "model.weights.h5") in json.loads(told)
