"""Powers of two, by which numbers are divided whose squares are no floats."""

from typing import Any

import numpy as np

from nc_keras.measuring.registry import METRICS

_ORDINARY = 100  # 2^-100 .. 2^100: float64 holds fourth powers of these
_LOST = 505  # squares are no normal float64 beyond 2^-511 and 2^512


def exponent(array: np.ndarray | None) -> int:
    """The exponent of two of the largest number, or 0 if that is ordinary.

    Args:
        array: Array of real numbers, or `None`. What is of less than 64 bits
            has squares in float64.
    """
    if array is None or not array.size or array.dtype.itemsize < 8:
        return 0
    largest = max(float(array.max()), -float(array.min()))
    if not 0 < largest < np.inf:
        return 0
    power = int(np.frexp(largest)[1])
    return power if abs(power) > _ORDINARY else 0


def scaled(array: Any, power: int) -> Any:
    """The array times `2^power`, which rounds nothing; itself for `2^0`."""
    if array is None or not power:
        return array
    with np.errstate(over="ignore", under="ignore"):
        return np.ldexp(np.asarray(array, "float64"), power)


def scaled_bias(bias: np.ndarray | None, power: int) -> np.ndarray | None:
    """The bias times `2^power`, or less where no float could hold that.

    It outweighs all that it is added to then, as it should.
    """
    if bias is None or not power or not bias.any():
        return bias
    largest = int(np.frexp(np.abs(bias).max())[1])
    return scaled(bias, min(power, 900 - largest))


def restored(
    values: dict[str, Any], of_features: int, of_head: int
) -> dict[str, Any]:
    """Values of metrics of scaled features and head, as of those themselves.

    Args:
        values: Dictionary from tags to values.
        of_features: Integer, features were divided by two to this power.
        of_head: Integer, and the head's weights by two to this one.
    """
    if not (of_features or of_head):
        return values
    found = {}
    for tag, value in values.items():
        metric = METRICS[tag.removesuffix("_standard_error")]
        if metric.degrees is None:
            found[tag] = float("nan")
            continue
        features, head = metric.degrees
        value = scaled(value, features * of_features + head * of_head)
        found[tag] = value if np.ndim(value) else float(value)
    return found


def refuse_lost(means: np.ndarray) -> None:
    """Says so where the squares of features were too large or too small."""
    power = exponent(means)
    if abs(power) > _LOST:
        raise ValueError(
            "float64 cannot hold the squares of such features. Divide them by "
            "their size first, or pass them as an array to "
            "`nc_keras.metrics.collapse_metrics`, which does. "
            f"Received: class means of size 2^{power}."
        )
