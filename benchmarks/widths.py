"""How accurate networks of `networks.py` are at given widths, with no training after removal.

    python benchmarks/widths.py [NAME ...] [--seeds 3] [--points 5000] [--folder benchmarks/trained]
    [-o results/widths]

Each line is the accuracy on all test points of the network that is left, as a Keras model.
"""

import argparse
import time
from pathlib import Path

import networks
import numpy as np

from keras_l2feat.pruning.channels.read import read
from keras_l2feat.pruning.guarantees.search import plan_of
from keras_l2feat.pruning.rewrite import rewrite
from keras_l2feat.pruning.takeover.engine import Takeover
from keras_l2feat.pruning.takeover.removal import removal_order

WIDTHS = {"mlp": ((150, 50), (100, 30)), "lenet": ((10, 25, 120), (5, 10, 30))}


def measured(name, seed, arguments):
    """Records of one network."""
    model, points = networks.trained(name, seed, arguments.folder), networks.points(name)
    x, test = points.inputs(model), points.inputs(model, "test")
    graph = read(model)

    def accuracy(one):
        answers = one.predict(test, batch_size=500, verbose=0).argmax(1)
        return float((answers == points.y_test).mean())

    start = time.perf_counter()
    engine = Takeover(graph, [x[:: -(-len(x) // arguments.points)]])
    orders = [removal_order(engine.problems(site))[0] for site in engine.sites]
    seconds = time.perf_counter() - start
    before = accuracy(model)
    for widths in WIDTHS[name]:
        start = time.perf_counter()
        gone = np.zeros(len(graph.pinned), dtype=bool)
        for site, order, width in zip(engine.sites, orders, widths):
            gone[site.units[order[: len(site.units) - width]]] = True
        small = rewrite(graph, plan_of(engine, gone))
        yield {
            "network": name,
            "seed": seed,
            "widths": "-".join(map(str, widths)),
            "parameters": small.count_params(),
            "accuracy": accuracy(small),
            "accuracy_before": before,
            "seconds": round(time.perf_counter() - start + seconds, 1),
        }


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", default=list(WIDTHS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--points", type=int, default=5000)
    parser.add_argument("--folder", type=Path, default=Path("benchmarks/trained"))
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    records = []
    for name in arguments.names or list(WIDTHS):
        for seed in range(arguments.seeds):
            for record in measured(name, seed, arguments):
                records.append(record)
                print(*record.values(), sep="  ", flush=True)
                if arguments.output:
                    networks.write_csv(records, arguments.output / "widths.csv")


if __name__ == "__main__":
    main()
