"""What commands write: never over an input or another output, all or nothing, through links and
into pipes."""

import contextlib
import itertools
import json
import os
import subprocess
import sys

import click
import numpy as np
import pytest

from keras_l2feat.cli.main import cli
from keras_l2feat.cli.paths import InputFile, OutputFile, OutputFolder
from keras_l2feat.files import OURS, atomic_path, save_model, together, write_json, write_text


def every_command(group=cli, words=()):
    """`(words, command)` of every command, the groups' commands included."""
    for name in group.list_commands(None):
        command = group.get_command(None, name)
        if isinstance(command, click.Group):
            yield from every_command(command, (*words, name))
        else:
            yield (*words, name), command


COMMANDS = dict(every_command())
# Text that names no file: a model of the zoo, a number with a unit, an address …
NO_PATHS = {
    *("name", "names", "family", "scheduler", "scale", "activation", "filters"),
    *(
        "tolerance_of",
        "keep_loss",
        "keep_accuracy",
        "relative_tolerance",
        "agree",
        "units",
        "flops",
        "parameters",
        "latency",
        "loss",
        "accuracy",
    ),
}


def test_every_path_of_every_command_is_compared_with_the_others():
    for words, command in COMMANDS.items():
        for parameter in command.params:
            if isinstance(parameter.type, click.types.StringParamType):
                assert parameter.name in NO_PATHS, (words, parameter.name)
            if words[0] != "reproduce":  # reads nothing, and writes into one folder
                assert not isinstance(parameter.type, click.Path), (words, parameter.name)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_speaks_json_and_shows_its_help_in_80_columns(words):
    command = COMMANDS[words]
    options = [name for one in command.params for name in one.opts]
    assert "--json" in options
    assert ("-o" in options) == ("--output" in options)
    assert command.epilog.startswith(f"Example: l2feat {' '.join(words)}")
    text = command.get_help(click.Context(command, info_name=" ".join(words), terminal_width=80))
    assert max(map(len, text.splitlines())) <= 80


@pytest.fixture
def folder(tmp_path, monkeypatch, small_model):
    monkeypatch.chdir(tmp_path)
    save_model(small_model, "wide.keras")
    x = np.random.default_rng(0).standard_normal((12, 5)).astype(np.float32)
    np.savez("data.npz", x_train=x, y_train=np.arange(12) % 3)
    os.symlink("wide.keras", "link.keras")
    os.link("data.npz", "hard.npz")
    return tmp_path


def files(folder):
    """Name → content of all files; links by where they lead."""
    return {
        str(path.relative_to(folder)): os.readlink(path) if path.is_symlink() else path.read_bytes()
        for path in folder.rglob("*")
        if path.is_symlink() or path.is_file()
    }


def given(command, values):
    """The arguments of a call with the values, by parameter's name, and something for all that is
    required."""
    words = []
    for parameter in command.params:
        if parameter.name in values:
            text = values[parameter.name]
        elif not parameter.required:
            continue
        elif isinstance(parameter.type, OutputFile | OutputFolder):
            text = "other" + "".join(getattr(parameter.type, "suffixes", ())[:1])
        elif parameter.name == "data":
            text = "data.npz"
        elif isinstance(parameter.type, InputFile):
            text = "wide.keras"
        else:
            text = "5"
        words += [parameter.opts[-1], text] if isinstance(parameter, click.Option) else [text]
    return words


PAIRS = [
    (words, one, other)
    for words, command in COMMANDS.items()
    for one, other in itertools.permutations(command.params, 2)
    if isinstance(one.type, OutputFile)
    and isinstance(other.type, InputFile | OutputFile)
    and other.name != "input_range"
]


@pytest.mark.parametrize("words, one, other", PAIRS, ids=lambda v: getattr(v, "name", None))
def test_no_output_may_name_an_input_or_another_output(l2feat, folder, words, one, other):
    command = COMMANDS[words]
    suffix = (*one.type.suffixes, *getattr(other.type, "suffixes", ()), "")[0]
    names = {".keras": ("wide.keras", "link.keras"), "": ("data.npz", "hard.npz")}
    first, second = names.get(suffix, (f"new{suffix}", f"./new{suffix}"))
    if not isinstance(other.type, OutputFile) and suffix not in names:
        for name in (first, second):
            os.path.lexists(name) or os.link("data.npz", name)
    before = files(folder)
    code, out, err = l2feat(*words, *given(command, {one.name: first, other.name: second}))
    assert code == 2, err
    assert "name the same file" in err or "takes a file name that ends in" in err
    assert out == ""
    assert files(folder) == before


def test_all_outputs_appear_or_none(l2feat, folder):
    before = files(folder)
    (folder / "small").mkdir()  # where --export saved_model wants to write
    code, out, err = l2feat(
        *("prune", "wide.keras", "-o", "small.keras", "--json", "small.json", "--plan", "p.json"),
        *("--no-latency", "--export", "saved_model"),
    )
    assert (code, out) == (2, "")
    assert "directory" in err
    assert files(folder) == before
    code, _, err = l2feat("prune", "wide.keras", "-o", "s.keras", "--plan", "/dev/full")
    assert code == 2
    assert err == "Error: Cannot write '/dev/full': No space left on device.\n"
    assert files(folder) == before


def test_a_pipe_gets_the_result_and_a_device_stays_one(l2feat, folder):
    os.mkfifo("pipe")
    with subprocess.Popen(["cat", "pipe"], stdout=subprocess.PIPE) as reader:
        assert l2feat("inspect", "wide.keras", "--json", "pipe", "-q")[0] == 0
        assert json.load(reader.stdout)["source"] == "wide.keras"
    assert not (folder / "pipe").is_file()
    assert l2feat("inspect", "wide.keras", "--json", "/dev/null", "-q")[0] == 0
    assert not os.path.isfile("/dev/null")
    text = subprocess.run(
        [sys.executable, "-c", "from keras_l2feat.files import *; write_text('/dev/stdout', 'a')"],
        capture_output=True,
        check=True,
    )
    assert text.stdout == b"a"


def test_links_are_kept(folder):
    os.symlink("new.json", "dangling.json")
    write_json("dangling.json", 1)
    assert os.readlink("dangling.json") == "new.json"
    assert (folder / "new.json").read_text() == "1\n"


def test_what_a_killed_process_left_goes_and_the_files_of_others_stay(folder):
    script = (
        "import os, signal\nfrom keras_l2feat.files import atomic_path\n"
        "with atomic_path('x.txt') as path:\n path.write_text('half')\n"
        " os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", script], check=False)
    (left,) = folder.glob(f"{OURS}*")
    mine = {".mine.npz", f"{OURS}{os.getpid()}-1.txt", ".l2feat-00000000-1-1.txt"}
    for name in mine:
        (folder / name).write_text("stays")
    write_text("y.txt", "")
    assert not left.exists()
    assert {path.name for path in folder.glob(".*")} == mine


def test_within_together_nothing_appears_before_the_end(folder):
    with together(inputs := []):
        write_text("a", "1")
        with contextlib.suppress(ValueError), atomic_path("b") as path:
            path.write_text("2")
            raise ValueError
        assert not (folder / "a").exists()
        inputs.append("link.keras")
        for name, message in [("a", "another output"), ("wide.keras", "is an input")]:
            with pytest.raises(Exception, match=message):
                write_text(name, "3")
    assert {path.name for path in folder.iterdir()} == {
        *("a", "wide.keras", "link.keras", "data.npz", "hard.npz")
    }


@pytest.mark.parametrize(
    "arguments",
    [
        ("inspect", "zoo:mnist-1k-1pct-wide"),
        ("prune", "zoo:mnist-789-42-wide", "--data", "mnist-789-42", "--no-latency"),
        ("diff", "zoo:mnist-1k-1pct-wide", "zoo:mnist-1k-1pct-narrow"),
        ("certify", "zoo:bipartite-4-plateau", "--data", "bipartite:n=4"),
        ("forces", "zoo:mnist-789-42-wide", "--data", "mnist-789-42"),
        ("zoo", "list"),
        ("zoo", "verify", "bipartite-4-plateau"),
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_tables_fit_80_columns(l2feat, arguments):
    code, out, err = l2feat(*arguments)
    assert code == 0, err
    tables = [line for line in out.splitlines() if not line.startswith(("Data ", "  l2feat"))]
    assert max(map(len, tables)) <= 80
