"""What the bounds read from a network and its examples."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from keras import ops

from nc_keras.arguments import checked
from nc_keras.graph import chain_of
from nc_keras.graph import unwrapped
from nc_keras.layers.rho import Rho
from nc_keras.measuring.extractor import FeatureExtractor
from nc_keras.measuring.kernels import CONVOLUTIONS
from nc_keras.recording import recording
from nc_keras.recording import the_one
from nc_keras.weights import Weights
from nc_keras.weights import homogeneous_weights

# What comes between the weights: it acts on each number, or moves them.
_COVERED = (
    keras.layers.InputLayer,
    keras.layers.Identity,
    keras.layers.Flatten,
    keras.layers.Dropout,
    *(getattr(keras.layers, f"SpatialDropout{d}D") for d in (1, 2, 3)),
    *(getattr(keras.layers, f"ZeroPadding{d}D") for d in (1, 2, 3)),
    *(getattr(keras.layers, f"Cropping{d}D") for d in (1, 2, 3)),
    keras.layers.ReLU,
    keras.layers.LeakyReLU,
    keras.layers.Activation,
    Rho,
)


@dataclasses.dataclass(frozen=True)
class Inputs:
    """What the bounds know of the training examples.

    Attributes:
        examples: Integer, `m`.
        largest: Float, `max_j sum_i ||x_ij||^2`, over the pixels `j`, of all
            channels of a pixel.
        total: Float, `sum_i ||x_i||^2`.

    Args:
        examples: See the attributes; so for the other arguments.

    Example:

    >>> from nc_keras.theory import bounds
    >>> model = nc_keras.models.HomogeneousNet((8, 8, 1), 3, filters=(4,))
    >>> bounds.inputs_of(model, np.ones((5, 8, 8, 1)))
    Inputs(examples=5, largest=5.0, total=320.0)
    """

    examples: int
    largest: float
    total: float


@checked(model="model", x="data", batch_size="integer")
def inputs_of(
    model: keras.Model, x: Any, batch_size: int | None = None
) -> Inputs:
    """Sums up what the first weights of a model see of the examples.

    One pass over the data. Where the layers in front learn nothing, the same
    `Inputs` serve all bounds, all along a training.

    Args:
        model: As in `bounds.convolutional`.
        x: As in `bounds.convolutional`.
        batch_size: Integer; by default one that suits the model.

    Returns:
        `Inputs`. For a first layer that is dense, an example is one pixel.

    Raises:
        ValueError: If the inputs are not finite, or are all zero; and as
            `bounds.convolutional`.

    Example:

    >>> from nc_keras.theory import bounds
    >>> net = nc_keras.models.HomogeneousNet((8, 8, 1), 3, filters=(4,))
    >>> scaled = [keras.Input((8, 8, 1)), keras.layers.Rescaling(1 / 255), net]
    >>> images = np.full((5, 8, 8, 1), 255, "uint8")
    >>> bounds.inputs_of(keras.Sequential(scaled), images)
    Inputs(examples=5, largest=5.0, total=320.0)
    """
    network = BoundedNetwork(model)
    extractor = FeatureExtractor(model, features=network.inputs)
    sums, count = 0.0, 0
    x, y = _with_labels(x)
    for rows, _ in extractor.batches(x, y, batch_size):
        pixels = rows.astype("float64").reshape(len(rows), -1, network.channels)
        sums = sums + np.einsum("ijc,ijc->j", pixels, pixels)
        count += len(rows)
    total = float(np.sum(sums))
    if not math.isfinite(total):
        raise ValueError(
            "The inputs of the first weights must be finite. Received: NaN, "
            f"infinity or overflow at layer {network.weights[0].name!r}."
        )
    if total == 0:
        raise ValueError(
            "The inputs of the first weights are zero everywhere, at layer "
            f"{network.weights[0].name!r}: there is nothing to bound."
        )
    return Inputs(count, float(np.max(sums)), total)


class BoundedNetwork:
    """What the bounds read from a model."""

    def __init__(self, model: keras.Model):
        self.model = model
        self.weights: list[Weights] = homogeneous_weights(model)
        self.rhos: dict[str, float] = {}
        self._owners: list[keras.Layer] = []
        layers = [one.layer for one in self.weights]
        for owner, inner, _ in chain_of(model):
            is_weight = any(inner is one for one in layers)
            if is_weight:
                self._owners.append(owner)
            _validate(owner, inner, is_weight, bool(self._owners))
            if isinstance(inner, Rho):
                value = float(ops.convert_to_numpy(inner.value))
                self.rhos[owner.name] = abs(value)
        if isinstance(layers[-1], CONVOLUTIONS):
            _refuse(self._owners[-1], "which has no dense layer behind it")

    @property
    def classes(self) -> int:
        return self.weights[-1].kernel.shape[-1]

    @property
    def channels(self) -> int:
        """Those of one pixel of the inputs."""
        return self.weights[0].kernel.shape[-2]

    @property
    def kernel_sizes(self) -> list[int]:
        """How many positions each convolution sees at once."""
        return [
            math.prod(one.kernel.shape[:-2])
            for one in self.weights
            if one.is_convolution
        ]

    @property
    def positions(self) -> int:
        """At how many the first dense layer sees the last convolution."""
        count = len(self.kernel_sizes)
        if not count:
            return 1
        filters = self.weights[count - 1].kernel.shape[-1]
        return self.weights[count].kernel.shape[0] // filters

    def outputs(self) -> Iterator[tuple[Weights, int]]:
        """Yields weights, and the positions at which they are applied."""
        for one, owner in zip(self.weights, self._owners, strict=True):
            sizes = ()
            if one.is_convolution:
                sizes = owner.output.shape[1:-1]
                if one.layer.data_format == "channels_first":
                    sizes = owner.output.shape[2:]
            if None in sizes:
                _refuse(owner, "whose outputs have no fixed size")
            yield one, math.prod(sizes)

    def inputs(self, x: Any) -> Any:
        """The inputs of the first weights, channels last, one row each."""
        with recording(self._owners[0]) as found:
            self.model(x, training=False)
        tensor = the_one(found, self._owners[0].name)
        layer = self.weights[0].layer
        if getattr(layer, "data_format", None) == "channels_first":
            tensor = ops.moveaxis(tensor, 1, -1)
        return ops.reshape(tensor, (ops.shape(tensor)[0], -1))

    def notes(self, positions: bool) -> Iterator[str]:
        """What the convolutional bound makes of the dense layer."""
        count = self.positions
        if count > 1 and not positions:
            yield (
                f"Not counted, as in the authors' code: the {count:,} positions"
                " that the dense\nlayer sees (positions=True: another factor "
                f"of {math.sqrt(count):.3g})."
            )


def _validate(owner, inner, is_weight, has_begun):
    """Raises an error if the formulas do not cover a layer."""
    if not has_begun:
        if getattr(owner, "trainable_weights", None):
            _refuse(owner, "which learns, in front of the first weights")
        return
    slope = getattr(inner, "negative_slope", 0.0)
    if slope and slope > 1:
        _refuse(owner, f"with a slope of {float(slope):g}")
    if is_weight:
        if getattr(inner, "groups", 1) > 1:
            _refuse(owner, f"with {inner.groups} groups")
        is_dense = not isinstance(inner, CONVOLUTIONS)
        if is_dense and len(owner.output.shape) > 2:
            _refuse(owner, "which is applied at many positions; use Flatten")
        return
    is_flat = isinstance(inner, keras.layers.Reshape) and (
        len(inner.target_shape) == 1
    )
    if not is_flat and not isinstance(inner, _COVERED):
        _refuse(owner, "for which the formula is not made")


def _refuse(layer, reason):
    raise ValueError(
        "The bounds cover chains of convolutions, and then dense layers, with "
        "ReLU between them, such as `nc_keras.models.HomogeneousNet`: no "
        f"pooling, no groups. Received: layer {layer.name!r} of type "
        f"{type(unwrapped(layer)).__name__}, {reason}."
    )


def _with_labels(x):
    """Examples and labels; an array of examples gets some."""
    if isinstance(x, tuple) and len(x) == 2:
        return x
    return (x, np.zeros(len(x), "int64")) if hasattr(x, "shape") else (x, None)
