"""Every kernel and its gradients run on a GPU and under XLA: proved from the traced graphs, without
a GPU."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework.kernels import get_registered_kernels_for_op

from keras_l2feat import kernels

# Structure of a graph, not work: inlined or run by the host whatever the device.
STRUCTURE = {"Placeholder", "NoOp", "PartitionedCall", "StatefulPartitionedCall"}


def draw(*shape, dtype, seed=0):
    return tf.constant(np.random.default_rng(seed).standard_normal(shape), dtype)


def tall(dtype):
    return draw(8, 3, dtype=dtype), draw(8, 4, dtype=dtype, seed=1)


def wide(dtype):
    return draw(4, 3, dtype=dtype), draw(4, 8, dtype=dtype, seed=1)


def covariances(dtype):
    return [tf.matmul(x, x, transpose_b=True) for x in wide(dtype)]


def square(dtype):
    return draw(5, 3, dtype=dtype), draw(5, 5, dtype=dtype, seed=1)


def network(dtype):
    return draw(6, 3, dtype=dtype), draw(6, 4, dtype=dtype, seed=1), draw(6, 2, dtype=dtype, seed=2)


KERNELS = {
    "representation_cost, n < N": (lambda z, a: kernels.representation_cost(z, a, 0.1), tall),
    "representation_cost, n > N": (lambda z, a: kernels.representation_cost(z, a, 0.1), wide),
    "representation_cost, relative": (
        lambda z, a: kernels.representation_cost(z, a, 0.1, relative=True),
        tall,
    ),
    "representation_cost, exact, n < N": (kernels.representation_cost, tall),
    "representation_cost, exact, n > N": (kernels.representation_cost, wide),
    "least_norm_weights": (lambda z, a: kernels.least_norm_weights(z, a, 0.1), tall),
    "least_norm_weights, exact": (kernels.least_norm_weights, tall),
    "project": (lambda z, a: kernels.project(z, a, 0.1), wide),
    "coordinate_weights": (lambda v, a: kernels.coordinate_weights(v, a, 0.1), square),
    "column_coordinates": (lambda w, a: kernels.column_coordinates(w, a, 0.1), square),
    "covariance_cost": (lambda k, s: kernels.covariance_cost(k, s, 0.1), covariances),
    "covariance_cost, exact": (kernels.covariance_cost, covariances),
    "weights_from_representations": (
        lambda x, *z: tf.add_n(
            [
                tf.reduce_sum(w)
                for w in kernels.weights_from_representations(x, z, tf.nn.relu, ridge=0.1)
            ]
        ),
        network,
    ),
}


def search(dtype):
    return draw(6, 2, dtype=dtype), draw(6, 4, dtype=dtype, seed=1), draw(4, 5, dtype=dtype, seed=2)


def ascent(g, a, starts):
    return kernels.insertion_ascent(g, a, starts, steps=5)


def ascent_inputs(dtype):
    return draw(6, 3, dtype=dtype), draw(6, 4, dtype=dtype, seed=1), draw(4, 5, dtype=dtype, seed=2)


def derivatives(kernel, arguments):
    """The value of a kernel, its gradients, and the gradients of a function of those."""
    with tf.GradientTape() as outer:
        outer.watch(arguments)
        with tf.GradientTape() as inner:
            inner.watch(arguments)
            value = tf.reduce_sum(tf.sin(kernel(*arguments)))
        first = inner.gradient(value, arguments)
        summary = tf.add_n([tf.reduce_sum(tf.sin(x)) for x in first])
    return value, first, outer.gradient(summary, arguments)


def operations(graph):
    """The types of all operations of a traced graph and of the functions that it calls."""
    definition = graph.as_graph_def()
    nodes = [
        *definition.node,
        *(node for function in definition.library.function for node in function.node_def),
    ]
    return {node.op for node in nodes}


def without_gpu(graph):
    """The operations of a graph that have neither a GPU kernel nor one for every device."""
    missing = set()
    for name in operations(graph) - STRUCTURE:
        devices = {kernel.device_type for kernel in get_registered_kernels_for_op(name).kernel}
        if not devices & {"GPU", "DEFAULT"}:
            missing.add(name)
    return missing


@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
@pytest.mark.parametrize("name", KERNELS)
def test_every_operation_has_a_gpu_kernel_and_no_device_is_forced(name, dtype):
    kernel, inputs = KERNELS[name]
    graph = (
        tf.function(lambda *arguments: derivatives(kernel, arguments))
        .get_concrete_function(*inputs(dtype))
        .graph
    )
    assert without_gpu(graph) == set()
    assert {node.device for node in graph.as_graph_def().node} == {""}


@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
def test_the_insertion_search_too(dtype):
    """It is its own optimizer: no gradient is taken through it."""
    graph = tf.function(kernels.insertion_ascent).get_concrete_function(*search(dtype)).graph
    assert without_gpu(graph) == set()
    assert {node.device for node in graph.as_graph_def().node} == {""}


@pytest.mark.slow
def test_xla_compiles_the_insertion_search_and_agrees():
    compiled = tf.function(kernels.insertion_ascent, jit_compile=True)(*search(tf.float64))
    for ours, theirs in zip(compiled, kernels.insertion_ascent(*search(tf.float64))):
        np.testing.assert_allclose(ours, theirs, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
def test_the_search_for_the_best_neuron_has_gpu_kernels_too(dtype):
    graph = tf.function(ascent).get_concrete_function(*ascent_inputs(dtype)).graph
    assert without_gpu(graph) == set()


@pytest.mark.slow
def test_xla_compiles_the_search_for_the_best_neuron():
    arguments = ascent_inputs(tf.float64)
    for ours, theirs in zip(tf.function(ascent, jit_compile=True)(*arguments), ascent(*arguments)):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9)


def test_the_check_catches_an_operation_without_gpu_kernel():
    graph = (
        tf.function(lambda z, a: tf.linalg.lstsq(a, z, fast=False))
        .get_concrete_function(*tall(tf.float64))
        .graph
    )
    assert without_gpu(graph) == {"MatrixSolveLs"}


@pytest.mark.slow
@pytest.mark.parametrize("name", KERNELS)
def test_xla_compiles_each_with_its_gradients_and_agrees(name):
    kernel, inputs = KERNELS[name]
    arguments = inputs(tf.float64)

    def run(*arguments):
        with tf.GradientTape() as tape:
            tape.watch(arguments)
            value = tf.reduce_sum(tf.sin(kernel(*arguments)))
        return value, tape.gradient(value, arguments)

    # XLA iterates its SVD to 1e-8 only
    rtol = 1e-6 if name == "least_norm_weights, exact" else 1e-10
    compiled = tf.nest.flatten(tf.function(run, jit_compile=True)(*arguments))
    for ours, theirs in zip(compiled, tf.nest.flatten(run(*arguments))):
        np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=rtol)


@pytest.mark.slow
def test_under_xla_rank_deficiency_is_nan_since_nothing_can_be_raised():
    z, a = tall(tf.float64)
    compiled = tf.function(kernels.representation_cost, jit_compile=True)
    assert np.isnan(compiled(z, a * [1.0, 0.0, 1.0, 1.0]))
    assert np.isfinite(compiled(z, a))
