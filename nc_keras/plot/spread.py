"""What is drawn, or written, around a mean over seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

# What each spread is, for legends and the heads of tables.
SPREADS = {
    "range": "smallest to largest seed",
    "std": "± std over seeds",
    "ci95": "95 % interval of the mean",
}


def band(values: Sequence[float], spread: str = "range") -> tuple[float, float]:
    """The ends of the band around the mean of one value per seed.

    Args:
        values: One value per seed.
        spread: `"range"`, from the smallest to the largest; `"std"`, the mean
            ± the standard deviation (n - 1); or `"ci95"`, the interval that
            holds the mean of the distribution in 95 % of cases, from
            Student's t of n - 1 degrees of freedom.

    Returns:
        Lower and upper end; of one value there is no spread: both are it.

    Raises:
        ValueError: If `spread` is none of these.

    Example:

    >>> from nc_keras.plot.spread import band
    >>> band([1.0, 2.0, 6.0])
    (1.0, 6.0)
    >>> [round(end, 3) for end in band([1.0, 2.0, 6.0], "ci95")]
    [-3.572, 9.572]
    """
    validate_spread(spread)
    if len(values) < 2:
        return values[0], values[0]
    if spread == "range":
        return min(values), max(values)
    mean = math.fsum(values) / len(values)
    half = half_width(values, spread)
    return mean - half, mean + half


def half_width(values: Sequence[float], spread: str) -> float:
    """What is written after ±: of `"ci95"` half the interval, else the std.

    Args:
        values: One value per seed, two at least.
        spread: As in `band`.
    """
    deviation = statistics.stdev(values)
    if spread != "ci95":
        return deviation
    from scipy import special  # Only where it is asked for: it loads slowly.

    quantile = float(special.stdtrit(len(values) - 1, 0.975))
    return quantile * deviation / math.sqrt(len(values))


def validate_spread(spread: str) -> None:
    """Raises if a spread is none of `SPREADS`."""
    if spread not in SPREADS:
        raise ValueError(
            f"`spread` must be one of {', '.join(SPREADS)}. "
            f"Received: spread={spread!r}."
        )
