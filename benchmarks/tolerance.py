"""How many units of a redundant network a tolerance removes: taking over against merging.

784-256-256-10 on mnist-1k with λ = 1e-2: L-BFGS, then AlignNeurons at rising angles, so that the
network ends as redundant as one that was trained for very long. After the first part and after
each angle:

    exact          `prune(model)`: multiples of one ray, dead and constant units
    clustering     neurons without weights go, and those within an angle of TOLERANCE of each other
                   (bias included) become one
    ours           `prune(model, "bounded", digits, tolerance=TOLERANCE)`

with the largest change of an output on the 1000 digits that are given, and on the 1000 test digits,
which nobody has seen.

    python benchmarks/tolerance.py [--tolerance 1e-3] [--iterations 2500] [--folder FOLDER]
    [-o results/tolerance]
"""

import networks
import numpy as np

from keras_l2feat import callbacks, data, files, models, prune, training
from keras_l2feat.network import DenseNetwork

LAM = 1e-2
ANGLES = (0.1, 0.3, 0.4)


def trained(points, iterations, folder):
    """`(name, model)` of each stage, trained where its file is not there yet."""
    model = models.mlp(784, (256, 256), 10, lam=LAM, seed=0)
    for angle in (0.0, *ANGLES):
        name = f"aligned within {angle:g}" if angle else "L-BFGS"
        path = folder / f"tolerance-{angle:g}.keras"
        if path.exists():
            model = files.load_model(path)
        else:
            snap = [callbacks.AlignNeurons(angle=angle)] if angle else []
            count = 300 if angle else iterations
            training.fit(
                model, points, callbacks=snap, iterations=count, tolerance=1e-12, quiet=True
            )
            folder.mkdir(parents=True, exist_ok=True)
            files.save_model(model, path)
        yield name, model


def clustered(network, angle):
    """Neurons within an angle of the first of a cluster are added to it, in proportion to their
    length."""
    weights = [w.copy() for w in network.weights]
    for layer in range(len(weights) - 1):
        incoming, outgoing = weights[layer], weights[layer + 1]
        size = np.linalg.norm(incoming, axis=0)
        units = incoming / np.maximum(size, 1e-300)
        left, kept = [k for k in np.argsort(-size) if size[k] > 1e-9 * size.max()], []
        while left:
            first = left[0]
            near = [k for k in left if units[:, k] @ units[:, first] >= np.cos(angle)]
            outgoing[first] = (size[near] / max(size[first], 1e-300)) @ outgoing[near]
            kept.append(first)
            left = [k for k in left if k not in near and k != first]
        weights[layer] = incoming[:, kept]
        weights[layer + 1] = outgoing[[*kept, len(size)]]
    return network.with_weights(weights)


def main():
    parser = networks.parser(__doc__)
    parser.add_argument("--tolerance", type=float, default=1e-3)
    parser.add_argument("--iterations", type=int, default=2500)
    arguments = parser.parse_args()
    points, record = data.load("mnist-1k"), networks.Recorder(arguments.output, "removed.csv")
    for name, model in trained(points, arguments.iterations, arguments.folder):
        before = DenseNetwork.from_model(model)
        found = {
            "exact": DenseNetwork.from_model(prune(model)[0]),
            "clustering": clustered(before, arguments.tolerance),
            "ours": DenseNetwork.from_model(
                prune(model, "bounded", points, tolerance=arguments.tolerance)[0]
            ),
        }
        for method, after in found.items():
            moved = [
                float(np.abs(after(x) - before(x)).max())
                for x in (points.x_train.astype(float), points.x_test.astype(float))
            ]
            record(
                {
                    "network": name,
                    "method": method,
                    "removed": 512 - sum(after.hidden),
                    "widths": "-".join(map(str, after.hidden)),
                    "max_abs": moved[0],
                    "max_abs_test": moved[1],
                }
            )


if __name__ == "__main__":
    main()
