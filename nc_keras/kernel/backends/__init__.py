"""Derivatives of a function of tensors, on each backend.

Keras has no gradients of its own, so each backend has a module with the same
five functions, and only that of the backend in use is imported. A function to
differentiate takes a list of tensors, and returns its outputs, shape
`(B, C)`, and anything else beside them.

* `compiled(function)`: the function, compiled where the backend can, with
  products of full precision.
* `pulled_back(function, tensors, cotangents)`: the outputs; for each tensor
  the gradients of several sums of them, with a first axis for the cotangents;
  and what the function returns beside its outputs. One pass.
* `gradients(function, tensors, cotangent)`: the gradients of one such sum.
* `pushed_forward(function, tensors, tangents)`: how the outputs change as the
  tensors do, to first order.
* `jacobians(function, tensors, x)`: for each tensor the Jacobian of each
  example, `(B, C, ...)`, of a function of tensors and inputs.
"""

import importlib
from types import ModuleType

import keras


def current() -> ModuleType:
    """Returns the module of the backend in use.

    Raises:
        NotImplementedError: If it has no gradients, as NumPy has not.
    """
    name = keras.backend.backend()
    if name not in ("tensorflow", "jax", "torch"):
        raise NotImplementedError(
            "The tangent kernel needs the gradients of TensorFlow, JAX or "
            f"torch: choose one with KERAS_BACKEND. Received: {name}."
        )
    return importlib.import_module(f"nc_keras.kernel.backends.{name}")
