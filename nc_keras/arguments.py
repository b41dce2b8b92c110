"""Checks of what people pass: each argument is of a kind, or the error says."""

import dataclasses
import functools
import inspect
import math
import numbers
from collections.abc import Callable
from typing import Any

import keras
import numpy as np


def checked(**kinds: str) -> Callable[[Callable], Callable]:
    """Lets a function refuse arguments of the wrong kind, by their names.

    An argument may be `None` where that is its default or in its type. What
    the function then asks of the numbers is its own matter.

    Args:
        **kinds: From names of arguments to `"number"` (real and finite),
            `"integer"`, `"values"` (real numbers of any shape), `"array"`
            (the same, not single and not empty), `"model"` (a built Keras
            model) or `"data"` (arrays or a dataset).

    Raises:
        TypeError: If an argument is of another kind.
        ValueError: If it is of this kind, and cannot be used; or if the
            numbers lead beyond what a float can hold.
    """

    def decorate(function):
        signature = inspect.signature(function)

        @functools.wraps(function)
        def call(*args, **kwargs):
            bound = signature.bind(*args, **kwargs)
            for name, value in bound.arguments.items():
                if name in kinds and (
                    value is not None
                    or not _optional(signature.parameters[name])
                ):
                    _CHECKS[kinds[name]](name, value)
            try:
                return function(*args, **kwargs)
            except (OverflowError, ZeroDivisionError) as error:
                raise ValueError(
                    "These numbers lead beyond what a float can hold. "
                    f"Received: {_listed(bound.arguments)}."
                ) from error

        return call

    return decorate


def require_numbers(**values: Any) -> None:
    """Sees that arguments are real and finite, where nothing can wrap a call.

    Keras reads the signature of a layer's `__init__`.

    Args:
        **values: The arguments, by their names.

    Raises:
        TypeError: If one is no real number.
        ValueError: If one is not finite.
    """
    for name, value in values.items():
        _number(name, value)


def _optional(parameter):
    return parameter.default is None or "None" in str(parameter.annotation)


def _number(name, value):
    if not isinstance(value, numbers.Real):
        _refuse(name, "a real number", value)
    try:
        finite = math.isfinite(value)
    except OverflowError:
        finite = False
    if not finite:
        _refuse(name, "a finite number", value, ValueError)


def _integer(name, value):
    if not isinstance(value, numbers.Integral) or isinstance(value, bool):
        _refuse(name, "an integer", value)
    if abs(value) >= 2**63:
        _refuse(name, "an integer of at most 64 bits", value, ValueError)


def _values(name, value):
    real_array(value, f"`{name}`")


def _array(name, value):
    array = real_array(value, f"`{name}`")
    if not array.ndim:
        _refuse(name, "an array, not a single number", value, ValueError)
    if not array.size:
        _refuse(name, "an array that is not empty", value, ValueError)


def _model(name, value):
    if not isinstance(value, keras.Model):
        _refuse(name, "a `keras.Model`", value)
    if not value.built:
        _refuse(
            name,
            "built: call the model on a batch first, or give it a "
            "`keras.Input`",
            value,
            ValueError,
        )


def _data(name, value):
    if dataclasses.is_dataclass(value):
        return  # Data that were summed up before.
    is_array = hasattr(value, "shape")
    if isinstance(value, str | bytes | numbers.Number | dict) or not (
        is_array or hasattr(value, "__iter__") or hasattr(value, "__getitem__")
    ):
        _refuse(name, "an array of examples, or a dataset of batches", value)
    if is_array and (not len(value.shape) or 0 in tuple(value.shape)):
        _refuse(name, "examples, one per row, and some", value, ValueError)
    if isinstance(value, np.ndarray):
        real_array(value, f"`{name}`")
    if isinstance(value, list | tuple) and not len(value):
        _refuse(name, "examples, and some", value, ValueError)


_CHECKS = {
    "number": _number,
    "integer": _integer,
    "array": _array,
    "values": _values,
    "model": _model,
    "data": _data,
}


def _refuse(name, kind, value, error=TypeError):
    raise error(f"`{name}` must be {kind}. Received: {_listed({name: value})}.")


def _listed(values):
    """Arguments in few words: an array by its shape."""
    return ", ".join(
        f"{name}={value!r:.60}"
        if isinstance(value, numbers.Number | str | bytes | None)
        else f"{name} of type {type(value).__name__}"
        + (f" and shape {np.shape(value)}" if hasattr(value, "shape") else "")
        for name, value in values.items()
    )


def real_array(values: Any, name: str) -> np.ndarray:
    """Returns values as an array of real numbers, or says why they are not.

    Args:
        values: Array, or what NumPy makes one of.
        name: String, what the values are called in an error.

    Returns:
        An array of the dtype that the values have.
    """
    refuse_masked(values, name)
    try:
        array = np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"{name} must be an array of real numbers. Received: "
            f"{type(values).__name__} that makes no array: {error}"
        ) from error
    # Not the kind: that of bfloat16 is the one of structured arrays.
    if not np.can_cast(array.dtype, "float64", "same_kind"):
        raise ValueError(
            f"{name} must be an array of real numbers. Received: "
            f"{type(values).__name__} of dtype {array.dtype}."
        )
    return array


def refuse_masked(values: Any, name: str) -> None:
    """Says so where a NumPy array masks values, which its data still hold.

    Args:
        values: Array of any kind, or a list of them.
        name: String, what the values are called in an error.
    """
    parts = values if isinstance(values, list | tuple) else (values,)
    if any(np.ma.is_masked(part) for part in parts):
        raise ValueError(
            f"{name} must not be masked: pass the examples that count, for "
            "example `x[~mask.any(axis=1)]`, or an array without mask. "
            f"Received: {type(values).__name__} with masked values."
        )
