"""Taking over by least squares against three ways to prune by weights, at equal widths.

Networks of `networks.py`, each pruned here to shares of its floating point operations; the others
then remove as many units of each group of tied layers. Nobody trains on. Compared on the test
points, which nobody has seen: the largest change of an output, and the accuracy.

    ours            `prune(model, "bounded", points, flops=SHARE)`, on POINTS training points
    magnitude       the units with the smallest incoming weights go
    folding         k-means clusters of incoming weights become one unit each: mean of the incoming,
                    sum of the outgoing weights, then REPAIR of mean and deviation on the same
                    points (Wang et al., Model Folding, ICLR 2025; Jordan et al. 2023)
    torch-pruning   on a copy in PyTorch: the better of its importances by magnitude and by Taylor
                    expansion of the loss on the same points (`pip install torch torch-pruning`;
                    left out where it is not installed)

    python benchmarks/alternatives.py [NAME ...] [--seed 0] [--shares 0.7 0.5 0.3]
    [--folder benchmarks/trained] [-o results/alternatives]
"""

import argparse
import time
from pathlib import Path

import networks
import numpy as np

from keras_l2feat.pruning.balance import norms
from keras_l2feat.pruning.channels.read import read
from keras_l2feat.pruning.guarantees.bounded import bounded_plan
from keras_l2feat.pruning.plan import Plan, Removal
from keras_l2feat.pruning.rewrite import rewrite
from keras_l2feat.pruning.takeover.readings import readings, sites
from keras_l2feat.pruning.takeover.walk import argument, walk

POINTS = 2500
TAYLOR = 512  # points on which torch-pruning's gradients are taken


def by_magnitude(graph, counts):
    """Of each site the `counts` units with the smallest incoming weights go."""
    incoming, plan = norms(graph)[0], Plan("bounded")
    for site, count in zip(sites(graph, readings(graph)), counts):
        for index in np.argsort(incoming[site.units])[:count]:
            plan.removed.append(Removal(*site.names[index], "small"))
    return rewrite(graph, plan)


def by_folding(graph, counts, points, seed=0):
    """Clusters of units become one unit each, and statistics are repaired on points."""
    from scipy.cluster.vq import kmeans2

    weights = {name: layer.get_weights() for name, layer in graph.layers.items() if layer.weights}
    merged, plan = {}, Plan("bounded")
    for site, count in zip(sites(graph, readings(graph)), counts):
        written = [
            (
                slot.layer,
                slot.index,
                slot.axis,
                np.array([_place(slot.units, u) for u in site.units]),
            )
            for slot in graph.slots.values()
            if slot.role in ("write", "param") and np.isin(site.units, slot.units).all()
        ]
        rows = [
            np.moveaxis(weights[layer][index], axis, 0)[at].reshape(len(at), -1)
            for layer, index, axis, at in written
            if "moving" not in graph.layers[layer].weights[index].path
        ]
        cluster = kmeans2(
            np.concatenate(rows, axis=1), len(site.units) - count, minit="++", rng=seed
        )
        label = _filled(cluster[1], len(site.units) - count)
        for members in (np.flatnonzero(label == k) for k in np.unique(label)):
            merged[int(site.units[members[0]])] = site.units[members]
            plan.removed += [Removal(*site.names[index], "folded") for index in members[1:]]
            for layer, index, axis, at in written:
                view = np.moveaxis(weights[layer][index], axis, 0)
                view[at[members[0]]] = view[at[members]].mean(axis=0)
            for reading in site.readers:
                matrix = reading.kernel(weights)
                columns = np.stack(
                    [np.flatnonzero(reading.units == site.units[m]) for m in members]
                )
                matrix[columns[0]] = matrix[columns].sum(axis=0)
                matrix[columns[1:].reshape(-1)] = 0.0
                reading.store(weights, matrix)
    _repair(graph, weights, merged, points)
    plan.weights = {name: dict(enumerate(arrays)) for name, arrays in weights.items()}
    return rewrite(graph, plan)


def _place(units, unit):
    return int(np.flatnonzero(units == unit)[0])


def _filled(label, wanted):
    """Clusters that came out empty take a unit of the largest one."""
    while len(np.unique(label)) < wanted:
        largest = np.bincount(label).argmax()
        empty = np.setdiff1d(np.arange(wanted), label)[0]
        label[np.flatnonzero(label == largest)[-1]] = empty
    return label


def _repair(graph, weights, merged, points):
    """Give each folded unit the mean and deviation that its members had, before the activation; a
    normalization measures them anew."""
    by_layer = {r.layer: r for r in readings(graph).values() if r.reader.writes is not None}
    normalized = {
        op.statistics[0]: op.statistics for op in graph.ops if getattr(op, "statistics", None)
    }

    def computed(name, args, kwargs, matrix):
        parts = argument(by_layer[name], args, kwargs).parts
        axis = by_layer[name].reader.inputs[0].axis
        rows = [by_layer[name].rows(np.asarray(part), axis, 0.1) for part in parts]
        return np.concatenate(rows) @ matrix

    def look(name, args, kwargs):
        if name in repaired:
            before[name] = computed(name, args, kwargs, by_layer[name].kernel(original))

    def visit(name, args, kwargs):
        if name in normalized:
            _, mean, variance, _ = normalized[name]
            given = argument(next(iter(by_layer.values())), args, kwargs)
            values = np.concatenate([np.asarray(part) for part in given.parts])
            axes = tuple(range(values.ndim - 1))
            weights[name][mean], weights[name][variance] = values.mean(axes), values.var(axes)
        elif name in repaired:
            reading, old = by_layer[name], before.pop(name)
            matrix, units = reading.kernel(weights), reading.reader.writes.units
            new = computed(name, args, kwargs, matrix)
            for column, unit in enumerate(units.tolist()):
                if unit in merged:
                    members = [_place(units, u) for u in merged[unit]]
                    scale = old[:, members].std(axis=0).mean() / max(new[:, column].std(), 1e-12)
                    shift = old[:, members].mean() - scale * new[:, column].mean()
                    matrix[:, column] *= scale
                    matrix[-1, column] += shift
            reading.store(weights, matrix)
        return weights.get(name)

    original = {name: layer.get_weights() for name, layer in graph.layers.items() if layer.weights}
    repaired = {name for name, r in by_layer.items() if r.constant and r.constant[0] == name}
    given = [[points[start : start + 256]] for start in range(0, min(1024, len(points)), 256)]
    before = {}
    walk(graph, given, look)
    walk(graph, given, visit)


def by_torch_pruning(graph, counts, points, labels):
    """The outputs of what torch-pruning leaves, for each importance: name → function of points."""
    import torch
    import torch_pruning
    from torch_twin import TorchTwin

    found = {}
    choices = {
        "magnitude": torch_pruning.importance.GroupMagnitudeImportance(p=2),
        "Taylor": torch_pruning.importance.GroupTaylorImportance(),
    }
    for name, importance in choices.items():
        twin = TorchTwin(graph.model).eval()
        example = torch.tensor(points[:2])
        loss = torch.nn.functional.cross_entropy(
            twin(torch.tensor(points[:TAYLOR])), torch.tensor(labels[:TAYLOR])
        )
        loss.backward()
        dependencies = torch_pruning.DependencyGraph().build_dependency(twin, example)
        for site, count in zip(sites(graph, readings(graph)), counts):
            layer = twin.parts[site.names[0][0]]
            cut = (
                torch_pruning.prune_linear_out_channels
                if isinstance(layer, torch.nn.Linear)
                else torch_pruning.prune_conv_out_channels
            )
            group = dependencies.get_pruning_group(layer, cut, list(range(len(site.units))))
            gone = importance(group).argsort()[:count].tolist()
            if gone:
                dependencies.get_pruning_group(layer, cut, gone).prune()

        def answer(x, twin=twin):
            with torch.no_grad():
                return np.concatenate(
                    [twin(torch.tensor(p)).numpy() for p in np.array_split(x, 20)]
                )

        found[name] = answer
    return found


def compared(name, seed, share, folder):
    """One cell: records of all methods."""
    model, points = networks.trained(name, seed, folder), networks.points(name).head
    points = points(min(POINTS, len(networks.points(name).x_train)))
    graph = read(model)
    x, y = points.inputs(model), points.y_train
    test, truth = points.inputs(model, "test"), points.y_test

    def predicted(one):
        return one.predict(test, batch_size=512, verbose=0)

    before, records = predicted(model), []

    def note(method, after, seconds):
        record = {
            "network": name,
            "seed": seed,
            "share": share,
            "method": method,
            "max_abs": float(np.abs(after - before).max()),
            "accuracy": float((after.argmax(1) == truth).mean()),
            "accuracy_before": float((before.argmax(1) == truth).mean()),
            "widths": "-".join(map(str, widths)),
            "seconds": round(seconds, 1),
        }
        records.append(record)
        print(
            f"{name:9s} {share:.2f} {method:24s} max |Δ| {record['max_abs']:8.3g}  accuracy "
            f"{record['accuracy']:.4f} of {record['accuracy_before']:.4f}  {record['widths']}",
            flush=True,
        )

    start = time.perf_counter()
    plan = bounded_plan(graph, inputs=[x], flops=share)
    pruned = rewrite(graph, plan)
    seconds = time.perf_counter() - start
    found = sites(graph, readings(graph))
    gone = {(removal.layer, removal.unit) for removal in plan.removed}
    counts = [sum(name in gone for name in site.names) for site in found]
    widths = [len(site.units) - count for site, count in zip(found, counts)]
    note("ours", predicted(pruned), seconds)
    for method, function in (
        ("magnitude", lambda: by_magnitude(graph, counts)),
        ("folding", lambda: by_folding(graph, counts, x, seed)),
    ):
        start = time.perf_counter()
        after = function()
        note(method, predicted(after), time.perf_counter() - start)
    try:
        start = time.perf_counter()
        answers = by_torch_pruning(graph, counts, x, y)
    except ImportError:
        print("torch-pruning is not installed")
    else:
        for method, answer in answers.items():
            note(f"torch-pruning {method}", answer(test), time.perf_counter() - start)
    return records


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", default=list(networks.NETWORKS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shares", type=float, nargs="*", default=[0.7, 0.5, 0.3])
    parser.add_argument("--folder", type=Path, default=Path("benchmarks/trained"))
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    records = []
    for name in arguments.names or list(networks.NETWORKS):
        for share in arguments.shares:
            records += compared(name, arguments.seed, share, arguments.folder)
            if arguments.output:
                networks.write_csv(records, arguments.output / "cells.csv")
    cells = {(r["network"], r["share"]) for r in records}
    won = 0
    for cell in cells:
        ours, *others = [r for r in records if (r["network"], r["share"]) == cell]
        won += all(
            ours["max_abs"] < other["max_abs"] and ours["accuracy"] >= other["accuracy"]
            for other in others
        )
    print(f"lower |Δ| and no lower accuracy than all others: {won} of {len(cells)} cells")


if __name__ == "__main__":
    main()
