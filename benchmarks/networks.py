"""Usual networks, trained in the usual way: what pruning is compared on.

    mlp          784-300-100-10 on MNIST
    lenet        LeNet-5 (20 and 50 filters, 500 units) on MNIST
    residual     nine convolutions with batch normalization and identity shortcuts on MNIST
    series       three Conv1D with batch normalization on JapaneseVowels (nine speakers, twelve
                 cepstral coefficients; shipped by sktime, whose reader is used)

AdamW with a falling rate, no regularizer of ours. A network is trained once, and read from its file
afterwards:

    python benchmarks/networks.py [NAME ...] [--seeds 3] [--folder benchmarks/trained]

MNIST is read from where the environment variable L2FEAT_MNIST says, or through Keras.
"""

import argparse
from pathlib import Path

import keras
import numpy as np
from keras import layers

from keras_l2feat import data, files
from keras_l2feat.pruning.guarantees.search import plan_of
from keras_l2feat.pruning.rewrite import rewrite

EPOCHS = {"mlp": 10, "lenet": 8, "residual": 4, "series": 60}


def mlp():
    sizes = layers.Dense(300, "relu"), layers.Dense(100, "relu"), layers.Dense(10)
    return keras.Sequential([layers.Input((784,)), *sizes])


def lenet():
    parts = (
        layers.Conv2D(20, 5, activation="relu"),
        layers.MaxPooling2D(),
        layers.Conv2D(50, 5, activation="relu"),
        layers.MaxPooling2D(),
        layers.Flatten(),
        layers.Dense(500, "relu"),
        layers.Dense(10),
    )
    return keras.Sequential([layers.Input((28, 28, 1)), *parts])


def residual():
    def convolved(x, filters, stride=1):
        x = layers.Conv2D(filters, 3, stride, padding="same", use_bias=False)(x)
        return layers.BatchNormalization()(x)

    given = layers.Input((28, 28, 1))
    x = layers.ReLU()(convolved(given, 16, 2))
    for filters, stride in ((16, 1), (32, 2), (64, 2)):
        inner = layers.ReLU()(convolved(x, filters, stride))
        short = x
        if stride > 1:
            short = layers.Conv2D(filters, 1, stride, use_bias=False)(x)
            short = layers.BatchNormalization()(short)
        x = layers.ReLU()(layers.Add()([convolved(inner, filters), short]))
    return keras.Model(given, layers.Dense(10)(layers.GlobalAveragePooling2D()(x)))


def series():
    given = layers.Input((29, 12))
    x = given
    for filters, size in ((64, 7), (128, 5), (64, 3)):
        x = layers.Conv1D(filters, size, padding="same", use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization()(x))
    return keras.Model(given, layers.Dense(9)(layers.GlobalAveragePooling1D()(x)))


NETWORKS = {"mlp": mlp, "lenet": lenet, "residual": residual, "series": series}


def points(name) -> data.Dataset:
    """What the network `name` is trained and tested on."""
    return _vowels() if name == "series" else data.load("mnist")


def _vowels():
    from sktime.datasets import load_japanese_vowels

    parts = {}
    for split in ("train", "test"):
        x, y = load_japanese_vowels(split=split, return_type="nested_univ")
        padded = np.zeros((len(x), 29, 12), "float32")
        for row, case in enumerate(x.to_numpy()):
            for channel, values in enumerate(case):
                padded[row, : len(values), channel] = values
        parts[f"x_{split}"] = padded.reshape(len(x), -1)
        parts[f"y_{split}"] = np.asarray(y).astype("int64") - 1
    return data.Dataset("japanese-vowels", **parts, input_shape=(29, 12), classes=9)


def trained(name, seed, folder):
    """The network `name` of a seed: from its file, trained first where there is none."""
    path = Path(folder) / f"{name}-{seed}.keras"
    if path.exists():
        return files.load_model(path)
    keras.utils.set_random_seed(seed)
    model, given = NETWORKS[name](), points(name)
    compiled(model, name, given)
    x, batch = given.inputs(model), batch_size(name)
    model.fit(x, given.y_train, batch_size=batch, epochs=EPOCHS[name], verbose=0)
    path.parent.mkdir(parents=True, exist_ok=True)
    files.save_model(model, path)
    return model


def batch_size(name) -> int:
    """How many points a step of the network `name` sees."""
    return 32 if name == "series" else 128


def compiled(model, name, given) -> None:
    """Compile the network `name` as it is trained: AdamW, whose rate falls to 0 by a cosine."""
    steps = EPOCHS[name] * -(-len(given.x_train) // batch_size(name))
    rate = keras.optimizers.schedules.CosineDecay(2e-3, steps)
    model.compile(
        keras.optimizers.AdamW(rate, weight_decay=1e-4),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )


def outputs(model, x):
    """What the model answers, `(N, n_out)`."""
    return model.predict(x, batch_size=500, verbose=0)


def accuracy(model, given) -> float:
    """The share of the test points of `given` that the model gets right."""
    answers = outputs(model, given.inputs(model, "test"))
    return float((answers.argmax(1) == given.y_test).mean())


def cut(graph, engine, orders, widths):
    """The model whose sites keep so many units: the first of each order are taken over."""
    gone = np.zeros(len(graph.pinned), dtype=bool)
    for site, order, width in zip(engine.sites, orders, widths):
        gone[site.units[order[: len(site.units) - width]]] = True
    return rewrite(graph, plan_of(engine, gone))


def write_csv(records, path):
    """Write records, equal keys each, to a file."""
    import pandas as pd

    Path(path).parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(records).to_csv(path, index=False)


class Recorder:
    """Prints records of equal keys as they come, and keeps them in a file where one is wanted."""

    def __init__(self, folder, name):
        self.path, self.records = folder and Path(folder) / name, []

    def __call__(self, record):
        self.records.append(record)
        print(*record.values(), sep="  ", flush=True)
        if self.path:
            write_csv(self.records, self.path)


def parser(description, names=None):
    """Of the arguments that all of these have: NAME …, --seeds and --folder; -o is for results."""
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    if names:
        made.add_argument("names", nargs="*", default=list(names))
        made.add_argument("--seeds", type=int, default=3)
    made.add_argument("--folder", type=Path, default=Path("benchmarks/trained"))
    made.add_argument("-o", "--output", type=Path)
    return made


def each(arguments):
    """`(name, seed, model, points)` of the networks that the arguments name."""
    for name in arguments.names:
        given = points(name)
        for seed in range(arguments.seeds):
            yield name, seed, trained(name, seed, arguments.folder), given


def main():
    for name, seed, model, given in each(parser(__doc__, NETWORKS).parse_args()):
        print(
            f"{name:9s} seed {seed}: {model.count_params():7d} parameters, "
            f"test accuracy {accuracy(model, given):.4f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
