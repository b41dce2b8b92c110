"""The layers that everything passes on its way to the head."""

from __future__ import annotations

import collections
from typing import Any

import keras

from nc_keras.graph import is_graph
from nc_keras.graph import steps
from nc_keras.measuring.heads import Head
from nc_keras.measuring.heads import find_head_or_none
from nc_keras.measuring.heads import last_layer


def stages(
    model: keras.Model, head: keras.Layer | str | None = None
) -> list[keras.Layer]:
    """Returns the layers that a model's features pass, one after the other.

    A layer counts if everything that reaches the head passes it, so that
    branches inside of a residual block do not. Of these, the last before
    each next layer with a kernel is taken: what that layer, or block, sees.
    So a stage ends with the activation or pooling that follows a kernel, and
    the last one are the features of the head. What no kernel has changed,
    the data themselves, is left out, and so is a layer that is used twice.

    Args:
        model: A built Functional or Sequential `keras.Model`, in which others
            may be nested.
        head: The head or its name, or `None` to find it. Without any, the
            stages go up to the outputs.

    Raises:
        ValueError: If the model is subclassed, so that the order of its
            layers is not known, or if no stage is found.

    Example:

    >>> from nc_keras.layerwise import stages
    >>> model = keras.Sequential(
    ...     [
    ...         keras.Input((8, 8, 1)),
    ...         keras.layers.Conv2D(4, 3, name="conv"),
    ...         keras.layers.ReLU(name="relu"),
    ...         keras.layers.Flatten(name="flatten"),
    ...         keras.layers.Dense(16, activation="relu", name="dense"),
    ...         keras.layers.Dense(3, name="head"),
    ...     ]
    ... )
    >>> [layer.name for layer in stages(model)]
    ['flatten', 'dense']
    """
    head = last_layer(model, head)
    taken = list(steps(model, head)) if is_graph(model) else []
    times = collections.Counter(id(step) for step, _ in taken)
    found: list[keras.Layer | None] = []
    last, has_begun = None, False
    for step, is_passed in taken:
        if _has_kernel(step):
            found.append(last if has_begun else None)
            last, has_begun = None, True
        if step is head:
            break
        is_layer = isinstance(step, keras.Layer) and times[id(step)] == 1
        if is_passed and is_layer:
            last = step
    else:
        found.append(last)
    layers = [layer for layer in found if layer is not None]
    if not layers:
        raise ValueError(
            f"The stages of model {model.name!r} cannot be found: it must be "
            "Functional or Sequential, with layers before its head. Pass "
            "`layers`, a list of its layers or of their names, in their "
            f"order. Its layers: {[layer.name for layer in model.layers]}."
        )
    return layers


def num_classes_of(model: keras.Model, head: Any = None) -> int | None:
    """The number of outputs of a model's head, or `None` without any.

    Args:
        model: A built `keras.Model`.
        head: The head or its name, or `None` to find it.
    """
    found = Head(model, head) if head is not None else find_head_or_none(model)
    return None if found is None else found.num_classes


def _has_kernel(step):
    """Whether a layer mixes its inputs: normalisation scales them only."""
    if isinstance(step, keras.layers.PReLU):
        return False
    return any(len(w.shape) > 1 for w in getattr(step, "weights", []))
