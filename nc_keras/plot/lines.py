"""Curves over the epochs: a line, its band over seeds, and their axes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator
from matplotlib.ticker import NullFormatter

from nc_keras.plot.spread import band
from nc_keras.plot.style import BAND

_FEW = 12  # points that have a marker each
_DECADES = 2  # of an axis, up to which 2 and 5 are labelled


@dataclasses.dataclass(frozen=True)
class Curve:
    """Mean over the seeds at each epoch, and the ends of its band.

    Attributes:
        epochs: List of integers.
        mean: List of floats.
        low: List of floats, the lower end of the band.
        high: List of floats, the upper end; where there is one seed both are
            the mean.
    """

    epochs: list[int]
    mean: list[float]
    low: list[float]
    high: list[float]


def mean_curve(
    series: Iterable[Mapping[int, float] | None],
    spread: str = "range",
    thin: Callable[[list[int]], list[int]] = list,
) -> Curve | None:
    """The mean over the seeds, at the epochs that every one has.

    Args:
        series: For each seed its values by epoch; one that has none is left
            out.
        spread: String, what the band is, see `nc_keras.plot.spread.band`.
        thin: Function that chooses among the epochs.

    Returns:
        The `Curve`, or `None` if no epoch has a value of every seed.

    Example:

    >>> from nc_keras.plot.lines import mean_curve
    >>> mean_curve([{1: 0.5, 2: 0.1}, {2: 0.3}, None])
    Curve(epochs=[2], mean=[0.2], low=[0.1], high=[0.3])
    """
    there = [values for values in series if values]
    epochs = thin(sorted(set.intersection(*map(set, there)))) if there else []
    if not epochs:
        return None
    values = [[one[epoch] for one in there] for epoch in epochs]
    ends = [band(v, spread) for v in values]
    return Curve(
        epochs,
        [math.fsum(v) / len(v) for v in values],
        [low for low, _ in ends],
        [high for _, high in ends],
    )


def draw(
    axis: Axes,
    curve: Curve,
    color: str,
    marker: str,
    style: str = "-",
    gid: str | None = None,
) -> None:
    """Draws a curve, with its band if it has one.

    Args:
        axis: The axes.
        curve: The `Curve`.
        color: String.
        marker: String, on the last point, or on all of a few.
        style: String, the style of the line.
        gid: String, the id of its elements in SVG.
    """
    axis.plot(
        curve.epochs,
        curve.mean,
        style,
        color=color,
        lw=1.5,
        marker=marker,
        ms=4,
        markevery=None if len(curve.epochs) <= _FEW else [-1],
        gid=gid,
    )
    if curve.low != curve.high:
        axis.fill_between(
            curve.epochs,
            curve.low,
            curve.high,
            color=color,
            alpha=BAND,
            lw=0,
            gid=gid,
        )


def epochs_axis(axis: Axes) -> None:
    """Makes the horizontal axis one of epochs, in the logarithm.

    Args:
        axis: The axes, with its curves.
    """
    axis.set_xscale("log")
    axis.xaxis.set_major_formatter("{x:g}")
    _label_between(axis.xaxis, *axis.get_xlim())
    axis.grid(True)
    axis.set_axisbelow(True)


def readable_log(axis: Axes) -> None:
    """Writes 0.01 in place of powers, and 2 and 5 where decades are few.

    Args:
        axis: The axes, with its data, whose vertical axis is logarithmic.
    """
    axis.yaxis.set_major_formatter(_short)
    _label_between(axis.yaxis, *axis.get_ylim())


def _label_between(axis: Any, low: float, high: float) -> None:
    axis.set_minor_formatter(NullFormatter())
    if low > 0 and math.log10(high / low) < _DECADES:
        axis.set_minor_locator(LogLocator(subs=(2, 5)))
        axis.set_minor_formatter(_short)


def _short(value: float, _: Any = None) -> str:
    if 1e-3 <= value < 1e4:
        return f"{value:g}"
    power = math.floor(math.log10(value) + 1e-9)
    factor = value / 10.0**power
    before = "" if abs(factor - 1) < 1e-6 else rf"{factor:g} \times "
    return rf"${before}10^{{{power}}}$"


def log_scale(curves: Iterable[Curve]) -> dict[str, Any] | None:
    """The arguments of `set_yscale` for a log axis on which zeros are seen.

    Where there are zeros it is linear between zero and the decade of the
    smallest positive value.

    Args:
        curves: The `Curve`s of the axis.

    Returns:
        The arguments, or `None` if there is no positive value.

    Example:

    >>> from nc_keras.plot.lines import Curve, log_scale
    >>> log_scale([Curve([1, 2], [0.5, 0.02], [0.5, 0.02], [0.5, 0.02])])
    {'value': 'log'}
    >>> log_scale([Curve([1, 2], [0.5, 0.0], [0.5, 0.0], [0.5, 0.0])])
    {'value': 'symlog', 'linthresh': 0.1, 'linscale': 0.4}
    """
    curves = list(curves)
    if not any(v > 0 for c in curves for v in c.mean):
        return None
    positive = [v for c in curves for v in (*c.low, *c.mean) if v > 0]
    # A mean - std below zero is no zero: a log axis cuts the band off.
    has_zeros = any(v <= 0 for c in curves for v in c.mean)
    if not has_zeros and all(v != 0 for c in curves for v in c.low):
        return {"value": "log"}
    decade = 10.0 ** math.floor(math.log10(min(positive)))
    return {"value": "symlog", "linthresh": decade, "linscale": 0.4}
