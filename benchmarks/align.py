"""What `AlignNeurons` costs: usual networks trained with and without it, then pruned exactly.

Networks, data, optimizer and epochs of `networks.py` (784-300-100, LeNet-5, a residual network with
batch normalization, three Conv1D on a time series); the same seed with and without the callback.
Nothing else differs, nobody chooses a best epoch, no weight decay but AdamW's 1e-4. Written down:
hidden units that exact pruning leaves (channels that a residual sum ties count once), parameters,
and the test accuracy after the last epoch.

    python benchmarks/align.py [NAME ...] [--seeds 0 1 2] [--units 0.5] [-o results/align]

What is in the table already is not trained again, so it can be done in pieces.
"""

import argparse
import time
from pathlib import Path

import keras
import networks
import pandas as pd

from keras_l2feat import prune
from keras_l2feat.callbacks import AlignNeurons
from keras_l2feat.pruning.channels.read import read
from keras_l2feat.training.units import sites


def widths(model):
    return [len(site.units) for site in sites(read(model))]


def record(name, seed, units):
    """One training, with `AlignNeurons` where there is a share of units."""
    keras.utils.set_random_seed(seed)
    model, given = networks.NETWORKS[name](), networks.points(name)
    networks.compiled(model, name, given)
    start = time.perf_counter()
    model.fit(
        given.inputs(model),
        given.y_train,
        batch_size=networks.batch_size(name),
        epochs=networks.EPOCHS[name],
        verbose=0,
        callbacks=[AlignNeurons(units=units)] if units else [],
    )
    seconds = time.perf_counter() - start
    small, certificate = prune(model)
    return {
        "network": name,
        "seed": seed,
        "units": units or 1.0,
        "accuracy": networks.accuracy(model, given),
        "pruned_accuracy": networks.accuracy(small, given),
        "widths": "-".join(map(str, widths(model))),
        "pruned_widths": "-".join(map(str, widths(small))),
        "left": sum(widths(small)) / sum(widths(model)),
        "parameters": model.count_params(),
        "pruned_parameters": small.count_params(),
        "proved": certificate.verified,
        "seconds": round(seconds, 1),
    }


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", default=list(networks.NETWORKS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--units", type=float, default=0.5)
    parser.add_argument("-o", "--output", type=Path, default=Path("results/align"))
    arguments = parser.parse_args()
    path = arguments.output / "align.csv"
    done = pd.read_csv(path).to_dict("records") if path.exists() else []
    known = {(row["network"], row["seed"], row["units"]) for row in done}
    for seed in arguments.seeds:
        for name in arguments.names:
            for units in (None, arguments.units):
                if (name, seed, units or 1.0) in known:
                    continue
                done.append(record(name, seed, units))
                networks.write_csv(done, path)
                print(done[-1], flush=True)


if __name__ == "__main__":
    main()
