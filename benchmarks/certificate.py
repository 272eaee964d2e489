"""What a certificate costs: seconds and memory of `l2feat prune` on the big models of
keras.applications, and the share of the certificate.

    python benchmarks/certificate.py [NAME ...] [-o results/certificate]

Each model (random weights, 224 × 224 pixels) is pruned twice: as it is, where nothing is redundant
and the models are one object, and with a sixteenth more channels in every layer that can be
widened, split from others and rescaled, all of which has to go. Each run is a process of its own.

    certificate     CPU seconds of `certify` (check of the weights, both models run on random
                    inputs) over those of `prune` without it
    command         wall seconds of the whole `l2feat prune FILE -o OUT --certificate FILE`,
                    TensorFlow's start included, and the load of the machine before it
    memory          largest resident size of that process less that of one which only imports
                    what it uses, over the bytes of the model's weights; `above_small` is the same
                    less that of the same command on a network of four units (what TensorFlow and
                    Keras take besides, whatever the model); `loaded_mb` is what a process holds
                    that has loaded the model and nothing else, less imports
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

NAMES = (
    *("ResNet50V2", "MobileNet", "DenseNet169", "EfficientNetB0", "ConvNeXtTiny"),
    *("NASNetMobile", "InceptionV3"),
)
SIZE = 224
COLUMNS = (
    *("model", "parameters", "removed", "certificate_cpu_s", "prune_cpu_s", "share"),
    *("command_s", "load", "loaded_mb", "memory_mb", "memory_over_model", "above_small"),
)
IDLE = "import keras_l2feat.pruning, keras_l2feat.cli.main, tensorflow"


def make(name, folder):
    """Files of a model as it is, and of the same with planted channels."""
    import keras
    from gauge import widened

    from keras_l2feat import files

    keras.utils.set_random_seed(0)
    model = getattr(keras.applications, name)(weights=None, input_shape=(SIZE, SIZE, 3))
    files.save_model(model, folder / f"{name}.keras")
    files.save_model(
        widened(model, lambda units: max(1, units // 16)), folder / f"{name}-planted.keras"
    )


def shares(path):
    """CPU seconds of the certificate and of all the rest, parameters, and what was removed."""
    from keras_l2feat import files
    from keras_l2feat.pruning import pipeline

    model, spent, certify = files.load_model(path), [0.0], pipeline.certify
    loaded = resident()

    def timed(*arguments, **options):
        start = time.process_time()
        try:
            return certify(*arguments, **options)
        finally:
            spent[0] += time.process_time() - start

    pipeline.certify = timed
    start = time.process_time()
    pruned, certificate = pipeline.prune(model)
    total = time.process_time() - start
    assert certificate.verified
    removed = model.count_params() - pruned.count_params()
    stored = sum(w.numpy().nbytes for w in model.weights)
    return [model.count_params(), removed, spent[0], total - spent[0], stored, loaded]


def resident():
    """MB that this process holds; not known but on Linux."""
    status = Path("/proc/self/status").read_text().split("VmRSS:")[1]
    return int(status.split()[0]) / 1024


def run(command):
    """Wall seconds and peak resident MB of a process."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"{command} ended with {status}")
    return time.perf_counter() - start, usage.ru_maxrss / 1024


def command(path, folder):
    """Wall seconds and peak resident MB of the whole command."""
    out = [str(folder / "out.keras"), "--certificate", str(folder / "out.json")]
    found = run([sys.executable, "-m", "keras_l2feat.cli.main", "prune", path, "-o", *out])
    for made in (folder / "out.keras", folder / "out.json"):
        made.unlink()
    return found


def small(folder):
    """The file of a network of four units."""
    import keras

    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4, "relu")])
    model.add(keras.layers.Dense(2))
    model.save(folder / "small.keras")
    return folder / "small.keras"


def measured(path, idle, least, folder):
    """One row of the table."""
    code = f"import sys, json; sys.path[:0] = [{str(Path(__file__).parent)!r}]; import certificate;"
    code += f"print(json.dumps(certificate.shares({str(path)!r})))"
    answer = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    parameters, removed, spent, rest, stored, loaded = json.loads(answer.stdout.splitlines()[-1])
    load = os.getloadavg()[0]
    seconds, peak = command(path, folder)
    stored /= 2**20
    figures = (spent, rest, spent / rest, seconds, load, loaded - idle, peak - idle)
    figures += ((peak - idle) / stored, (peak - least) / stored)
    return [path.stem, parameters, removed, *(round(figure, 2) for figure in figures)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", default=NAMES, metavar="NAME")
    parser.add_argument("-o", "--output", type=Path, help="a folder for the table as CSV")
    parser.add_argument("--planted", action="store_true", help="with planted channels alone")
    parser.add_argument("--models", type=Path, help="where the models' files are, or are put")
    options = parser.parse_args()
    from keras_l2feat.version import __version__

    rows = [COLUMNS]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        models = options.models or folder
        idle, least = run([sys.executable, "-c", IDLE])[1], command(small(folder), folder)[1]
        print(f"imports {idle:.0f} MB, a small network {least - idle:.0f} MB more")
        print(f"{'':24s}certificate / rest, CPU s   command, load      memory / model, above small")
        for name in options.names:
            paths = [models / f"{name}.keras", models / f"{name}-planted.keras"]
            if not all(path.exists() for path in paths):
                code = f"import sys; sys.path[:0] = [{str(Path(__file__).parent)!r}];"
                code += "import certificate; from pathlib import Path;"
                code += f"certificate.make({name!r}, Path({str(models)!r}))"
                subprocess.run([sys.executable, "-c", code], check=True)
            for path in paths[options.planted :]:
                rows.append(measured(path, idle, least, folder))
                model, _, _, spent, rest, share, seconds, load, *_, over, above = rows[-1]
                print(
                    f"{model:24s}{spent:6.1f} / {rest:5.1f} = {share:5.1%}     "
                    f"{seconds:5.1f} s, {load:4.1f}        {over:4.1f}, {above:4.1f}",
                    flush=True,
                )
    if options.output:
        options.output.mkdir(parents=True, exist_ok=True)
        with open(options.output / "cost.csv", "w", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow([f"# keras_l2feat {__version__}, {date.today()}"])
            writer.writerows(rows)


if __name__ == "__main__":
    main()
