"""Shrinking while training on, against what is known and against torch-pruning.

parent NAME      trains the networks that everything starts from, and keeps them in --folder

python benchmarks/shrink.py STEP [NAME ...] [--seeds 0 1 2] [--folder build/shrink]
"""

import argparse
import time
from pathlib import Path

import keras
import networks
import numpy as np
import tensorflow as tf

from keras_l2feat import files

BATCH = 128
PARENT_EPOCHS = {"lenet": 16, "mlp": 30}
PIECE = 500  # seconds after which a training stops, to go on at the next call


def shifted(x, y, epoch_seed, batch=BATCH):
    """Batches of images, in a new order, each moved by up to one pixel each way.

    Args:
        x: (points, 28, 28, 1) float32; y: (points,).
        epoch_seed: of the order and the shifts.

    Returns: a finite `tf.data.Dataset` of one epoch.
    """
    generator = np.random.default_rng(epoch_seed)
    order = generator.permutation(len(x))
    moves = generator.integers(-1, 2, (len(x), 2))
    padded = np.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)])
    moved = np.empty_like(x)
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            here = (moves == (down, right)).all(axis=1)
            moved[here] = padded[here, 1 + down : 29 + down, 1 + right : 29 + right]
    return tf.data.Dataset.from_tensor_slices((moved[order], y[order])).batch(batch)


def images(name, split="train"):
    """Points and labels of MNIST in the shape of a network's input."""
    given = networks.points(name)
    x = given.x_train if split == "train" else given.x_test
    y = given.y_train if split == "train" else given.y_test
    return x.reshape(-1, 28, 28, 1), y.astype("int32")


def parent(name, seed, folder):
    """Train a parent in pieces, with a checkpoint after each epoch; `None` if it is not done."""
    path = Path(folder) / f"{name}-{seed}.keras"
    if path.exists():
        return files.load_model(path)
    started, partial = time.perf_counter(), path.with_suffix(".part.keras")
    x, y = images(name)
    epochs = PARENT_EPOCHS[name]
    if partial.exists():
        model = files.load_model(partial)
    else:
        keras.utils.set_random_seed(seed)
        model = networks.NETWORKS[name]()
        rate = keras.optimizers.schedules.CosineDecay(2e-3, epochs * -(-len(x) // BATCH))
        model.compile(
            keras.optimizers.AdamW(rate, weight_decay=1e-2),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
    while (epoch := int(model.optimizer.iterations) // -(-len(x) // BATCH)) < epochs:
        begun = time.perf_counter()
        batches = shifted(x, y, [seed, epoch])
        if name == "mlp":
            batches = batches.map(lambda a, b: (tf.reshape(a, [-1, 784]), b))
        found = model.fit(batches.prefetch(4), verbose=0)
        print(
            f"{name} {seed} epoch {epoch}: loss {found.history['loss'][0]:.4f}, "
            f"{time.perf_counter() - begun:.0f} s",
            flush=True,
        )
        files.save_model(model, partial)
        if time.perf_counter() - started > PIECE:
            return None
    files.save_model(model, path)
    partial.unlink()
    return model


def error(model, name):
    """Test error in percent."""
    x, y = images(name, "test")
    x = x.reshape(len(x), *model.input_shape[1:])
    return 100 * float((model.predict(x, batch_size=500, verbose=0).argmax(1) != y).mean())


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("step", choices=["parent"])
    parser.add_argument("names", nargs="*", default=["lenet"])
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--folder", type=Path, default=Path("build/shrink"))
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for name in arguments.names:
        for seed in arguments.seeds:
            if (model := parent(name, seed, arguments.folder)) is None:
                return
            print(f"{name} {seed}: test error {error(model, name):.2f} %", flush=True)


if __name__ == "__main__":
    main()
