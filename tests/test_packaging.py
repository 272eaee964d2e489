"""The package list is the folders on disk; light imports stay light; every command has help and an
example."""

import configparser
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from keras_l2feat.cli.main import COMMANDS, cli
from keras_l2feat.cli.reproduce import FIGURES

ROOT = Path(__file__).resolve().parent.parent


def test_every_package_on_disk_is_listed():
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    listed = set(parser["options"]["packages"].split())
    roots = {
        "keras_l2feat": ROOT / "keras_l2feat",
        "keras_l2feat.zoo": ROOT / "zoo",
        "keras_l2feat.cli": ROOT / "cli",
    }
    on_disk = set()
    for name, folder in roots.items():
        for init in folder.rglob("__init__.py"):
            parts = init.parent.relative_to(folder).parts
            on_disk.add(".".join((name, *parts)))
    assert listed == on_disk


def test_every_model_of_the_zoo_that_is_named_exists():
    import json

    rows = json.loads((ROOT / "zoo" / "registry.json").read_text())["models"]
    names = {row["name"] for row in rows}
    places = [*(ROOT / "docs").rglob("*.md"), ROOT / "README.md"]
    places += [
        path for folder in ("keras_l2feat", "zoo", "cli") for path in (ROOT / folder).rglob("*.py")
    ]
    for path in places:
        named = set(re.findall(r"zoo:([a-z0-9]+(?:-[a-z0-9]+)+)", path.read_text()))
        assert named <= names, path


@pytest.mark.parametrize(
    "code",
    [
        "import keras_l2feat, keras_l2feat.cli.main, keras_l2feat.cli.options, "
        "keras_l2feat.cli.reproduce",
        "import keras_l2feat.data, keras_l2feat.files, keras_l2feat.activations, "
        "keras_l2feat.network",
        "import keras_l2feat.pruning",
        "from keras_l2feat.cli.main import cli; cli.main(['--help'], standalone_mode=False)",
        "from keras_l2feat.cli.main import cli; cli.main(['zoo', 'list', '--json', '-'], "
        "standalone_mode=False)",
        "from keras_l2feat.cli.main import cli; cli.main(['zoo', 'info', 'mnist-1k-1pct-wide'], "
        "standalone_mode=False)",
    ],
)
def test_no_tensorflow_at_import(code):
    check = "import sys; sys.exit('imported' if 'tensorflow' in sys.modules else 0)"
    outcome = subprocess.run(
        [sys.executable, "-c", f"{code}\n{check}"], capture_output=True, text=True, check=False
    )
    assert outcome.returncode == 0, outcome.stderr


def _commands(group, prefix=()):
    for name in group.list_commands(None):
        command = group.get_command(None, name)
        if hasattr(command, "list_commands"):
            yield from _commands(command, (*prefix, name))
        else:
            yield (*prefix, name), command


def test_every_command_has_help_with_an_example_and_stands_in_the_readme():
    readme = (ROOT / "README.md").read_text()
    seen = 0
    for path, command in _commands(cli):
        outcome = CliRunner().invoke(cli, [*path, "--help"])
        assert outcome.exit_code == 0, (path, outcome.output)
        assert "Example" in outcome.output, path
        assert command.help, path
        assert f"l2feat {path[0]}" in readme, path
        seen += 1
    assert seen >= len(COMMANDS) - 1 + len(FIGURES)


def test_unknown_command_names_the_known_ones():
    outcome = CliRunner().invoke(cli, ["shorten"])
    assert outcome.exit_code == 2
    assert "prune" in outcome.output


def test_the_demo_writes_only_where_git_does_not_look():
    recipe = (ROOT / "Makefile").read_text().split("\ndemo:")[1].split("\n\n")[0]
    written = re.findall(r"(?:-o|--rays|--report) (\S+)", recipe)
    assert len(written) == 3
    ignored = (ROOT / ".gitignore").read_text().split()
    assert {path.split("/")[0] + "/" for path in written} <= set(ignored)
