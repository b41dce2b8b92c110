from typing import Any

import keras

from nc_keras.graph import maker_of
from nc_keras.layers.filter_response_normalization import (
    FilterResponseNormalization,
)
from nc_keras.layers.tlu import TLU

NORMS = ("batch", "frn", "none")
_WITH_KERNEL = (
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
    keras.layers.Dense,
)


def renormalized(model: keras.Model, norm: str) -> keras.Model:
    """Returns the network with another normalisation, newly drawn.

    Works for any functional model whose layers are called once: `"frn"` has a
    `FilterResponseNormalization` for each BatchNorm of feature maps, and a
    `TLU` for each ReLU of them; `"none"` has nothing in its place, and neither
    have vectors, as those of VGG's dense layers, with `"frn"`. What came
    right before a BatchNorm that is gone has a bias. No network of either
    kind has batch statistics: what it makes of an example depends on no
    other. All layers are copies, the head too.

    Example:

    >>> model = nc_keras.models.ConvNet((8, 8, 1), 3, filters=(4, 8))
    >>> plain = nc_keras.models.renormalized(model, "none")
    >>> len(plain.non_trainable_weights)
    0

    Args:
        model: A functional model.
        norm: `"batch"`, which is the model itself, `"frn"` or `"none"`.

    Raises:
        ValueError: If `norm` is none of these, or the network has no BatchNorm
            that it could stand for.

    Reference:

    - [Singh & Krishnan, 2020](https://arxiv.org/abs/1911.09737), for `"frn"`.
    """
    if norm not in NORMS:
        raise ValueError(
            f"`norm` must be one of {NORMS}. Received: norm={norm!r}."
        )
    if norm == "batch":
        return model
    before = [
        maker_of(layer.input)
        for layer in model.layers
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    if not before:
        raise ValueError(
            "There is no BatchNorm for another normalisation to stand for. "
            f"Received: model {model.name!r}, and norm={norm!r}."
        )
    if norm == "frn" and not any(len(one.output.shape) > 2 for one in before):
        raise ValueError(
            "Filter responses are those of feature maps, and this network has "
            "BatchNorm of vectors alone. Choose norm='none'. "
            f"Received: model {model.name!r}, and norm={norm!r}."
        )
    return keras.models.clone_model(
        model,
        clone_function=lambda layer: _instead(
            layer, norm, any(layer is one for one in before)
        ),
        call_function=_called,
    )


def _called(layer: keras.Layer, *args: Any, **kwargs: Any) -> Any:
    """Calls a layer without what only a BatchNorm takes."""
    if isinstance(layer, FilterResponseNormalization | keras.layers.Identity):
        return layer(*args)
    return layer(*args, **kwargs)


def _instead(layer: keras.Layer, norm: str, is_normalized: bool) -> Any:
    """What a layer becomes, whose outputs may have been normalised."""
    config = layer.get_config()
    is_map = len(layer.output.shape) > 2
    if isinstance(layer, keras.layers.BatchNormalization):
        if norm == "frn" and is_map:
            return FilterResponseNormalization(name=layer.name)
        return keras.layers.Identity(name=layer.name)
    if isinstance(layer, keras.layers.ReLU) and norm == "frn" and is_map:
        return TLU(name=layer.name)
    if isinstance(layer, _WITH_KERNEL) and is_normalized:
        # FRN has a bias of its own.
        config["use_bias"] = norm == "none" or not is_map
    return type(layer).from_config(config)
