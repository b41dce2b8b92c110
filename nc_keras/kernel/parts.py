"""What the gradients of some weights are made of, and their inner products.

For examples `n` and outputs `c`, the gradient of `f_c(x_n)` with respect to
the weights of a layer is known as a whole (`Rows`), or as the sum over
positions of outer products of what the layer got and of what flows back to it
(`Outer`), which is much smaller. Either gives the layer's share of the tangent
kernel.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import numpy as np
from keras import ops

from nc_keras.kernel.backends import current

# For each choice of outputs: the letter of the second one, and the axes.
_AXES = {"trace": ("c", "nk"), "each": ("c", "cnk"), "full": ("d", "nckd")}


@dataclasses.dataclass(frozen=True)
class Rows:
    """Gradients, or numbers whose products are the same.

    Args:
        rows: Tensor of shape `(C, N, P)`.
        weights: Tensor of shape `(P,)`, by which each product counts, or
            `None` for 1.
    """

    rows: Any
    weights: Any = None

    def sizes(self) -> tuple[int, int]:
        """How many numbers one example has: in all, and for each output."""
        return 0, self.rows.shape[2]

    def some(self, start: int, length: int) -> Rows:
        """The part for some of its examples."""
        return Rows(_some(self.rows, 1, start, length), self.weights)

    def times(self, other: Rows, outputs: str, room: int) -> np.ndarray:
        """The share of the kernel, float64, summed over outputs for "trace".

        Args:
            other: The part for other examples.
            outputs: String, as in `gram`.
            room: Integer, how many numbers may be made on the way.
        """
        weights = () if self.weights is None else (self.weights,)
        product = _of_rows(outputs)(self.rows, other.rows, *weights)
        return ops.convert_to_numpy(product).astype("float64")


@dataclasses.dataclass(frozen=True)
class Outer:
    """Gradients as sums over positions of outer products.

    Args:
        inputs: Tensor of shape `(N, T, G, F)`: what the layer got at each of
            `T` positions, in each of `G` groups of channels.
        backward: Tensor of shape `(C, N, T, G, O)`: what flows back to it.
    """

    inputs: Any
    backward: Any

    def sizes(self) -> tuple[int, int]:
        """How many numbers one example has: in all, and for each output."""
        each = math.prod(self.backward.shape[2:])
        return math.prod(self.inputs.shape[1:]), each

    def compact(self) -> Rows | Outer:
        """The same as `Rows`, where these are not much larger."""
        outputs, _, positions, groups, units = self.backward.shape
        fixed, each = self.sizes()
        size = outputs * groups * self.inputs.shape[-1] * units
        if positions == 1 or size > 2 * (fixed + outputs * each):
            return self
        return Rows(_rows(self.inputs, self.backward))

    def some(self, start: int, length: int) -> Outer:
        """The part for some of its examples."""
        return type(self)(
            _some(self.inputs, 0, start, length),
            _some(self.backward, 1, start, length),
        )

    def with_bias(self) -> Outer:
        """The same of weights and a bias, which belongs to an input of 1."""
        ones = ops.ones_like(self.inputs[..., :1])
        inputs = ops.concatenate([self.inputs, ones], axis=-1)
        return type(self)(inputs, self.backward)

    def times(self, other: Outer, outputs: str, room: int) -> np.ndarray:
        """The share of the kernel, float64, summed over outputs for "trace".

        Args:
            other: The part for other examples.
            outputs: String, as in `gram`.
            room: Integer, how many numbers may be made on the way.
        """
        count, examples, positions, groups, units = self.backward.shape
        features = self.inputs.shape[-1]
        others = other.backward.shape[1]
        if positions == 1 or self._is_fast_by_pairs(features, units):
            wide = {"trace": 1, "each": count, "full": count**2}[outputs]
            pairs = (1 + wide) * groups * others * positions**2
            step = max(1, room // pairs)
            parts = [
                self._by_pairs(other, outputs, part)
                for part in _slices(examples, step)
            ]
            return np.concatenate(parts, axis=1 if outputs == "each" else 0)
        step = max(1, room // ((examples + others) * count * groups * features))
        return sum(
            self._of_units(part).times(other._of_units(part), outputs, room)
            for part in _slices(units, step)
        )

    def _is_fast_by_pairs(self, features, units):
        positions = self.inputs.shape[1]
        return positions**2 * (features + units) < features * units

    def _by_pairs(self, other, outputs, examples):
        product = _of_pairs(outputs, self._alike)(
            *(self.inputs[examples], other.inputs),
            *(self.backward[:, examples], other.backward),
        )
        return ops.convert_to_numpy(product).astype("float64")

    def _of_units(self, units):
        """The gradients of some output units as a whole."""
        return Rows(_of_outer()(self.inputs, self.backward[..., units]))

    @staticmethod
    def _alike(inputs, others):
        return ops.einsum("ntgf,kugf->gntku", inputs, others)


@dataclasses.dataclass(frozen=True)
class Lookup(Outer):
    """The same of an embedding: two inputs are alike, or share nothing.

    Args:
        inputs: Tensor of integers, shape `(N, T, 1, 1)`.
        backward: Tensor of shape `(C, N, T, 1, O)`.
    """

    def compact(self) -> Outer:
        return self

    def _is_fast_by_pairs(self, features, units):
        return True

    @staticmethod
    def _alike(inputs, others):
        ids, others = inputs[None, :, :, 0, 0], others[:, :, 0, 0]
        return ops.cast(ids[..., None, None] == others, "float32")


def joined(parts: list) -> Any:
    """One part for all the examples of several, in their order."""
    first = parts[0]
    if len(parts) == 1:
        return first
    if isinstance(first, Rows):
        rows = ops.concatenate([part.rows for part in parts], axis=1)
        return Rows(rows, first.weights)
    return type(first)(
        ops.concatenate([part.inputs for part in parts]),
        ops.concatenate([part.backward for part in parts], axis=1),
    )


def _some(tensor, axis, start, length):
    """A range of an axis; where it starts is not compiled in."""
    if length == tensor.shape[axis]:
        return tensor
    starts = [0] * len(tensor.shape)
    starts[axis] = start
    shape = list(tensor.shape)
    shape[axis] = length
    return ops.slice(tensor, starts, shape)


def _rows(inputs, backward):
    """Gradients as a whole, shape `(C, N, P)`."""
    rows = ops.einsum("ntgf,cntgo->cngfo", inputs, backward)
    return ops.reshape(rows, (*rows.shape[:2], math.prod(rows.shape[2:])))


@functools.cache
def _of_outer():
    return current().compiled(_rows)


@functools.cache
def _of_rows(outputs):
    second, axes = _AXES[outputs]

    def product(rows, others, weights=None):
        if weights is not None:
            rows = rows * weights
        if outputs == "trace":  # Faster than in one product.
            return ops.sum(ops.einsum("cnp,ckp->cnk", rows, others), axis=0)
        return ops.einsum(f"cnp,{second}kp->{axes}", rows, others)

    return current().compiled(product)


@functools.cache
def _of_pairs(outputs, alike):
    second, axes = _AXES[outputs]
    pairs = axes.replace("n", "nt").replace("k", "ku")

    def product(inputs, others, backward, others_backward):
        likeness = alike(inputs, others)
        flow = ops.einsum(
            f"cntgo,{second}kugo->g{pairs}", backward, others_backward
        )
        likeness = ops.cast(likeness, flow.dtype)
        return ops.einsum(f"gntku,g{pairs}->{axes}", likeness, flow)

    return current().compiled(product)


def _slices(length, size):
    return [slice(start, start + size) for start in range(0, length, size)]
