"""Derivatives on torch."""

from collections.abc import Callable
from typing import Any

import keras
import torch


def compiled(function: Callable) -> Callable:
    # torch compiles nothing here.

    def call(*args):
        return _detached(function(*args))

    return call


def pulled_back(
    function: Callable, tensors: list, cotangents: Any
) -> tuple[Any, list, Any]:
    tensors = _followed(tensors)
    outputs, beside = function(tensors)
    found = torch.autograd.grad(
        outputs,
        tensors,
        cotangents,
        is_grads_batched=True,
        allow_unused=True,
        materialize_grads=True,
    )
    return outputs, list(found), beside


def gradients(function: Callable, tensors: list, cotangent: Any) -> list:
    tensors = _followed(tensors)
    outputs, _ = function(tensors)
    found = torch.autograd.grad(
        outputs,
        tensors,
        cotangent,
        allow_unused=True,
        materialize_grads=True,
    )
    return list(found)


def pushed_forward(function: Callable, tensors: list, tangents: list) -> Any:
    # Twice backward, for not every operation of torch goes forward.
    tensors = _followed(tensors)
    outputs, _ = function(tensors)
    weights = torch.zeros_like(outputs, requires_grad=True)
    found = torch.autograd.grad(
        outputs,
        tensors,
        weights,
        create_graph=True,
        allow_unused=True,
        materialize_grads=True,
    )
    product = sum((a * b).sum() for a, b in zip(found, tangents, strict=True))
    return torch.autograd.grad(product, weights)[0]


def jacobians(function: Callable, tensors: list, x: Any) -> list:
    # Not by `vmap` over the examples, which has no convolutions.
    count = len(keras.tree.flatten(x)[0])
    found = []
    for index in range(count):
        row = slice(index, index + 1)
        rows = keras.tree.map_structure(lambda array, row=row: array[row], x)
        found.append(_jacobian(function, tensors, rows))
    return [torch.stack(several) for several in zip(*found, strict=True)]


def _jacobian(function, tensors, rows):
    def outputs(tensors, rows=rows):
        return function(tensors, rows)

    units = outputs(tensors)[0].shape[-1]
    identity = torch.eye(units, dtype=outputs(tensors)[0].dtype)
    cotangents = identity.to(tensors[0].device)[:, None]
    return pulled_back(outputs, tensors, cotangents)[1]


def _followed(tensors):
    return [tensor.detach().requires_grad_() for tensor in tensors]


def _detached(found):
    return keras.tree.map_structure(torch.Tensor.detach, found)
