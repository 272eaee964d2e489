"""`l2feat zoo`: list, look up, download, check, rebuild and publish pretrained models."""

from pathlib import Path

import click

from keras_l2feat.cli import options, outputs
from keras_l2feat.cli.paths import OutputFile, OutputFolder
from keras_l2feat.errors import CheckFailed, InputError

LONGEST = 12  # characters of a figure in a table


@click.group(epilog="Example: l2feat zoo info mnist-1k-1pct-narrow")
def command():
    """Pretrained networks, each as a wide parent and its plateau-width equivalent.

    KERAS_L2FEAT_ZOO_URL names a mirror, KERAS_L2FEAT_CACHE the folder for downloads;
    KERAS_L2FEAT_OFFLINE=1 forbids the network.
    """


@command.command("list", epilog="Example: l2feat zoo list --family mnist-1k")
@click.option("--family", metavar="NAME", help="Show only the models of this family.")
@outputs.json_option
def list_models(family):
    """Show all models: widths, λ, number of parameters, loss on the training data, accuracy on the
    test data, and size."""
    from keras_l2feat.text import columns
    from keras_l2feat.zoo.cards import fact
    from keras_l2feat.zoo.registry import entries

    found = entries(family)
    if not found:
        raise InputError(f"No zoo model is of the family {family!r}.")
    keys = ("widths", "lam", "parameters", "metrics.train_loss", "metrics.test_accuracy")
    rows = [("name", "widths", "λ", "params", "loss", "acc%", "kB")]
    for one in found:
        values = [fact(one.facts, key) for key in keys]
        values[-2] = values[-2] and float(f"{values[-2]:.3g}")
        values[-1] = values[-1] and round(100 * values[-1], 1)
        cells = ["–" if value is None else _brief(value) for value in values]
        rows.append((one.name, *cells, f"{one.size / 1000:.0f}"))
    outputs.tell([one.as_row() for one in found], *columns(rows, left=(0, 1)))


def _brief(value) -> str:
    """A fact as short as a table wants it: widths with dashes, four digits of a number, or two
    and a power where it is small and that is shorter, as in 1e-4."""
    if isinstance(value, list | tuple):
        return "-".join(map(str, value))
    if isinstance(value, int):
        return str(value)
    if value >= 0.01:
        return f"{value:.4g}"
    power = f"{value:.1e}".replace("e-0", "e-").replace(".0e", "e")
    return min(f"{value:.4g}", power, key=len)


@command.command(epilog="Example: l2feat zoo info mnist-1k-1pct-narrow")
@click.argument("name")
@outputs.json_option
def info(name):
    """Show the card of the model NAME."""
    from keras_l2feat.zoo.cards import card_text
    from keras_l2feat.zoo.registry import entry

    one = entry(name)
    outputs.tell(one.as_row(), card_text(one).removesuffix("\n"))


@command.command(epilog="Example: l2feat zoo download mnist-1k-1pct-narrow -o models")
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@outputs.folder_option("Folder to copy the files to; without, they stay in the cache.")
@outputs.json_option
@options.quiet_option
def download(names, output, quiet):
    """Get the files of models, checked by size and SHA-256, and print where they are."""
    from keras_l2feat import files
    from keras_l2feat.zoo.fetch import fetch, fetch_into
    from keras_l2feat.zoo.registry import entry

    paths = []
    for one in [entry(name) for name in names]:
        if output is None:
            paths.append(fetch(one, quiet=quiet))
        else:
            paths.append(files.output_folder(output) / one.file)
            fetch_into(one, paths[-1], quiet=quiet)
    _tell(paths)


def _tell(paths, said=None):
    """Say which files there are now: as a list in JSON, or a line each, or in the words `said`."""
    names = list(map(str, paths))
    outputs.tell(names, *([said] if said else names))


@command.command(epilog="Example: l2feat zoo verify mnist-1k-1pct-narrow")
@click.argument("name", required=False)
@click.option("--all", "everything", is_flag=True, help="Check every model of the zoo.")
@outputs.json_option
@options.quiet_option
def verify(name, everything, quiet):
    """Recompute what the card of NAME says: hash, loss, accuracy, certificate, equivalence to the
    parent."""
    from dataclasses import asdict

    from keras_l2feat import files
    from keras_l2feat.text import columns
    from keras_l2feat.zoo.registry import entries, entry
    from keras_l2feat.zoo.verify import verify as check

    if (name is None) != everything:
        raise InputError("Name one model, or give --all.")
    chosen = entries() if everything else [entry(name)]
    results, failed = {}, []
    for one in chosen:
        results[one.name] = [asdict(found) for found in check(one.name, quiet=quiet)]
        failed += [
            f"{one.name}: {row['what']}" for row in results[one.name] if row["passed"] is False
        ]
        if quiet or outputs.json_on_stdout():
            continue
        rows = [("", "found", "stated", "checked"), *map(_checked, results[one.name])]
        click.echo("\n".join([one.name, *columns(rows, left=(0, 3)), ""]))
    with files.separately():  # the answer, whatever it is
        outputs.tell(results)
    if failed:
        raise CheckFailed(f"{len(failed)} checks failed: {'; '.join(failed)}.")


def _checked(row):
    """A check as a row of a table; what is no number or word goes into the last column."""
    from keras_l2feat.zoo.cards import shown

    word = {True: "ok", False: "FAILED", None: "skipped"}[row["passed"]]
    found, stated = ("" if row[key] is None else shown(row[key]) for key in ("found", "expected"))
    what = row["what"]
    if what.endswith("sha256") and row["passed"]:
        found, stated = found[:LONGEST], stated[:LONGEST]
    if max(len(found), len(stated)) > LONGEST:
        what = (
            f"{what}: {found}" if row["passed"] is not False else f"{what}: {found}, not {stated}"
        )
        found = stated = ""
    return word, found, stated, what


@command.command(epilog="Example: l2feat zoo build bipartite-4 --check")
@click.argument("name")
@outputs.folder_option("Folder for models, cards and rows.  [default: zoo-NAME]")
@click.option("--check", "compare", is_flag=True, help="Compare the figures with the shipped ones.")
@click.option(
    "--ship", is_flag=True, help="For maintainers: put the result into the package itself."
)
@outputs.json_option
@options.quiet_option
def build(name, output, compare, ship, quiet):
    """Follow the recipe that makes NAME, from data to card. What was interrupted goes on after the
    last step that was done, if it is called with the same folder."""
    from keras_l2feat import files
    from keras_l2feat.zoo import build as builder
    from keras_l2feat.zoo.recipe import recipe

    output = files.output_folder(output or Path(f"zoo-{recipe(name).name}"))
    built = builder.build(name, output, quiet=quiet)
    _tell([output / one.file for one in built])
    if compare and (differences := builder.check(built)):
        raise CheckFailed("; ".join(differences) + ".")
    if compare and not quiet and not outputs.json_on_stdout():
        click.echo("As shipped, within the tolerances of the recipe.")
    if ship:
        builder.ship(built, output)


@command.command(epilog="Example: l2feat zoo publish mnist-1k-1pct-narrow --preset my-preset")
@click.argument("target", metavar="DIR|NAME", type=OutputFolder())
@click.option(
    "--preset",
    type=OutputFolder(),
    metavar="FOLDER",
    help="Write the model NAME to FOLDER in KerasHub's preset layout, to upload as it is.",
)
@outputs.json_option
@options.quiet_option
def publish(target, preset, quiet):
    """Write a complete mirror to DIR: models, cards, registry and the gallery, for any web
    server; or the one model NAME as a preset, which zoo.load and KerasHub take from a folder or
    from hf://OWNER/REPO."""
    if preset is not None:
        from keras_l2feat.zoo.presets import write_preset
        from keras_l2feat.zoo.registry import entry

        _tell(write_preset(entry(str(target)), preset, quiet=quiet))
        return
    from keras_l2feat.zoo.publish import publish as write

    written = write(target, quiet=quiet)
    said = f"{len(written)} models in {target}/; its address goes into KERAS_L2FEAT_ZOO_URL."
    _tell([target / one.file for one in written], said)


@command.command(epilog="Example: l2feat zoo gallery -o zoo.html")
@click.option(
    "-o",
    "--output",
    type=OutputFile(),
    metavar="FILE.html",
    default="zoo.html",
    show_default=True,
    help="Where to write the page.",
)
@outputs.json_option
@options.quiet_option
def gallery(output, quiet):
    """Write the gallery, one page with a table to sort, pictures and cards."""
    from keras_l2feat.zoo.gallery import write_gallery
    from keras_l2feat.zoo.registry import entries

    write_gallery(output, entries())
    _tell([output])
