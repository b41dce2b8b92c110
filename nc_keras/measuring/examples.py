from __future__ import annotations

import math
from collections.abc import Callable
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np

from nc_keras.blas import ONE_THREAD
from nc_keras.measuring.largest import Largest
from nc_keras.measuring.last_layer import LastLayer
from nc_keras.measuring.near_means import NearMeans

_FEW = 64  # rows with which one product of float64 serves all
_TALL = 1024  # rows of a block whose products are most of the work


class Rules:
    """What is asked of each example: products with rows, and decisions.

    Args:
        kernel: Array of shape `(C, D)` or `None`.
        bias: Array of shape `(C,)`, or zero.
        means: Array of shape `(C, D)`, the class means among which the
            nearest is sought, or `None`. Rows of NaN are classes without any.
        directions: Array of shape `(r, D)` or `None`, along which examples
            are wanted.
    """

    def __init__(
        self,
        kernel: np.ndarray | None = None,
        bias: np.ndarray | float = 0.0,
        means: np.ndarray | None = None,
        directions: np.ndarray | None = None,
    ):
        self.bias = bias
        self.largest: dict[str, Largest] = {}
        self.near: dict[str, NearMeans] = {}
        self.means = means
        self.scratch = Scratch()
        rows = {"kernel": kernel, "directions": directions}
        if means is not None:
            count = len(means)
            self.present = np.flatnonzero(np.isfinite(means).all(axis=1))
            # Centred first: a common offset would swamp the distances.
            center = means[self.present].mean(axis=0)
            means = means[self.present] - center
            self.half_squares = np.sum(means * (means / 2 + center), axis=1)
            self.positions = np.full(count, -1)
            self.positions[self.present] = np.arange(len(self.present))
            rows["means"] = means
        self._rows = {k: v for k, v in rows.items() if v is not None}
        self._stacked, start = None, 0
        if sum(map(len, self._rows.values())) <= _FEW:
            self._parts = {}
            for name, some in self._rows.items():
                self._parts[name] = slice(start, start + len(some))
                start += len(some)
            if self._rows:
                self._stacked = np.concatenate(list(self._rows.values())).T
            return
        offsets = {"kernel": bias}
        if means is not None:
            offsets["means"] = -self.half_squares
        for name in offsets.keys() & self._rows.keys():
            linear = self._rows[name], offsets[name]
            self.largest[name] = Largest(*linear)
            if self.means is not None:
                self.near[name] = NearMeans(self.means, *linear)

    @cached_property
    def gram(self) -> np.ndarray:
        """Products of the centred class means with each other."""
        return self._rows["means"] @ self._rows["means"].T

    def products(self, features: np.ndarray) -> dict[str, np.ndarray]:
        """Products with all rows at once, if there are few of them."""
        if self._stacked is None:
            return {}
        together = features @ self._stacked
        return {name: together[:, part] for name, part in self._parts.items()}

    def product(self, features: np.ndarray, name: str) -> np.ndarray:
        """Products with the rows of one name."""
        if name not in self._rows:
            raise ValueError(
                f"A metric over examples asked for their {name}, and did not "
                f"say so: register it with `@metric(tag, {name!r}, ...)`. "
                f"Received: {', '.join(self._rows) or 'nothing'}."
            )
        return features @ self._rows[name].T


class Examples:
    """A block of examples, and what head and class means make of them.

    Args:
        features: Array of shape `(n, D)`, float64.
        labels: Array of shape `(n,)`, int64.
        rules: The `Rules`.
        given: The features as they came, in float32 maybe.
    """

    def __init__(
        self,
        features: np.ndarray,
        labels: np.ndarray,
        rules: Rules,
        given: np.ndarray,
    ):
        self.features = features
        self.labels = labels
        self._rules = rules
        self._given = given

    @cached_property
    def logits(self) -> np.ndarray:
        """`w_c h + b_c` of each example, shape `(n, C)`."""
        return self._product("kernel") + self._rules.bias

    @cached_property
    def decisions(self) -> np.ndarray:
        """`argmax_c w_c h + b_c` of each example, shape `(n,)`."""
        if "kernel" in self._rules.largest and "logits" not in vars(self):
            return self._largest("kernel")
        return np.argmax(self.logits, axis=1)

    @cached_property
    def nearest_means(self) -> np.ndarray:
        """`argmin_c ||h - mu_c||` of each example, shape `(n,)`.

        The means are those of the training set where that is known.
        """
        if "means" in self._rules.largest:
            return self._rules.present[self._largest("means")]
        products = self._product("means") - self._rules.half_squares
        return self._rules.present[np.argmax(products, axis=1)]

    @property
    def toward_means(self) -> tuple[np.ndarray, np.ndarray]:
        """How far examples lie towards other means than their own.

        `(h - mu_y)'(mu_c - mu_y)`, and `||mu_c - mu_y||^2`, each of shape
        `(n, classes with examples)`. For the class of an example the first is
        0 and the second infinite.
        """
        products = self._product("means")
        gram, own = self._rules.gram, self._rules.positions[self.labels]
        squares = np.diag(gram)
        # `mu_y'm_c`, of which `half_squares` has the part of the common mean.
        means = gram[own] + self._rules.half_squares - squares / 2
        residuals = products - means
        rows = np.arange(len(own))
        toward = residuals - residuals[rows, own][:, None]
        distances = squares[own][:, None] + squares - 2 * gram[own]
        distances[rows, own] = np.inf
        return toward, distances

    @property
    def along(self) -> np.ndarray:
        """`v h` along the principal directions, shape `(n, r)`."""
        return self._product("directions")

    def _largest(self, name):
        largest, near = (
            of.get(name) for of in (self._rules.largest, self._rules.near)
        )
        if near is None or not near.is_worth_it(len(self.labels)):
            return largest(self.features, *self._in_single)
        decided = near(self.labels, self._from_means)
        rest = np.flatnonzero(decided < 0)
        if rest.size > len(decided) // 2:
            return largest(self.features, *self._in_single)
        if rest.size:
            single, norms = (some[rest] for some in self._in_single)
            decided[rest] = largest(self.features[rest], single, norms)
        return decided

    @cached_property
    def _from_means(self):
        """`||h - mu_y||` of each example."""
        residuals = self._rules.scratch.array(*self.features.shape)
        np.take(self._rules.means, self.labels, 0, residuals, "clip")
        np.subtract(self.features, residuals, residuals)
        return np.sqrt(np.einsum("nd,nd->n", residuals, residuals))

    @cached_property
    def _in_single(self):
        """Features in float32, and their norms."""
        single = self._given.astype("float32", copy=False)
        return single, np.sqrt(np.einsum("nd,nd->n", *[self.features] * 2))

    @cached_property
    def _products(self):
        return self._rules.products(self.features)

    def _product(self, name):
        if name in self._products:
            return self._products[name]
        return self._rules.product(self.features, name)


class Scratch:
    """Memory for arrays of which one at a time is in use.

    Where each is allocated anew, the system hands out fresh pages, which
    takes longer than what is computed in them.
    """

    def __init__(self):
        self._buffer = np.empty(0)

    def array(self, *shape: int) -> np.ndarray:
        """Returns a float64 array of any content, in place of the last one."""
        size = math.prod(shape)
        if self._buffer.size < size:
            self._buffer = np.empty(size)
        return self._buffer[:size].reshape(shape)


def blocks(
    features: np.ndarray,
    width: int = 1,
    cast: bool = True,
    scratch: Scratch | None = None,
) -> Iterator[tuple[slice, np.ndarray]]:
    """Yields slices of rows and their features as float64.

    A block is small enough for the caches of a processor, unless products
    with many rows take longer than all else; and what has `width` numbers for
    each row of it is small enough for the memory.

    Args:
        features: Array of shape `(N, D)`.
        width: Integer, with how many rows examples are multiplied.
        cast: Boolean, whether float32 becomes float64 too.
        scratch: Where a block is, until the next is asked for.
    """
    rows = 2**18 // features.shape[1]
    if width > _FEW:
        in_threads = ONE_THREAD // (features.shape[1] * width) + 1
        rows = max(rows, _TALL, in_threads)
    rows = max(16, min(4096, rows, 2**22 // width))
    scratch = scratch or Scratch()
    is_ready = features.dtype == "float64"
    is_ready |= features.dtype == "float32" and not cast
    for start in range(0, len(features), rows):
        part = slice(start, start + rows)
        block = features[part]
        if not is_ready:
            converted = scratch.array(*block.shape)
            converted[...] = block
            block = converted
        yield part, block


class Reduction:
    """Reduces the values of examples, block by block, to a metric's value.

    Args:
        metric: A `Metric` over examples.
        num_classes: Integer, the number of classes.
    """

    def __init__(self, metric: Any, num_classes: int):
        self._metric = metric
        self._sums = np.zeros(num_classes)
        self._counts = np.zeros(num_classes, "int64")

    def update(self, examples: Examples) -> None:
        """Adds a block of examples."""
        values = self._metric.function(examples)
        size = len(self._sums)
        self._sums += np.bincount(examples.labels, values, size)
        self._counts += np.bincount(examples.labels, minlength=size)

    def merge(self, gather: Callable) -> None:
        """Adds the examples of other processes."""
        self._sums = np.sum(gather(self._sums), axis=0)
        self._counts = np.sum(gather(self._counts), axis=0)

    def result(self, layer: LastLayer) -> Any:
        """The mean over the examples, or what is made of the classes' means.

        Args:
            layer: What a function that reduces them is given.
        """
        if self._metric.reduce == "mean":
            return self._sums.sum() / self._counts.sum()
        present = self._counts > 0
        means = self._sums[present] / self._counts[present]
        if self._metric.reduce == "classes":
            return means
        return self._metric.reduce(layer, means)
