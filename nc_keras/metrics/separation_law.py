"""The law of data separation: from layer to layer by the same factor."""

import dataclasses
from collections.abc import Iterable

import numpy as np


@dataclasses.dataclass(frozen=True)
class SeparationLaw:
    """The line through `log D_l` over the layers `l`, by least squares.

    Attributes:
        slope: Float, of the natural logarithm, for one layer.
        decay_ratio: Float, `rho = exp(slope)`, the factor from one layer to
            the next.
        correlation: Float, Pearson's `r` of `log D_l` and `l`; NaN of two
            layers, through which there is a line always.
    """

    slope: float
    decay_ratio: float
    correlation: float


def separation_law(separations: Iterable[float]) -> SeparationLaw:
    """Fits the law of data separation, `D_l = rho^l D_0`.

    Args:
        separations: The separation fuzziness `D_l` of one layer after the
            other.

    Returns:
        A `SeparationLaw`; of NaN where there are fewer than two layers, or
        where some `D_l` has no logarithm.

    Example:

    >>> from nc_keras.layerwise import separation_law
    >>> law = separation_law([8.0, 4.0, 2.0, 1.0])
    >>> print(round(law.decay_ratio, 6), round(law.correlation, 6))
    0.5 -1.0
    """
    values = np.asarray(list(separations), "float64")
    if len(values) < 2 or not (np.isfinite(values) & (values > 0)).all():
        return SeparationLaw(float("nan"), float("nan"), float("nan"))
    depth = np.arange(len(values)) - (len(values) - 1) / 2
    logs = np.log(values)
    logs = logs - logs.mean()
    slope = depth @ logs / (depth @ depth)
    size = np.sqrt((depth @ depth) * (logs @ logs))
    is_fit = size and len(values) > 2
    correlation = depth @ logs / size if is_fit else np.nan
    return SeparationLaw(float(slope), float(np.exp(slope)), float(correlation))
