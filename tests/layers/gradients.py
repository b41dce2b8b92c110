"""Gradients on every backend, for tests only."""

import keras
import numpy as np
from keras import ops


def gradients(layer, x, loss):
    """d loss(layer(x)) / d each trainable variable, as NumPy arrays."""
    variables = layer.trainable_variables
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            value = loss(layer(x))
        grads = tape.gradient(value, [v.value for v in variables])
    elif backend == "jax":
        import jax

        fixed = layer.non_trainable_variables

        def function(values):
            outputs, _ = layer.stateless_call(
                values, [v.value for v in fixed], x
            )
            return loss(outputs)

        grads = jax.grad(function)([v.value for v in variables])
    else:
        layer.zero_grad()
        loss(layer(x)).backward()
        grads = [v.value.grad for v in variables]
    return [np.asarray(ops.convert_to_numpy(g)) for g in grads]
