"""Shrinking while training on, against what is known and against torch-pruning.

    parent       LeNet-5 (lenet) and 784-300-100 (mlp), trained on digits that are moved by up to a
                 pixel, in pieces of some minutes: call it until it is done
    bar          the same, shrunk to the sizes of the literature
    against      networks of `networks.py` (residual, series), shrunk by `shrink` and by
                 torch-pruning (`pip install torch torch-pruning`; beside TensorFlow without triton,
                 as in torch's build for CPUs), epochs and optimizer the same

    python benchmarks/shrink.py STEP [NAME ...] [--seeds 0 1 2] [--folder build/shrink]
    [-o results/shrink]

The errors are on test points, of the last epoch. Results are kept in --folder, and all that are
there go into -o.
"""

import argparse
import itertools
import json
import time
from pathlib import Path

import keras
import networks
import numpy as np
import tensorflow as tf

from keras_l2feat import files, shrink
from keras_l2feat.data.shifts import moving, shifted

BATCH = 128
PARENT_EPOCHS = {"lenet": 16, "mlp": 30}
PIECE = 500  # seconds after which a training stops, to go on at the next call


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
        batches = shifted(x, y, [seed, epoch], BATCH)
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


def vary(x):
    """How many pixels are ever not 0, in images that are moved by up to one pixel each way."""
    padded = np.pad(x.any(axis=(0, 3)), 1)
    moved = [padded[1 + a : 29 + a, 1 + b : 29 + b] for a in (-1, 0, 1) for b in (-1, 0, 1)]
    return int(np.any(moved, axis=0).sum())


def multiply_adds(model):
    """Of convolutions and dense layers, counted by hand: places × taps × inputs × outputs."""
    total = 0
    for layer in model.layers:
        if layer.weights and layer.weights[0].name == "kernel":
            places = int(np.prod(layer.output.shape[1:-1]))
            total += places * int(np.prod(layer.weights[0].shape))
    return total


# What is asked for, the epochs, and the number of rounds
BARS = {
    "lenet": ({"flops": 2 * 158_000 / 4_586_000}, 30, 5),
    "mlp": ({"units": 0.28}, 20, 4),
}


def bar(name, seed, folder):
    """Shrink a parent to the size of the bar; a record."""
    model = parent(name, seed, folder)
    if name == "lenet":
        assert 2 * multiply_adds(model) == 4_586_000
    x, y = images(name)
    batches = moving(x, y, seed, BATCH)
    if name == "mlp":
        batches = batches.map(lambda a, b: (tf.reshape(a, [-1, 784]), b))
    target, epochs, rounds = BARS[name]
    small, done = shrink(
        model,
        batches,
        **target,
        epochs=epochs,
        rounds=rounds,
        distill=True,
        seed=seed,
        quiet=False,
        callbacks=[keras.callbacks.CSVLogger(folder / f"{name}-{seed}.log", append=True)],
    )
    files.save_model(small, folder / f"{name}-{seed}-small.keras")
    record = {
        "network": name,
        "seed": seed,
        "parent_error": error(model, name),
        "error": error(small, name),
        "widths": "-".join(str(w) for w in list(done.curve[-1]["widths"].values())[:-1]),
        "multiply_adds": multiply_adds(small),
        "parameters": small.count_params(),
        "inputs_that_vary": vary(x) if name == "mlp" else "",
        "inputs_read": done.curve[-1]["inputs"] if name == "mlp" else "",
        "epochs": epochs,
        "seconds": round(done.training_seconds),
        "seconds_of_the_original": round(done.original_seconds),
    }
    print(record, flush=True)
    return record


# Epochs of training on, and points in a batch, of both sides
AGAINST = {"residual": (3, 128), "series": (30, 32)}
RATE, DECAY = 2e-3, 1e-4
SHARES = (0.5, 0.25)
IMPORTANCE = {
    "torch-pruning magnitude": "GroupMagnitudeImportance",
    "torch-pruning Taylor": "GroupTaylorImportance",
}


def against(name, seed, folder):
    """Records of shrinking and of torch-pruning, from the same trained network, at shares of its
    operations; the same optimizer, rate, batches and epochs, no augmentation. What is in the file
    of the last call is not done again."""
    path = folder / f"{name}-{seed}.json"
    records = json.loads(path.read_text()) if path.exists() else []
    known = {(record["method"], record["share"]) for record in records}
    model, given = networks.trained(name, seed, folder), networks.points(name)
    epochs, batch = AGAINST[name]
    x, y = given.inputs(model), given.y_train
    test, truth = given.inputs(model, "test"), given.y_test

    def note(method, share, answer, left, seconds):
        wrong = 100 * float((answer.argmax(1) != truth).mean())
        records.append(
            {
                "network": name,
                "seed": seed,
                "share": share,
                "method": method,
                "epochs": epochs if share < 1 else 0,
                "error": wrong,
                "multiply_adds": left,
                "seconds": round(seconds, 1),
            }
        )
        print(records[-1], flush=True)
        files.write_json(path, records)

    if ("original", 1.0) not in known:
        note("original", 1.0, model.predict(test, verbose=0), multiply_adds(model), 0.0)
    model.compile(
        keras.optimizers.AdamW(RATE, weight_decay=DECAY),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    for method, share in itertools.product(("shrink", *IMPORTANCE), SHARES):
        if (method, share) in known:
            continue
        start = time.perf_counter()
        if method == "shrink":
            options = dict(epochs=epochs, batch_size=batch, validation=0, seed=seed)
            small, _ = shrink(model, (x, y), flops=share, **options)
            answer, left = small.predict(test, verbose=0), multiply_adds(small)
        else:
            answer, left = by_torch_pruning(model, x, y, test, method, share, epochs, batch, seed)
        note(method, share, answer, left, time.perf_counter() - start)
    return records


def by_torch_pruning(model, x, y, test, method, share, epochs, batch, seed):
    """The answers of what torch-pruning leaves after training on, and its multiply-adds. It
    chooses globally, by groups, in one step, down to the share by bisection of its ratio."""
    import torch
    import torch_pruning
    from torch_twin import TorchTwin

    torch.manual_seed(seed)
    importance = getattr(torch_pruning.importance, IMPORTANCE[method])()
    x, y = torch.tensor(x), torch.tensor(y)

    def pruned(ratio):
        twin = TorchTwin(model).eval()
        torch.nn.functional.cross_entropy(twin(x[:512]), y[:512]).backward()
        last = [part for part in twin.parts.values() if isinstance(part, torch.nn.Linear)][-1:]
        torch_pruning.pruner.BasePruner(
            twin,
            x[:2],
            importance=importance,
            global_pruning=True,
            pruning_ratio=ratio,
            ignored_layers=last,
        ).step()
        return twin

    low, high, whole = 0.0, 0.95, places_times_weights(pruned(0.0), x[:1])
    while high - low > 0.005:
        middle = (low + high) / 2
        fits = places_times_weights(pruned(middle), x[:1]) <= share * whole
        low, high = (low, middle) if fits else (middle, high)
    twin = pruned(high)
    left = places_times_weights(twin, x[:1])
    steps = epochs * -(-len(x) // batch)
    optimizer = torch.optim.AdamW(twin.parameters(), RATE, weight_decay=DECAY)
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(epochs):
        twin.train()
        for chosen in torch.randperm(len(x)).split(batch):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(twin(x[chosen]), y[chosen]).backward()
            optimizer.step()
            rate.step()
    with torch.no_grad():
        parts = [twin.eval()(part) for part in torch.tensor(test).split(500)]
    return torch.cat(parts).numpy(), left


def places_times_weights(twin, example):
    """Multiply-adds of convolutions and dense layers of a module for one point."""
    import torch

    total, hooks = [], []

    def count(part, given, out):
        places = out[0, 0].numel() if out.dim() > 2 else 1
        total.append(places * part.weight.numel())

    for part in twin.modules():
        if isinstance(part, (torch.nn.Linear, torch.nn.Conv1d, torch.nn.Conv2d)):
            hooks.append(part.register_forward_hook(count))
    with torch.no_grad():
        twin(example)
    for hook in hooks:
        hook.remove()
    return sum(total)


def error(model, name):
    """Test error in percent."""
    x, y = images(name, "test")
    x = x.reshape(len(x), *model.input_shape[1:])
    return 100 * float((model.predict(x, batch_size=500, verbose=0).argmax(1) != y).mean())


def write(folder, output):
    """All results of a folder as tables, one a kind."""
    found = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    bars = [one for one in found if isinstance(one, dict)]
    others = [record for one in found if isinstance(one, list) for record in one]
    for name, records in (("bars", bars), ("against", others)):
        if records:
            networks.write_csv(records, output / f"{name}.csv")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("step", choices=["parent", "bar", "against"])
    parser.add_argument("names", nargs="*", default=["lenet"])
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--folder", type=Path, default=Path("build/shrink"))
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for name in arguments.names:
        for seed in arguments.seeds:
            if arguments.step != "parent":
                run = {"bar": bar, "against": against}[arguments.step]
                found = run(name, seed, arguments.folder)
                files.write_json(arguments.folder / f"{name}-{seed}.json", found)
                if arguments.output:
                    write(arguments.folder, arguments.output)
                continue
            if (model := parent(name, seed, arguments.folder)) is None:
                return
            print(f"{name} {seed}: test error {error(model, name):.2f} %", flush=True)


if __name__ == "__main__":
    main()
