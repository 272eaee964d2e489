"""What `make docs` adds to the pages of this folder: the README as its first page, the pictures of
`results/`, the help of every command, and the packages where the reader of docstrings finds them.
"""

import re
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import dedent

from griffe import Extension
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parent.parent
BESIDE = ("zoo", "cli")  # packages whose folder lies beside keras_l2feat/
_scratch = TemporaryDirectory()  # lives as long as the build


@event_priority(100)  # before mkdocstrings reads its paths
def on_config(config):
    """Lay all packages into one tree, as the installed package has them."""
    package = Path(_scratch.name) / "keras_l2feat"
    package.mkdir(exist_ok=True)
    for path in [*(ROOT / "keras_l2feat").iterdir(), *(ROOT / name for name in BESIDE)]:
        if path.name != "__pycache__" and not (package / path.name).exists():
            (package / path.name).symlink_to(path)
    config.plugins["mkdocstrings"].config.handlers["python"]["paths"] = [_scratch.name]
    return config


def on_files(files, config):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    generated = {"index.md": _from_docs(readme), "commands.md": _commands()}
    for name, content in generated.items():
        files.append(File.generated(config, name, content=content))
    for picture in sorted((ROOT / "results").rglob("*.png")):
        name = picture.relative_to(ROOT).as_posix()
        files.append(File.generated(config, name, abs_src_path=str(picture)))
    return files


def on_page_markdown(markdown, page, config, files):
    """In the repository the pictures lie beside `docs/`, on the site below it."""
    return markdown.replace("](../results/", "](results/")


def _from_docs(readme):
    """The README's links, as seen from `docs/`."""
    readme = re.sub(r"\]\(docs/", "](", readme)
    return re.sub(r"\[([^]]+)\]\((?:CONTRIBUTING|CHANGELOG)\.md\)", r"`\1`", readme)


def _commands():
    """`--help` of every command."""
    import click

    from keras_l2feat.cli.hush import hush_tensorflow
    from keras_l2feat.cli.main import cli

    hush_tensorflow()
    lines = ["# Commands", "", "What `l2feat COMMAND --help` prints.", ""]

    def add(command, name, parent):
        context = click.Context(command, info_name=name, parent=parent, **command.context_settings)
        if isinstance(command, click.Group):
            for inner in command.list_commands(context):
                add(command.get_command(context, inner), inner, context)
            return
        lines.extend([f"## {context.command_path}", "", "```text", command.get_help(context)])
        lines.extend(["```", ""])

    add(cli, "l2feat", None)
    return "\n".join(lines)


class HouseStyle(Extension):
    """The docstrings' examples as code, and "Returns: …" in bold."""

    def on_object(self, *, obj, **_):
        if obj.docstring is not None:
            text = re.sub(r"^Example:\n((?:.+(?:\n|$))+)", _fenced, obj.docstring.value, flags=re.M)
            obj.docstring.value = re.sub(
                r"^(Returns|Yields): (?=\S)", r"**\1:** ", text, flags=re.M
            )


def _fenced(example):
    return f"**Example:**\n\n```pycon\n{dedent(example[1]).rstrip()}\n```\n"
