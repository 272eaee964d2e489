"""Does a pruned model get faster as its FLOPs fall? Both, side by side.

Models are widened by an equivalent split of their units (`expand`, in random coordinates), pruned
back, and timed in turn in one process: median seconds of one call on 32 inputs of the compiled
model, FLOPs of the linear operations.

    python benchmarks/pruned_latency.py [--factors 2,3,4] [--seed 0]
"""

import argparse

import keras
from gauge import gauge

from keras_l2feat import models, prune
from keras_l2feat.pruning.channels.read import read
from keras_l2feat.pruning.expand import expand
from keras_l2feat.pruning.measure import latencies

layers = keras.layers


def dense():
    return models.mlp(784, (512, 512), 10)


def convolutional():
    x = keras.Input((32, 32, 3))
    h = x
    for filters in (32, 64, 128):
        h = layers.Conv2D(filters, 3, padding="same", use_bias=False)(h)
        h = layers.ReLU()(layers.BatchNormalization()(h))
        h = layers.MaxPooling2D(2)(h)
    return keras.Model(
        x, layers.Dense(10)(layers.GlobalAveragePooling2D()(h)), name="convolutional"
    )


def residual():
    x = keras.Input((32, 32, 3))
    h = layers.Conv2D(32, 3, padding="same", activation="relu")(x)
    for _ in range(4):
        inner = layers.Conv2D(64, 3, padding="same", activation="relu")(h)
        h = layers.ReLU()(layers.Add()([h, layers.Conv2D(32, 3, padding="same")(inner)]))
    return keras.Model(x, layers.Dense(10)(layers.GlobalAveragePooling2D()(h)), name="residual")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--factors", default="2,3,4")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    keras.utils.set_random_seed(arguments.seed)
    print(
        f"{'model':14s} {'widened':>8s} {'FLOPs':>24s} {'ratio':>6s} {'milliseconds':>18s} "
        f"{'ratio':>6s}"
    )
    for make in (dense, convolutional, residual):
        for factor in map(int, arguments.factors.split(",")):
            wide = gauge(expand(make(), factor=factor, seed=arguments.seed), seed=arguments.seed)
            small, _ = prune(wide, certificate=False)
            flops = [read(model).flops() for model in (wide, small)]
            _, seconds = latencies((wide, small), read(wide), seed=arguments.seed)
            print(
                f"{make.__name__:14s} {factor:7d}x {flops[0]:11.3g} -> {flops[1]:9.3g} "
                f"{flops[0] / flops[1]:6.2f} {1e3 * seconds[0]:8.2f} -> {1e3 * seconds[1]:6.2f} "
                f"{seconds[0] / seconds[1]:6.2f}"
            )


if __name__ == "__main__":
    main()
