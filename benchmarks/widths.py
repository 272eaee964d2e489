"""How accurate networks of `networks.py` are at given widths, with no training after removal.

    python benchmarks/widths.py [NAME ...] [--seeds 3] [--points 5000] [--folder benchmarks/trained]
    [-o results/widths]

Each line is the accuracy on all test points of the network that is left, as a Keras model.
"""

import time

import networks

from keras_l2feat.pruning.channels.read import read
from keras_l2feat.pruning.takeover.engine import Takeover
from keras_l2feat.pruning.takeover.removal import removal_order

WIDTHS = {"mlp": ((150, 50), (100, 30)), "lenet": ((10, 25, 120), (5, 10, 30))}


def measured(name, seed, model, points, count):
    """Records of one network, taken over on `count` points."""
    x, graph = points.inputs(model), read(model)
    start = time.perf_counter()
    engine = Takeover(graph, [x[:: -(-len(x) // count)]])
    orders = [removal_order(engine.problems(site))[0] for site in engine.sites]
    seconds = time.perf_counter() - start
    before = networks.accuracy(model, points)
    for widths in WIDTHS[name]:
        start = time.perf_counter()
        small = networks.cut(graph, engine, orders, widths)
        yield {
            "network": name,
            "seed": seed,
            "widths": "-".join(map(str, widths)),
            "parameters": small.count_params(),
            "accuracy": networks.accuracy(small, points),
            "accuracy_before": before,
            "seconds": round(time.perf_counter() - start + seconds, 1),
        }


def main():
    parser = networks.parser(__doc__, WIDTHS)
    parser.add_argument("--points", type=int, default=5000)
    arguments = parser.parse_args()
    record = networks.Recorder(arguments.output, "widths.csv")
    for network in networks.each(arguments):
        for row in measured(*network, arguments.points):
            record(row)


if __name__ == "__main__":
    main()
