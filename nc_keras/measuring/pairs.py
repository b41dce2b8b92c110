"""Means over pairs of classes, a tile of them at a time."""

from __future__ import annotations

import dataclasses
import operator
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any

import keras
import numpy as np

from nc_keras.blas import one_thread
from nc_keras.measuring.last_layer import LastLayer

_TILE = 512  # classes on a side of a tile on the host
_NUMBERS = 2**22  # in a block of differences on the device
_CLOSE = 1e-6  # of |a|^2 + |b|^2: below, their product has lost the distance
_SAMPLE = 2**11  # random pairs that are looked at together
_THREADS = min(os.cpu_count() or 1, 16)
_LONG = 800  # tiles, from which on a progress bar is worth its lines


class Pairs:
    """A tile of pairs of classes, what an elementwise metric sees.

    Args:
        layer: The `LastLayer`.
        rows: Slice of the classes `c`, or an array of them.
        columns: Slice of the classes `c'`, or an array of as many, for pairs
            one by one.

    Attributes:
        num_classes: The number of classes `C`.
        dim: The dimension `D`.
        xp: `numpy` or `keras.ops`.
    """

    def __init__(self, layer: LastLayer, rows: Any, columns: Any):
        self.layer = layer
        self.num_classes = layer.num_classes
        self.dim = layer.dim
        self.xp = layer.xp
        self._rows = rows
        self._columns = columns
        self._one_by_one = not isinstance(rows, slice)

    @cached_property
    def cosines_means(self) -> Any:
        """`cos(mu_c - mu_G, mu_c' - mu_G)`."""
        norms = self.layer.mean_norms
        return self._products / self._outer(norms, lambda a, b: a * b)

    @cached_property
    def cosines_weights(self) -> Any:
        """`cos(w_c, w_c')`."""
        norms = self.layer.weight_norms
        products = self._inner(self.layer.kernel_of_means)
        return products / self._outer(norms, lambda a, b: a * b)

    @cached_property
    def squared_distances(self) -> Any:
        """`||mu_c - mu_c'||^2`, 1 on the diagonal."""
        if self.xp is not np:
            return self._differences()
        size = self._outer(self.layer.mean_norms**2, lambda a, b: a + b)
        values = size - 2 * self._products
        close = values < _CLOSE * size
        if not self._one_by_one:
            values[self.diagonal], close[self.diagonal] = 1.0, False
        for row, column in _chunks(np.nonzero(close)):
            where = row if self._one_by_one else (row, column)
            values[where] = self._close(row, column)
        return values

    @cached_property
    def unit_squared_distances(self) -> Any:
        """`||theta_c - theta_c'||^2` of the normalised centred means."""
        norms = self.layer.mean_norms
        square = self._outer(norms, lambda a, b: (a - b) ** 2)
        size = self._outer(norms, lambda a, b: a * b)
        return self.xp.maximum(self.squared_distances - square, 0.0) / size

    @cached_property
    def variances(self) -> Any:
        """`v_c + v_c'`."""
        return self._outer(self.layer.variances, lambda a, b: a + b)

    @cached_property
    def diagonal(self) -> Any:
        """Indices of the pairs of a class with itself, on the host."""
        if self._one_by_one or self._rows != self._columns:
            return np.zeros(0, "int64"), np.zeros(0, "int64")
        return np.diag_indices(len(range(self.num_classes)[self._rows]))

    @cached_property
    def different(self) -> Any:
        """0 for pairs of a class with itself, 1 for others; or just 1."""
        if self._one_by_one or self._rows != self._columns:
            return 1.0
        size = len(range(self.num_classes)[self._rows])
        dtype = keras.backend.standardize_dtype(self.layer.means.dtype)
        return 1.0 - self.xp.eye(size, dtype=dtype)

    @cached_property
    def _products(self):
        return self._inner(self.layer.centered_means)

    def _inner(self, vectors):
        a, b = vectors[self._rows], vectors[self._columns]
        if self._one_by_one:
            return np.einsum("nd,nd->n", a, b)
        return self.xp.matmul(a, self.xp.transpose(b))

    def _outer(self, values, combine):
        a, b = values[self._rows], values[self._columns]
        return combine(a if self._one_by_one else a[:, None], b)

    def _differences(self):
        means = self.layer.means
        a, b = means[self._rows], means[self._columns]
        distances = self.xp.sum((a[:, None] - b) ** 2, axis=-1)
        # On the diagonal the distance is zero: 1 stands in, to be left out.
        return distances + (1.0 - self.different)

    def _close(self, row, column):
        if self._one_by_one:
            row, column = self._rows[row], self._columns[row]
        else:
            row = row + (self._rows.start or 0)
            column = column + (self._columns.start or 0)
        return np.sum(
            (self.layer.means[row] - self.layer.means[column]) ** 2, axis=1
        )


@dataclasses.dataclass(frozen=True)
class Moments:
    """Count, mean and sum of squared deviations: a mergeable value."""

    count: int = 0
    mean: Any = 0.0
    squares: Any = 0.0

    @classmethod
    def of(
        cls, values: Any, pairs: Pairs, times: int, squares: bool
    ) -> Moments:
        """Those of a tile that stands for `times` tiles.

        Args:
            values: The values of its pairs.
            pairs: The tile.
            times: Integer.
            squares: Boolean, whether the squared deviations are wanted.
        """
        xp = pairs.xp
        count = int(np.prod(values.shape)) - len(pairs.diagonal[0])
        if not count:
            return cls()
        mean = xp.sum(values * pairs.different) / count
        if not squares:
            return cls(count * times, mean)
        deviations = (values - mean) * pairs.different
        return cls(count * times, mean, xp.sum(deviations**2) * times)

    def merge(self, other: Moments) -> Moments:
        """Those of the pairs of both."""
        if not other.count:
            return self
        count = self.count + other.count
        shift, share = other.mean - self.mean, other.count / count
        squares = self.squares + other.squares
        return Moments(
            count,
            # Not `mean + shift * share`, which makes NaN of infinity.
            (1 - share) * self.mean + share * other.mean,
            squares + shift**2 * self.count * share,
        )


def validate_sample(sample: int | None) -> None:
    """Says so if a number of random pairs is not one."""
    if sample is None:
        return
    try:
        is_valid = operator.index(sample) > 0
    except TypeError:
        is_valid = False
    if not is_valid:
        raise ValueError(
            "`pairs` must be a positive integer, or `None` for all pairs of "
            f"classes. Received: pairs={sample!r}."
        )


def tiles(layer: LastLayer) -> Iterator[tuple[Pairs, int]]:
    """Yields tiles of the upper triangle, and how often each counts."""
    classes, side = layer.num_classes, _TILE
    if layer.xp is not np:
        side = max(1, int((_NUMBERS / layer.dim) ** 0.5))
    starts = range(0, classes, side)
    for row in starts:
        for column in starts[row // side :]:
            pair = [slice(i, min(i + side, classes)) for i in (row, column)]
            yield Pairs(layer, *pair), 1 if row == column else 2


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


def reduce_pairs(
    layer: LastLayer,
    metrics: list[Any],
    sample: int | None = None,
    progress: bool = False,
) -> dict[str, Any]:
    """Reduces metrics over all pairs of classes, or over some of them.

    Args:
        layer: The `LastLayer`.
        metrics: The `Metric`s, all over pairs.
        sample: `None`, or how many random pairs stand for all.
        progress: Boolean, whether to draw a progress bar where there are many
            tiles.

    Returns:
        Dictionary from tags to values. Of sampled means the standard error is
        there too, under the tag with `_standard_error` after it.
    """
    validate_sample(sample)
    if not metrics:
        return {}
    everything = layer.num_classes * (layer.num_classes - 1)
    exact = sample is None or sample >= everything
    parts = tiles(layer) if exact else samples(layer, int(sample or 0))
    wanted = [not exact or m.reduce == "variance" for m in metrics]

    def reduce_part(part):
        pairs, times = part
        return [
            Moments.of(metric.function(pairs), pairs, times, squares)
            for metric, squares in zip(metrics, wanted, strict=True)
        ]

    moments = [Moments()] * len(metrics)
    reduced = _each(reduce_part, parts, layer)
    for part in _with_progress(reduced, layer, progress and exact):
        moments = list(map(Moments.merge, moments, part))
    return _values(metrics, moments, exact, sample is not None)


def _values(metrics, moments, exact, errors):
    values = {}
    for metric, moment in zip(metrics, moments, strict=True):
        variance = moment.squares / moment.count
        values[metric.tag] = moment.mean
        if metric.reduce == "variance":
            values[metric.tag] = variance
        elif errors:
            error = np.sqrt(variance / np.float64(moment.count - 1))
            values[f"{metric.tag}_standard_error"] = 0.0 if exact else error
    return values


def _each(function, parts, layer):
    """Yields `function(part)` in order; on the host in several threads.

    A thread a tile, each with products of its own, also shares what is not a
    product, and waits for no other thread where the processors are busy.
    """
    if layer.xp is not np or layer.num_classes <= _TILE:
        yield from map(function, parts)
        return

    # The numbers that are made up for 0 / 0 are a matter of each thread.
    def quiet(part):
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            return function(part)

    with one_thread(), ThreadPoolExecutor(_THREADS) as pool:
        yield from pool.map(quiet, parts)


def _with_progress(parts, layer, progress):
    side = -(-layer.num_classes // _TILE)
    total = side * (side + 1) // 2
    if not progress or total < _LONG:
        yield from parts
        return
    bar = keras.utils.Progbar(total, unit_name="tile")
    for part in parts:
        yield part
        bar.add(1)


def _chunks(indices, size=2**13):
    """Yields parts of index arrays: few pairs are close, but all may be."""
    row, column = indices[0], indices[-1]
    for start in range(0, len(row), size):
        yield row[start : start + size], column[start : start + size]
