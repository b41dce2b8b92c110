"""The mean over the seeds of a quantity, and its spread, along a training."""

import math
from collections.abc import Callable
from collections.abc import Iterator

from nc_keras.experiments.results.summary import Group
from nc_keras.experiments.results.summary import robustness
from nc_keras.plot.lines import Curve
from nc_keras.plot.lines import mean_curve

_MOST_POINTS = 60


def curve(
    group: Group,
    key: str,
    transform: Callable[[float], float] = float,
    spread: str = "range",
) -> Curve | None:
    """The mean over the seeds, at the epochs that every seed has.

    Args:
        group: The runs of one loss and one head.
        key: String, the key in the measured rows, or "deepfool".
        transform: Function of a value.
        spread: String, what the band is: a key of `nc_keras.plot.spread`'s
            `SPREADS`.

    Returns:
        The curve, of at most 60 epochs, or `None` if no epoch has a finite
        value of every seed that has any.
    """
    series = [
        {epoch: transform(value) for epoch, value in _series(run, key)}
        for run in group.runs
    ]
    return mean_curve(series, spread, _thin)


def _series(run, key) -> Iterator[tuple[int, float]]:
    rows = robustness(run) if key == "deepfool" else run.get("measured") or []
    for row in rows:
        value = row.get(key)
        if value is not None and math.isfinite(value):
            yield row["epoch"], value


def _thin(epochs):
    """Returns at most 60 of the epochs, evenly spaced in the logarithm."""
    if len(epochs) <= _MOST_POINTS:
        return epochs
    first, last = epochs[0], epochs[-1]
    steps = _MOST_POINTS - 1
    wanted = [first * (last / first) ** (i / steps) for i in range(steps + 1)]
    nearest = {min(epochs, key=lambda e, w=w: abs(e - w)) for w in wanted}
    return sorted(nearest)
