"""Convex programs over the logits of class means, one row per class.

Classes with as many examples are alike, and so is the solution: across the
mean of a group of `m` classes it has one singular value, `m - 1` times, and
among the means of `G` groups it is a `G x G` matrix. A program of a thousand
classes in two groups has six unknowns.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from nc_keras.class_counts import checked_counts

# Changes of the solution, relative to its size, at which a program ends.
_DONE, _MOST = 1e-14, 200_000
_GROWTH = 1.2


@dataclasses.dataclass(frozen=True, eq=False)
class Grouped:
    """A `K x K` matrix that is the same for all classes of a group.

    Args:
        across: Array of shape `(G,)`: it multiplies what is across the mean
            of each group.
        among: Array of shape `(G, G)`, on the normalised means of the groups.
    """

    across: np.ndarray
    among: np.ndarray

    def __add__(self, other: Grouped) -> Grouped:
        return Grouped(self.across + other.across, self.among + other.among)

    def __sub__(self, other: Grouped) -> Grouped:
        return self + other * -1.0

    def __mul__(self, factor: float) -> Grouped:
        return Grouped(factor * self.across, factor * self.among)


class ClassGroups:
    """The classes of a data set, by how many examples they have.

    Args:
        counts: Sequence of `K` positive integers, in any order.

    Attributes:
        counts: Array of shape `(K,)`.
        group: Array of shape `(K,)`, the group of each class.
        sizes: Array of shape `(G,)`, the examples per class of each group,
            the largest first.
        members: Array of shape `(G,)`, the classes of each group.

    Raises:
        ValueError: If the counts are not positive integers, or fewer than two.
    """

    def __init__(self, counts: Any):
        self.counts = checked_counts(counts)
        sizes, group, members = np.unique(
            -self.counts, return_inverse=True, return_counts=True
        )
        self.group = group.reshape(-1)
        self.sizes, self.members = -sizes, members
        self.weights = self.sizes / self.counts.sum()

    @property
    def zero(self) -> Grouped:
        """The matrix of zeros."""
        size = len(self.sizes)
        return Grouped(np.zeros(size), np.zeros((size, size)))

    def dot(self, a: Grouped, b: Grouped) -> float:
        """The inner product of two matrices."""
        across = np.sum((self.members - 1) * a.across * b.across)
        return float(across + np.sum(a.among * b.among))

    def scaled_rows(self, matrix: Grouped, factors: np.ndarray) -> Grouped:
        """The matrix with the rows of each group multiplied by a factor."""
        return Grouped(factors * matrix.across, factors[:, None] * matrix.among)

    def expanded(self, matrix: Grouped) -> np.ndarray:
        """The matrix itself, of shape `(K, K)`."""
        own, others = self._entries(matrix)
        full = others[np.ix_(self.group, self.group)]
        np.fill_diagonal(full, own[self.group])
        return full

    def cross_entropy(
        self, logits: Grouped, label_smoothing: float = 0.0
    ) -> tuple[float, Grouped]:
        """The loss of logits, one row per class, and its gradient.

        Args:
            logits: Those of the class means.
            label_smoothing: Float in [0, 1).

        Returns:
            The mean over the examples, and the gradient.
        """
        own, others = self._entries(logits)
        # How many classes have each entry: those of the own group but one.
        many = self.members - np.eye(len(own))
        share = label_smoothing / self.counts.size
        apart = np.where(many > 0, others - own[:, None], 0.0)
        highest = apart.max(axis=1, initial=0.0)
        missed = np.sum(many * np.exp(apart - highest[:, None]), axis=1)
        # Nothing cancels where the probability is one to the last digit.
        losses = np.where(
            highest > 0,
            highest + np.log(np.exp(-highest) + missed),
            np.log1p(missed),
        )
        losses = losses - share * np.sum(many * apart, axis=1)
        loss = np.sum(self.weights * self.members * losses)
        total = np.exp(-highest) + missed
        wrong = np.exp(apart - highest[:, None]) / total[:, None] - share
        right = -np.sum(many * wrong, axis=1)
        same = np.diag(wrong)
        across = self.weights * (right - same)
        root = np.sqrt(self.members)
        among = wrong * root[:, None] * root
        np.fill_diagonal(among, right + (self.members - 1) * same)
        return float(loss), Grouped(across, self.weights[:, None] * among)

    def factors(self, matrix: Grouped) -> tuple[Grouped, Grouped, Grouped]:
        """Factors `A B'` of a matrix `U S V'`, and its singular values.

        Returns:
            `U S^(1/2) V'`, `V S^(1/2) V'`, and `S` (its `among` is a vector).
        """
        left, values, right = np.linalg.svd(matrix.among)
        roots, sign = np.sqrt(np.abs(matrix.across)), np.sign(matrix.across)
        root = np.sqrt(values)
        return (
            Grouped(sign * roots, (left * root) @ right),
            Grouped(roots, (right.T * root) @ right),
            Grouped(np.abs(matrix.across), values),
        )

    def shrunk(self, matrix: Grouped, by: float) -> Grouped:
        """The matrix with its singular values lowered, to zero at most."""
        left, values, right = np.linalg.svd(matrix.among)
        values = np.maximum(values - by, 0.0)
        across = np.maximum(np.abs(matrix.across) - by, 0.0)
        across = np.where(self.members > 1, across, 0.0)
        return Grouped(np.sign(matrix.across) * across, (left * values) @ right)

    def within(self, matrix: Grouped, radius: float) -> Grouped:
        """The nearest matrix whose singular values sum up to at most that."""
        values = np.linalg.svd(matrix.among, compute_uv=False)
        values = np.concatenate([np.abs(matrix.across), values])
        times = np.concatenate([self.members - 1, np.ones(len(self.members))])
        if values @ times <= radius:
            return matrix
        order = np.argsort(-values)
        values, times = values[order], times[order]
        with np.errstate(divide="ignore", invalid="ignore"):
            by = (np.cumsum(values * times) - radius) / np.cumsum(times)
        # The last value that stays positive says by how much.
        last = np.flatnonzero((times > 0) & (values > by))[-1]
        return self.shrunk(matrix, by[last])

    def largest(self, matrix: Grouped) -> float:
        """The largest singular value."""
        across = np.abs(matrix.across)[self.members > 1]
        values = np.linalg.svd(matrix.among, compute_uv=False)
        return float(max(values.max(), across.max(initial=0.0)))

    def minimized(
        self,
        gradient: Callable[[Grouped], Grouped],
        step: float,
        nearest: Callable[[Grouped, float], Grouped],
    ) -> Grouped:
        """Accelerated proximal gradient descent, with restarts.

        Steps grow where the objective is flatter than its Lipschitz constant
        says, as it is by orders of magnitude at probabilities near one.

        Args:
            gradient: The gradient of the smooth part of an objective.
            step: Float, one over its Lipschitz constant.
            nearest: The proximal operator of the rest, of a matrix and a
                step.

        Raises:
            ArithmeticError: If it has not converged.
        """
        safe = step
        at = ahead = self.zero
        speed = 1.0
        for _ in range(_MOST):
            slope = gradient(ahead)
            while True:
                new = nearest(ahead - slope * step, step)
                change = new - ahead
                bend = self.dot(gradient(new) - slope, change)
                if step * bend <= self.dot(change, change) or step <= safe:
                    break
                step = max(step / 2, safe)
            move = new - at
            size = max(self.dot(new, new), np.finfo(float).tiny)
            if self.dot(move, move) <= _DONE**2 * size:
                return new
            if self.dot(ahead - new, move) > 0:
                speed = 1.0  # It went too far: without momentum from here.
                ahead = new
            else:
                faster = (1 + (1 + 4 * speed**2) ** 0.5) / 2
                ahead = new + move * ((speed - 1) / faster)
                speed = faster
            at, step = new, step * _GROWTH
        raise ArithmeticError(
            f"The program has not converged in {_MOST:,} steps. "
            f"Received: counts={self.counts}."
        )

    def _entries(self, matrix):
        """Of each group its diagonal entry, and those of other classes."""
        root = np.sqrt(self.members)
        others = matrix.among / (root[:, None] * root)
        others = others - np.diag(matrix.across / self.members)
        return np.diag(others) + matrix.across, others
