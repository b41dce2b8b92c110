"""Pairs of classes, a tile of them at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from nc_keras.measuring.last_layer import LastLayer
from nc_keras.measuring.lazy import lazy

TILE = 1024  # classes on a side of a tile on the host
_STRIP = 2**20  # bytes of an array that is computed at a time
_NUMBERS = 2**22  # in a block of differences on the device
# Of |a|^2 + |b|^2: below, their product has lost the distance.
_CLOSE = {"float64": 1e-6, "float32": 1e-2}
_FEW = 128  # values that are added up in float32, if they are float32's
_SAMPLE = 2**11  # random pairs that are looked at together


class Pairs:
    """A tile of pairs of classes, what an elementwise metric sees.

    Args:
        layer: The `LastLayer`.
        rows: Slice of the classes `c`, or an array of them.
        columns: Slice of the classes `c'`, or an array of as many, for pairs
            one by one.
        tile: The `Pairs` of more rows that these are a strip of, or `None`.

    Attributes:
        num_classes: The number of classes `C`.
        dim: The dimension `D`.
        xp: `numpy` or `keras.ops`.
    """

    def __init__(
        self,
        layer: LastLayer,
        rows: Any,
        columns: Any,
        tile: Pairs | None = None,
    ):
        self.layer = layer
        self.num_classes = layer.num_classes
        self.dim = layer.dim
        self.xp = layer.xp
        self._rows = rows
        self._columns = columns
        self._tile = tile
        self._one_by_one = not isinstance(rows, slice)

    @lazy
    def cosines_means(self) -> Any:
        """`cos(mu_c - mu_G, mu_c' - mu_G)`."""
        return self._cosines(self._products, self.layer.mean_norms)

    @lazy
    def cosines_weights(self) -> Any:
        """`cos(w_c, w_c')`."""
        return self._cosines(self._weight_products, self.layer.weight_norms)

    @lazy
    def squared_distances(self) -> Any:
        """`||mu_c - mu_c'||^2`, 1 on the diagonal."""
        if self.xp is not np:
            return self._differences()
        a, b = self._both(self.layer.mean_norms**2)
        # In place: a pass over memory takes longer than its arithmetic.
        values = -2 * self._products
        values += a
        values += b
        return self._with_close(values, (a, b), self._between)

    @lazy
    def unit_squared_distances(self) -> Any:
        """`||theta_c - theta_c'||^2` of the normalised centred means."""
        if self.xp is not np:
            a, b = self._both(self.layer.mean_norms)
            apart = self.squared_distances - (a - b) ** 2
            return self.xp.maximum(apart, 0.0) / (a * b)
        values = self._cosines(self._products, self.layer.mean_norms, -2.0)
        values += 2
        return self._with_close(values, (1.0, 1.0), self._between_units)

    @lazy
    def log_energies(self) -> Any:
        """`log 1/d`, `d = ||theta_c - theta_c'||`."""
        values = self.xp.log(self.unit_squared_distances)
        values *= -0.5
        return values

    @lazy
    def variances(self) -> Any:
        """`v_c + v_c'`."""
        a, b = self._both(self.layer.variances)
        return a + b

    @lazy
    def diagonal(self) -> Any:
        """Indices of the pairs of a class with itself, on the host."""
        if self._one_by_one:
            return np.zeros(0, "int64"), np.zeros(0, "int64")
        rows, columns = self._rows, self._columns
        first = max(rows.start, columns.start)
        both = np.arange(first, min(rows.stop, columns.stop))
        return both - rows.start, both - columns.start

    @lazy
    def different(self) -> Any:
        """0 for pairs of a class with itself, 1 for others; or just 1."""
        if not len(self.diagonal[0]):
            return 1.0
        rows, columns = self._rows, self._columns
        return 1.0 - self.xp.eye(
            rows.stop - rows.start,
            columns.stop - columns.start,
            rows.start - columns.start,
            dtype=keras.backend.standardize_dtype(self.layer.means.dtype),
        )

    def strips(self) -> Iterator[Pairs]:
        """Yields some rows at a time, whose arrays fit a processor's cache.

        The inner products are those of the tile: a product of many rows is
        faster than products of few.
        """
        if self._one_by_one or self.xp is not np:
            yield self
            return
        rows, columns = self._rows, self._columns
        row = self.layer.mean_norms.itemsize * (columns.stop - columns.start)
        step = max(1, _STRIP // row)
        for start in range(rows.start, rows.stop, step):
            part = slice(start, min(start + step, rows.stop))
            yield Pairs(self.layer, part, self._columns, self)

    def sum(self, values: Any) -> Any:
        """The sum over pairs of different classes."""
        if len(self.diagonal[0]):
            values = values * self.different
        if self.xp is not np:
            return self.xp.sum(values)
        if values.ndim and values.dtype.name in _CLOSE:
            # A few at a time in their own precision, by a product.
            few = math.gcd(values.shape[-1], _FEW)
            values = values.reshape(-1, few) @ np.ones(few, values.dtype)
        return np.sum(values, dtype="float64")

    @lazy
    def _products(self):
        if self._tile is not None:
            return self._tile._products[self._part]
        return self._inner(self.layer.centered_means)

    @lazy
    def _weight_products(self):
        if self._tile is not None:
            return self._tile._weight_products[self._part]
        return self._inner(self.layer.kernel_of_means)

    @property
    def _part(self):
        start = self._rows.start - self._tile._rows.start
        return slice(start, start + self._rows.stop - self._rows.start)

    def _inner(self, vectors):
        a, b = vectors[self._rows], vectors[self._columns]
        if self._one_by_one:
            return np.einsum("nd,nd->n", a, b)
        return self.xp.matmul(a, self.xp.transpose(b))

    def _both(self, values):
        """The values of both classes of each pair, to be combined."""
        a, b = values[self._rows], values[self._columns]
        return a if self._one_by_one else a[:, None], b

    def _cosines(self, products, norms, times=1.0):
        a, b = self._both(norms)
        if self.xp is not np:
            return products / (a * b)
        values = products * (times / a)
        values *= 1 / b
        return values

    def _differences(self):
        means = self.layer.means
        a, b = means[self._rows], means[self._columns]
        distances = self.xp.sum((a[:, None] - b) ** 2, axis=-1)
        # On the diagonal the distance is zero: 1 stands in, to be left out.
        return distances + (1.0 - self.different)

    def _with_close(self, values, squares, differences):
        """Computes small distances from the differences themselves."""
        if not self._one_by_one:
            values[self.diagonal] = 1.0
        limit = _CLOSE[values.dtype.name]
        a, b = squares
        # Most tiles have no close pair, which is seen at once.
        if values.min() >= limit * (np.max(a) + np.max(b)):
            return values
        close = values < limit * (a + b)
        if not self._one_by_one:
            close[self.diagonal] = False
        for row, column in _chunks(np.nonzero(close)):
            where = row if self._one_by_one else (row, column)
            between = differences(*self._classes(row, column))
            values[where] = np.sum(between**2, axis=1)
        return values

    def _classes(self, row, column):
        if self._one_by_one:
            return self._rows[row], self._columns[row]
        return row + self._rows.start, column + self._columns.start

    def _between(self, a, b):
        return self.layer.means[a] - self.layer.means[b]

    def _between_units(self, a, b):
        rows = (self.layer.means[c] - self.layer.center for c in (a, b))
        a, b = (r / np.linalg.norm(r, axis=1, keepdims=True) for r in rows)
        return a - b


def tiles(layer: LastLayer) -> Iterator[tuple[Pairs, int]]:
    """Yields tiles of the upper triangle, and how often each counts."""
    classes, side = layer.num_classes, TILE
    if layer.xp is not np:
        side = max(1, int((_NUMBERS / layer.dim) ** 0.5))
    starts = range(0, classes, side)
    for row in starts:
        for column in starts[row // side :]:
            rows, columns = (
                slice(i, min(i + side, classes)) for i in (row, column)
            )
            yield Pairs(layer, rows, columns), 1 if row == column else 2


def samples(
    layer: LastLayer, number: int, seed: int = 0
) -> Iterator[tuple[Pairs, int]]:
    """Yields random pairs of different classes, each pair equally likely."""
    rng = np.random.default_rng(seed)
    classes = layer.num_classes
    for start in range(0, number, _SAMPLE):
        size = min(_SAMPLE, number - start)
        rows = rng.integers(0, classes, size)
        columns = (rows + rng.integers(1, classes, size)) % classes
        yield Pairs(layer, rows, columns), 1


def _chunks(indices, size=2**13):
    """Yields parts of index arrays: few pairs are close, but all may be."""
    row, column = indices[0], indices[-1]
    for start in range(0, len(row), size):
        yield row[start : start + size], column[start : start + size]
