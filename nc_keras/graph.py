"""The layers of a model, and the order in which it calls them."""

from __future__ import annotations

import inspect
from typing import Any

import keras

from nc_keras.layers.weight_normalization import WeightNormalization


def resolve_layer(model: keras.Model, layer: Any, argument: str) -> keras.Layer:
    """Returns the layer of a model that an argument means.

    Args:
        model: The model.
        layer: A layer of it, or its name.
        argument: String, what errors call it.
    """
    received = f"Received: {argument}={layer!r}."
    if not isinstance(layer, str):
        if any(other is layer for other in all_layers(model)):
            return layer
        raise ValueError(
            f"`{argument}` must be a layer of model {model.name!r}, or its "
            f"name. {received}"
        )
    named = _named(all_layers(model, of_layers=False), layer)
    named = named or _named(all_layers(model), layer)
    if not named:
        raise ValueError(
            f"`{argument}` must name a layer of model {model.name!r}: "
            f"{[other.name for other in model.layers]}, or one inside of "
            f"these. {received}"
        )
    if len(named) > 1:
        raise ValueError(
            f"Model {model.name!r} has {len(named)} layers of that name. "
            f"Pass the layer itself. {received}"
        )
    return named[0]


def is_reversible(layer: keras.Layer) -> bool:
    """Whether a layer embeds, and with `reverse=True` projects back."""
    return (
        getattr(layer, "embeddings", None) is not None
        and "reverse" in inspect.signature(layer.call).parameters
    )


def all_layers(model: keras.Model, of_layers: bool = True) -> list[keras.Layer]:
    """Every layer of a model once, with those of nested models.

    Args:
        model: The model.
        of_layers: Boolean, whether to add the layers that other layers are
            made of.
    """
    layers, pending = {}, [model]
    while pending:
        parent = pending.pop()
        layers[id(parent)] = parent
        inner = []
        if isinstance(parent, keras.Model):
            inner = parent.layers
        elif of_layers:
            inner = parent._layers
        pending.extend(x for x in reversed(inner) if id(x) not in layers)
    return [layer for layer in layers.values() if layer is not model]


def bare(layer: keras.Layer) -> keras.Layer:
    """The layer inside of wrappers."""
    wrappers = (keras.layers.TimeDistributed, WeightNormalization)
    while isinstance(layer, wrappers):
        layer = layer.layer
    return layer


def _named(layers, name):
    return [layer for layer in layers if layer.name == name]
