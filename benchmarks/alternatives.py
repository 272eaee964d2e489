"""Our merges against structured pruning by magnitude, and against torch-pruning, at equal numbers
of removed neurons.

One 784-256-256-10 network on mnist-1k, trained on full batches with L2 (λ = 1e-2), float32. It is
pruned here within several tolerances; the others then remove as many neurons of each layer. Nobody
fine-tunes. For each: the largest change of a logit, and the predictions that change, on the 1000
training and 1000 test digits, and seconds.

    python benchmarks/alternatives.py [--iterations 2500] [--align 0] [--lam 1e-2] [--seed 0]
    [--model FILE.keras]

With `--align ANGLE` training goes on for 300 iterations with AlignNeurons, the way to train what is
to be pruned.

torch-pruning (pip install torch torch-pruning) is left out where it is not installed.
"""

import argparse
import time
from pathlib import Path

import numpy as np

from keras_l2feat import callbacks, data, files, models, prune, training
from keras_l2feat.network import DenseNetwork

TOLERANCES = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2)


def by_magnitude(network, widths):
    """The units of each layer whose incoming weights (bias included) are largest."""
    weights, rows = [], None
    for layer, weight in enumerate(network.weights):
        if rows is not None:
            weight = weight[rows]
        if layer < len(widths):
            keep = np.sort(
                np.argsort(-np.linalg.norm(network.weights[layer], axis=0))[: widths[layer]]
            )
            rows = np.append(keep, network.widths[layer + 1])  # and the bias row
            weight = weight[:, keep]
        weights.append(weight)
    return network.with_weights(weights)


def by_torch_pruning(network, widths):
    """torch-pruning's group importance by magnitude, on the same weights."""
    import torch
    import torch_pruning

    linear = []
    for weight in network.weights:
        layer = torch.nn.Linear(weight.shape[0] - 1, weight.shape[1])
        layer.weight.data = torch.tensor(weight[:-1].T, dtype=torch.float32)
        layer.bias.data = torch.tensor(weight[-1], dtype=torch.float32)
        linear.append(layer)
    stack = [part for layer in linear[:-1] for part in (layer, torch.nn.ReLU())]
    model = torch.nn.Sequential(*stack, linear[-1])
    importance = torch_pruning.importance.GroupMagnitudeImportance(p=2)
    graph = torch_pruning.DependencyGraph().build_dependency(
        model, torch.zeros(1, network.widths[0])
    )
    for layer, width in zip(linear, widths):
        whole = graph.get_pruning_group(
            layer, torch_pruning.prune_linear_out_channels, list(range(layer.out_features))
        )
        weakest = importance(whole).argsort()[: layer.out_features - width].tolist()
        graph.get_pruning_group(layer, torch_pruning.prune_linear_out_channels, weakest).prune()
    pruned = [np.vstack([m.weight.detach().numpy().T, m.bias.detach().numpy()]) for m in linear]
    return network.with_weights(pruned)


def row(name, before, after, x, seconds):
    old, new = before(x), after(x)
    changed = int((old.argmax(axis=1) != new.argmax(axis=1)).sum())
    print(
        f"  {name:22s} {'-'.join(map(str, after.hidden)):>9s}  max |Δlogit| {np.abs(new - old).max():8.2g}  "
        f"changed predictions {changed:4d} of {len(x)}  {seconds:6.2f} s"
    )


def timed(function, *arguments, **options):
    start = time.perf_counter()
    result = function(*arguments, **options)
    return result, time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--iterations", type=int, default=2500)
    parser.add_argument(
        "--align", type=float, default=0.0, metavar="ANGLE", help="radians; 0 for none"
    )
    parser.add_argument("--lam", type=float, default=1e-2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--model", type=Path, help="read the trained network from here, or write it"
    )
    arguments = parser.parse_args()
    points = data.load("mnist-1k")
    if arguments.model and arguments.model.exists():
        model = files.load_model(arguments.model)
    else:
        model = models.mlp(784, (256, 256), 10, lam=arguments.lam, seed=arguments.seed)
        fitted, seconds = timed(
            training.fit,
            model,
            points,
            max_iterations=arguments.iterations,
            tolerance=1e-12,
            quiet=True,
        )
        print(
            f"trained: loss {fitted.loss:.6f}, {fitted.iterations} iterations, {seconds:.0f} s ({fitted.reason})"
        )
        if arguments.align:
            snap = callbacks.AlignNeurons(angle=arguments.align)
            fitted = training.fit(
                model, points, callbacks=[snap], max_iterations=300, tolerance=1e-12, quiet=True
            )
            print(f"aligned within {arguments.align:g} rad: loss {fitted.loss:.6f}")
        if arguments.model:
            files.save_model(model, arguments.model)
    before = DenseNetwork.from_model(model)
    x = np.concatenate([points.x_train, points.x_test]).astype(np.float64)
    print(f"784-256-256-10, mnist-1k, λ = {arguments.lam:g}, seed {arguments.seed}")
    for tolerance in TOLERANCES:
        (pruned, _), seconds = timed(
            prune, model, "bounded", points, tolerance=tolerance, seed=arguments.seed
        )
        ours = DenseNetwork.from_model(pruned)
        print(f"tolerance {tolerance:g}: {512 - sum(ours.hidden)} of 512 neurons removed")
        row("keras_l2feat", before, ours, x, seconds)
        after, seconds = timed(by_magnitude, before, ours.hidden)
        row("magnitude", before, after, x, seconds)
        try:
            after, seconds = timed(by_torch_pruning, before, ours.hidden)
        except ImportError:
            print("  torch-pruning is not installed")
        else:
            row("torch-pruning", before, after, x, seconds)


if __name__ == "__main__":
    main()
