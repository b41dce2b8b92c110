"""Means and variances over pairs of classes."""

from __future__ import annotations

import dataclasses
import operator
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import keras
import numpy as np

from nc_keras.blas import one_thread
from nc_keras.measuring.last_layer import LastLayer
from nc_keras.measuring.pairs import TILE
from nc_keras.measuring.pairs import Pairs
from nc_keras.measuring.pairs import samples
from nc_keras.measuring.pairs import tiles

_THREADS = min(os.cpu_count() or 1, 16)
MANY = 2**15  # classes, from which on pairs are computed in float32
# Between these float32 holds the squares of norms, the squares of what these
# are off their mean, and variances that are 1e-20 of them.
_SMALL, _LARGE = 1e-8, 1e9
_ROWS = {"mean_norms": "centered_means", "weight_norms": "kernel_of_means"}
_LONG = 800  # tiles, from which on a progress bar is worth its lines


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
        count = int(np.prod(values.shape)) - len(pairs.diagonal[0])
        if not count:
            return cls()
        mean = pairs.sum(values) / count
        if not squares:
            return cls(count * times, mean)
        # The mean of float32's is rounded; what that leaves is put right.
        deviations = values - (mean if pairs.xp is not np else float(mean))
        rest = pairs.sum(deviations)
        deviations *= deviations
        squares = pairs.sum(deviations) - rest**2 / count
        return cls(count * times, mean, squares * times)

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
    if exact:
        layer = _in_single_precision(layer)
    parts = tiles(layer) if exact else samples(layer, int(sample or 0))
    wanted = [not exact or m.reduce == "variance" for m in metrics]

    def reduce_part(part):
        tile, times = part
        moments = [Moments()] * len(metrics)
        for pairs in tile.strips():
            found = [
                Moments.of(metric.function(pairs), pairs, times, squares)
                for metric, squares in zip(metrics, wanted, strict=True)
            ]
            moments = list(map(Moments.merge, moments, found))
        return moments

    moments = [Moments()] * len(metrics)
    reduced = _each(reduce_part, parts, layer)
    for part in _with_progress(reduced, layer, progress and exact):
        moments = list(map(Moments.merge, moments, part))
    return _values(metrics, moments, exact, sample is not None)


def _in_single_precision(layer):
    """The layer with float32 arrays for pairs, where classes are many.

    Each value is then off by a few roundings of float32, this way and that,
    and so is the sum of 128 of them; the sums of these are float64's. Pairs
    that are close are computed in float64.
    """
    norms = ["mean_norms"] + ["weight_norms"] * (layer.kernel is not None)
    if layer.xp is not np or layer.num_classes < MANY:
        return layer
    sizes = [getattr(layer, name).max() for name in norms]
    spread = np.sqrt(layer.variances.max())
    if min(sizes) < _SMALL or max(spread, *sizes) > _LARGE:
        return layer
    names = norms + [_ROWS[name] for name in norms]
    arrays = {name: getattr(layer, name).astype("float32") for name in names}
    single = dataclasses.replace(
        layer, variances=layer.variances.astype("float32")
    )
    vars(single).update(arrays)  # where `cached_property` looks first
    return single


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
    if layer.xp is not np or layer.num_classes <= TILE:
        yield from map(function, parts)
        return

    # The numbers that are made up for 0 / 0 are a matter of each thread.
    def quiet(part):
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            return function(part)

    _keep_freed_memory()
    with one_thread(), ThreadPoolExecutor(_THREADS) as pool:
        yield from pool.map(quiet, parts)


def _keep_freed_memory():
    """Has glibc keep what is freed, up to 32 MB, for the next arrays.

    It goes by the largest block that was freed so far. Memory that went back
    to the system returns as fresh pages, which take as long as what is
    computed in them.
    """
    np.empty(2**21)


def _with_progress(parts, layer, progress):
    side = -(-layer.num_classes // TILE)
    total = side * (side + 1) // 2
    if not progress or total < _LONG:
        yield from parts
        return
    bar = keras.utils.Progbar(total, unit_name="tile")
    for part in parts:
        yield part
        bar.add(1)
