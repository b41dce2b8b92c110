"""Calls of a model that change nothing in it."""

import contextlib
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from nc_keras.graph import casts
from nc_keras.graph import with_all_it_tracks

_HALVES = ("float16", "bfloat16")


def call_at(
    model: keras.Model, variables: Sequence, values: Sequence, x: Any
) -> Any:
    """Calls a model at given values of its variables, and changes none.

    Args:
        model: A built `keras.Model`.
        variables: The variables of the model.
        values: A tensor for each.
        x: The inputs.

    Returns:
        The outputs in inference mode, computed in float32 at least.

    Example:

    >>> from nc_keras.stateless import call_at
    >>> dense = keras.layers.Dense(1, use_bias=False)
    >>> model = keras.Sequential([keras.Input((1,)), dense])
    >>> outputs = call_at(model, model.variables, [[[3.0]]], np.ones((1, 1)))
    >>> float(outputs[0, 0])
    3.0
    """
    with (
        keras.StatelessScope(zip(variables, values, strict=True)),
        _single_precision(model),
    ):
        return model(x, training=False)


def current_values(model: keras.Model, variables: Sequence) -> list[Any]:
    """Reads variables of a model, also between two callbacks of its `fit()`.

    Args:
        model: A built `keras.Model`.
        variables: Some variables of the model.

    Returns:
        A tensor for each, through which torch sends no gradients.
    """
    # On JAX, `fit()` keeps the state to itself between two callbacks.
    sync = getattr(model, "jax_state_sync", None)
    if sync is not None:
        sync()
    return [ops.stop_gradient(variable) for variable in variables]


def give_back_state(model: keras.Model, state: Any, *_: Any) -> None:
    """Gives a model its variables back after a step of Keras has failed.

    On JAX, `fit` and `evaluate` take them from the model meanwhile, and an
    error while a step is compiled would lose them. What a step that has run
    was given is gone.

    Args:
        model: The model.
        state: The first argument of its `train_function` or `test_function`.
    """
    if keras.backend.backend() != "jax" or model._jax_state_synced:
        return
    names = ["trainable", "non_trainable", "optimizer", "metrics"]
    if len(state) < len(names):
        names.remove("optimizer")
    named = zip(names, state, strict=True)
    model._jax_state = {f"{name}_variables": values for name, values in named}
    model.jax_state_sync()


@contextlib.contextmanager
def _single_precision(model: keras.Model) -> Iterator[None]:
    """Lets layers of half precision compute in float32."""
    layers = [
        (layer, layer.dtype_policy)
        for layer in with_all_it_tracks(model)
        if type(layer.dtype_policy) is keras.DTypePolicy
        and layer.compute_dtype in _HALVES
    ]
    inputs = [
        (cast, cast.dtype) for cast in casts(model) if cast.dtype in _HALVES
    ]
    try:
        for layer, _ in layers:
            layer.dtype_policy = "float32"
        for cast, _ in inputs:
            cast.dtype = "float32"
        yield
    finally:
        for layer, policy in layers:
            layer.dtype_policy = policy
        for cast, dtype in inputs:
            cast.dtype = dtype
