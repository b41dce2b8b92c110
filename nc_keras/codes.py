"""Neural codes: which activations of a ReLU network are on."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Iterable
from typing import Any

import keras
import numpy as np

from nc_keras.arguments import real_array
from nc_keras.graph import all_layers
from nc_keras.measuring.extractor import FeatureExtractor

__all__ = ["Codes", "activation_codes", "relu_layers", "varying"]

# Activations that are positive where their input is.
_SIGNED = frozenset(
    "relu relu6 leaky_relu elu selu celu gelu silu swish mish tanh".split()
)
_SIGNED_LAYERS = (keras.layers.ReLU, keras.layers.LeakyReLU, keras.layers.ELU)


@dataclasses.dataclass(frozen=True, eq=False)
class Codes:
    """Which units are on, a row for each example, eight to a byte.

    Attributes:
        packed: uint8 array of shape `(N, ceil(width / 8))`.
        width: Integer, the number of units.
        layers: Strings, the layers they are of.

    Args:
        packed: See the attributes; so for the other arguments.

    Example:

    >>> codes = nc_keras.codes.Codes.of([[1, 0, 1], [1, 0, 1], [0, 0, 1]])
    >>> codes.unique, round(codes.redundancy, 4)
    (2, 0.3333)
    """

    packed: np.ndarray
    width: int
    layers: tuple[str, ...] = ()

    @classmethod
    def of(cls, bits: Any) -> Codes:
        """Packs bits of shape `(N, width)`."""
        bits = bit_rows(bits)
        return cls(np.packbits(bits, axis=1), bits.shape[1])

    @functools.cached_property
    def unique(self) -> int:
        """The number of different codes."""
        return len({_digest(row) for row in self.packed})

    @property
    def redundancy(self) -> float:
        """`(N - unique) / N`, of He et al. 2021: 0 if all codes differ."""
        return (len(self.packed) - self.unique) / len(self.packed)

    def bits(self, columns: np.ndarray | None = None) -> np.ndarray:
        """Returns zeros and ones, uint8, of all units or of some.

        Args:
            columns: Booleans of shape `(width,)`, such as `varying` returns,
                or `None`.
        """
        bits = np.unpackbits(self.packed, axis=1, count=self.width)
        return bits if columns is None else bits[:, columns]


def varying(*codes: Codes) -> np.ndarray:
    """Returns which units are on for some examples and off for others.

    Example:

    >>> train = nc_keras.codes.Codes.of([[1, 0, 1], [1, 0, 0]])
    >>> test = nc_keras.codes.Codes.of([[1, 0, 1], [1, 1, 1]])
    >>> nc_keras.codes.varying(train, test).tolist()
    [False, True, True]

    Args:
        *codes: `Codes` of the same units, such as those of training and test
            set: a unit that never changes over all of them tells nothing.

    Returns:
        Booleans of shape `(width,)`.

    Raises:
        ValueError: If their widths differ.
    """
    widths = {one.width for one in codes}
    if len(widths) != 1:
        raise ValueError(
            "Codes must be of the same units. "
            f"Received: codes of {sorted(widths)} units."
        )
    packed = np.concatenate([one.packed for one in codes])
    changes = np.bitwise_or.reduce(packed) ^ np.bitwise_and.reduce(packed)
    return np.unpackbits(changes, count=widths.pop()).astype(bool)


def activation_codes(
    model: keras.Model,
    x: Any,
    layers: Iterable[Any] | None = None,
    batch_size: int | None = None,
) -> Codes:
    """Computes the codes of examples in one forward pass.

    Example:

    >>> model = nc_keras.models.MLP((4,), 3, widths=(8, 8))
    >>> codes = nc_keras.codes.activation_codes(model, np.eye(4))
    >>> codes.width, codes.packed.shape
    (16, (4, 2))

    Args:
        model: A built `keras.Model`.
        x: Array of `N` examples, or a dataset of batches `(x, y)`.
        layers: Layers or their names; by default `relu_layers(model)`.
        batch_size: Integer; by default one that suits the model.

    Returns:
        `Codes`, of `N width / 8` bytes.

    Raises:
        ValueError: If there is no such layer.

    Reference:

    - [He et al., 2021](https://arxiv.org/abs/2101.05490).
    """
    layers = relu_layers(model) if layers is None else list(layers)
    if not layers:
        raise ValueError(
            "Codes need layers whose outputs are positive where they are on. "
            f"Received: model {model.name!r} without one. Pass `layers`."
        )
    extractor = FeatureExtractor(model, features=layers, pooling="flatten")
    y = np.zeros(len(x), "int64") if hasattr(x, "shape") else None
    parts, width = [], 0
    for features, _ in extractor.layer_batches(x, y, batch_size):
        bits = np.concatenate([one > 0 for one in features], axis=1)
        width = bits.shape[1]
        parts.append(np.packbits(bits, axis=1))
    return Codes(np.concatenate(parts), width, tuple(extractor.names))


def relu_layers(model: keras.Model) -> list[keras.Layer]:
    """Returns the layers whose outputs are positive where they are on.

    Those that end in a ReLU, or in another activation that has the sign of
    its input. Not a `TLU`, whose threshold is another.

    Example:

    >>> model = nc_keras.models.MLP((4,), 3, widths=(8, 8))
    >>> len(nc_keras.codes.relu_layers(model))
    2

    Args:
        model: A built `keras.Model`.
    """
    return [
        layer
        for layer in all_layers(model)
        if isinstance(layer, _SIGNED_LAYERS)
        or getattr(getattr(layer, "activation", None), "__name__", "")
        in _SIGNED
    ]


def bit_rows(bits: Any) -> np.ndarray:
    """Returns which bits are on, Booleans of shape `(N, width)`.

    Raises:
        ValueError: If there is not a row of numbers for each example.
    """
    bits = real_array(bits, "`bits`")
    if bits.ndim != 2 or not bits.size:
        raise ValueError(
            "`bits` must have a row for each example, and a column for each "
            f"unit. Received: bits of shape {bits.shape}."
        )
    return np.asarray(bits > 0)


def _digest(row):
    return hashlib.blake2b(row.tobytes(), digest_size=16).digest()
