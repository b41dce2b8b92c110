"""Derivatives on JAX."""

from collections.abc import Callable
from typing import Any

import jax


def compiled(function: Callable) -> Callable:
    fast = jax.jit(function)

    def call(*args):
        # Accelerators would round the factors to ten bits.
        with jax.default_matmul_precision("highest"):
            return fast(*args)

    return call


def pulled_back(
    function: Callable, tensors: list, cotangents: Any
) -> tuple[Any, list, Any]:
    outputs, pull, beside = jax.vjp(function, tensors, has_aux=True)
    (gradients,) = jax.vmap(pull)(cotangents)
    return outputs, gradients, beside


def gradients(function: Callable, tensors: list, cotangent: Any) -> list:
    _, pull, _ = jax.vjp(function, tensors, has_aux=True)
    (found,) = pull(cotangent)
    return found


def pushed_forward(function: Callable, tensors: list, tangents: list) -> Any:
    _, change, _ = jax.jvp(function, (tensors,), (tangents,), has_aux=True)
    return change


def jacobians(function: Callable, tensors: list, x: Any) -> list:
    def of_one(example):
        rows = jax.tree.map(lambda array: array[None], example)
        return jax.jacrev(lambda at: function(at, rows)[0][0])(tensors)

    return jax.vmap(of_one)(x)
