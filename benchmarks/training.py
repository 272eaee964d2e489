"""Time to the loss that model.fit reaches: Adam with a cosine schedule, 2000 full-batch epochs,
against training.fit.

mnist-1k, L = 3, widths 50, λ = 1e-3, float32 model, same initial weights, one after the other in
one process. Run: python benchmarks/training.py [EPOCHS]
"""

import os
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras

from keras_l2feat import models, training
from keras_l2feat.data import load

LAM = 1e-3


def main():
    epochs = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    data = load("mnist-1k")
    model = models.mlp(784, (50, 50), 10, lam=LAM, seed=0)
    start = model.get_weights()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(1e-2, epochs)), loss)
    model.fit(data.x_train, data.y_train, batch_size=1000, epochs=2, verbose=0)  # compile
    training.fit(model, data, iterations=2, quiet=True)
    model.set_weights(start)
    model.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(1e-2, epochs)), loss)
    began = time.perf_counter()
    model.fit(data.x_train, data.y_train, batch_size=1000, epochs=epochs, shuffle=False, verbose=0)
    theirs = time.perf_counter() - began
    target = float(model.evaluate(data.x_train, data.y_train, batch_size=1000, verbose=0))
    print(f"model.fit: loss {target:.5f} after {epochs} epochs in {theirs:.1f} s")
    for dtype in ("float64", "float32"):
        model.set_weights(start)
        began = time.perf_counter()
        fitted = training.fit(model, data, dtype=dtype, iterations=1000, tolerance=0, quiet=True)
        setup = time.perf_counter() - began - fitted.history["seconds"][-1]
        index = next(i for i, value in enumerate(fitted.history["loss"]) if value <= target)
        ours = fitted.history["seconds"][index] + setup
        print(
            f"training.fit in {dtype}: that loss after {index} iterations in {ours:.2f} s "
            f"({setup:.2f} s of it outside the optimizer); ratio {theirs / ours:.1f} (bar: 10)"
        )


if __name__ == "__main__":
    main()
