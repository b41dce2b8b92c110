"""Derivatives on TensorFlow."""

import contextlib
import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

_ZERO = tf.UnconnectedGradients.ZERO


def compiled(function: Callable) -> Callable:
    @functools.cache
    def of_shapes(shapes):
        # TensorFlow warns of code that is traced often; a partial has none.
        return tf.function(functools.partial(function))

    def call(*args):
        tensors = tf.nest.flatten(args)
        fast = of_shapes(tuple(tuple(tensor.shape) for tensor in tensors))
        with _full_precision():
            return fast(*args)

    return call


@contextlib.contextmanager
def _full_precision():
    """Keeps accelerators from rounding the factors to ten bits."""
    setting = tf.config.experimental
    before = setting.tensor_float_32_execution_enabled()
    setting.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        setting.enable_tensor_float_32_execution(before)


def pulled_back(
    function: Callable, tensors: list, cotangents: Any
) -> tuple[Any, list, Any]:
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(tensors)
        outputs, beside = function(tensors)
    found = tf.vectorized_map(
        lambda cotangent: _gradients(tape, outputs, tensors, cotangent),
        cotangents,
    )
    return outputs, found, beside


def gradients(function: Callable, tensors: list, cotangent: Any) -> list:
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        outputs, _ = function(tensors)
    return _gradients(tape, outputs, tensors, cotangent)


def pushed_forward(function: Callable, tensors: list, tangents: list) -> Any:
    with tf.autodiff.ForwardAccumulator(tensors, tangents) as accumulator:
        outputs, _ = function(tensors)
    return accumulator.jvp(outputs, unconnected_gradients=_ZERO)


def jacobians(function: Callable, tensors: list, x: Any) -> list:
    def of_one(example, all_at_once=True):
        # Twice: the product of (N, 1, a, b) and (1, 1, b, c), which one would
        # make of attention, writes past its end in TensorFlow's oneDNN.
        rows = tf.nest.map_structure(lambda a: tf.stack([a, a]), example)
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(tensors)
            outputs = function(tensors, rows)[0][0]
        return tape.jacobian(
            outputs,
            tensors,
            unconnected_gradients=_ZERO,
            experimental_use_pfor=all_at_once,
        )

    try:
        return tf.vectorized_map(of_one, x)
    except (TypeError, ValueError):  # A loop inside cannot be vectorised.
        return tf.map_fn(
            lambda example: of_one(example, all_at_once=False),
            x,
            fn_output_signature=[
                tf.TensorSpec([None, *tensor.shape], tensor.dtype)
                for tensor in tensors
            ],
        )


def _gradients(tape, outputs, tensors, cotangent):
    found = tape.gradient(
        outputs, tensors, cotangent, unconnected_gradients=_ZERO
    )
    # Those of an embedding, or of a `gather`, name rows.
    return [tf.convert_to_tensor(one) for one in found]
