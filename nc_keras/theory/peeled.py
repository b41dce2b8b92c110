"""The Layer-Peeled Model: head and class means within balls."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from nc_keras.arguments import checked
from nc_keras.theory.class_groups import ClassGroups
from nc_keras.theory.class_groups import Grouped
from nc_keras.theory.imbalanced import ImbalancedMinimizer

# Beyond, the rarer examples do not count in a sum of doubles.
_MOST_RATIO = 1e15
_MOST_SIZE = 100.0


@checked(e_w="number", e_h="number")
def layer_peeled(
    counts: Sequence[int], e_w: float, e_h: float
) -> ImbalancedMinimizer:
    """Returns the minimiser of the Layer-Peeled Model under cross-entropy.

    Of `(1/N) sum_k n_k CE(W h_k, k)` with `(1/K) sum ||w_k||^2 <= e_w` and
    `(1/K) sum ||h_k||^2 <= e_h`. The logits `Z` solve a convex program with
    the nuclear norm, `||Z||_* <= K sqrt(e_w e_h)`, and head and means are
    factors of them. It is solved to the last digits.

    Example:

    >>> best = nc_keras.theory.layer_peeled([100] * 3 + [10] * 7, 1.0, 5.0)
    >>> print(round(best.loss, 5), best.collapsed.any())
    0.26905 False

    Args:
        counts: Sequence of `K` positive integers, the examples per class.
        e_w: Float, the mean square of a classifier.
        e_h: Float, the mean square of a class mean.

    Returns:
        An `ImbalancedMinimizer`.

    Raises:
        ValueError: If a count, `e_w` or `e_h` is not positive, or the root of
            `e_w e_h` is above 100.

    Reference:

    - [Fang, He, Long & Su, 2021](https://arxiv.org/abs/2101.12699), whose
      code solves it as a semidefinite program of `2K` rows.
    """
    groups = ClassGroups(counts)
    radius = _radius(groups.counts.size, e_w, e_h)
    logits = groups.minimized(
        lambda at: groups.cross_entropy(at)[1],
        2 / groups.weights.max(),
        lambda at, _: groups.within(at, radius),
    )
    loss, _ = groups.cross_entropy(logits)
    features, weights, values = groups.factors(logits)
    scale = (e_w / e_h) ** 0.25
    # Exactly zero, for the projection cuts it off.
    is_alike = (values.across == 0) & (groups.members > 1)
    return ImbalancedMinimizer(
        groups.counts,
        groups.expanded(weights * scale),
        groups.expanded(features * (1 / scale)),
        loss,
        is_alike[groups.group],
    )


@dataclasses.dataclass(frozen=True)
class MinorityThresholds:
    """Ratios of majority to minority examples at which a minority collapses.

    Args:
        coincide: Float, `R_0`: from there on, the classifiers of all minority
            classes are the same. NaN for one minority class, and infinite
            beyond 1e15, where doubles do not see a rare example.
        vanish: Float: from there on they are zero. Infinite where they never
            are, and NaN for one majority class.
    """

    coincide: float
    vanish: float


@checked(majority="integer", minority="integer", e_w="number", e_h="number")
def minority_threshold(
    majority: int, minority: int, e_w: float, e_h: float
) -> MinorityThresholds:
    """Returns when the minority collapses in the Layer-Peeled Model.

    The classifiers coincide from `R_0 = 1 / (1 - p + q)` on, where `p` is the
    probability that an example of the majority has for its class, and `q` for
    another one of the majority, in the collapsed minimiser at `R_0`. Derived
    here from the conditions of Karush, Kuhn and Tucker.

    Example:

    >>> found = nc_keras.theory.minority_threshold(5, 5, 1.0, 5.0)
    >>> print(round(found.coincide, 2))
    12.19

    Args:
        majority: Integer, the classes with the most examples.
        minority: Integer, the other classes, all with as many examples.
        e_w: Float, as in `layer_peeled`.
        e_h: Float, as in `layer_peeled`.

    Returns:
        `MinorityThresholds`.

    Raises:
        ValueError: If a number is not positive.

    Reference:

    - [Fang, He, Long & Su, 2021](https://arxiv.org/abs/2101.12699), Theorem
      5, that it collapses as the ratio goes to infinity.
    """
    if majority < 1 or minority < 1:
        raise ValueError(
            "A majority and a minority of one class or more are needed. "
            f"Received: majority={majority}, minority={minority}."
        )
    radius = _radius(majority + minority, e_w, e_h)
    pair = _Pair(majority, minority, radius)
    coincide = vanish = math.nan
    if minority > 1:
        coincide = _first(pair.excess_of_difference)
    if majority > 1:
        vanish = _first(pair.excess_of_zero)
        if minority > 1:
            vanish = max(vanish, coincide)
    return MinorityThresholds(coincide, vanish)


class _Pair:
    """Two groups, by the ratio of their examples."""

    def __init__(self, majority, minority, radius):
        self.members = np.array([majority, minority])
        self.radius = radius

    def excess_of_difference(self, ratio):
        """By how much the minority's difference wants to leave zero."""
        groups = self._groups(ratio)
        keep = np.array([1.0, 0.0])

        def nearest(at, _):
            return groups.within(
                Grouped(keep * at.across, at.among), self.radius
            )

        def gradient(at):
            found = groups.cross_entropy(at)[1]
            return Grouped(keep * found.across, found.among)

        logits = groups.minimized(gradient, 2 / groups.weights.max(), nearest)
        found = groups.cross_entropy(logits)[1]
        others = Grouped(keep * found.across, found.among)
        return abs(found.across[1]) / groups.largest(others) - 1

    def excess_of_zero(self, ratio):
        """By how much anything but the majority's difference does."""
        groups = self._groups(ratio)
        size = self.radius / (self.members[0] - 1)
        logits = Grouped(np.array([size, 0.0]), np.zeros((2, 2)))
        found = groups.cross_entropy(logits)[1]
        others = Grouped(np.array([0.0, found.across[1]]), found.among)
        return groups.largest(others) / abs(found.across[0]) - 1

    def _groups(self, ratio):
        groups = ClassGroups(np.repeat([2, 1], self.members))
        groups.weights = np.array([ratio, 1.0]) / (self.members @ [ratio, 1.0])
        return groups


def _first(excess):
    """The smallest ratio from 1 on at which an excess is gone."""
    # Not for everybody who imports the library.
    from scipy.optimize import brentq

    def of_log(log_ratio):
        return excess(math.exp(log_ratio))

    if of_log(0.0) <= 0:
        return 1.0
    high = 1.0
    while of_log(high) > 0:
        high *= 2
        if high > math.log(_MOST_RATIO):
            return math.inf
    return math.exp(brentq(of_log, high / 2 if high > 1 else 0.0, high))


def _radius(num_classes, e_w, e_h):
    size = math.sqrt(e_w) * math.sqrt(e_h) if e_w > 0 and e_h > 0 else 0.0
    if not 0 < size <= _MOST_SIZE:
        raise ValueError(
            "The mean squares of head and class means must be positive, and "
            f"the root of their product at most {_MOST_SIZE:g}: beyond, the "
            f"loss is zero in doubles. Received: e_w={e_w}, e_h={e_h}."
        )
    return num_classes * size
