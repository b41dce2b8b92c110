"""What figures call a metric: what it says of itself, set for print."""

from __future__ import annotations

import textwrap

from nc_keras.measuring.registry import METRICS
from nc_keras.measuring.registry import Metric

_WIDTH = 31  # letters of a line above a panel
_PARTS = {"_means": "class means", "_weights": "head's rows"}
# How titles, which TensorBoard shows as they are, are set in a figure.
_SET = {
    " ||^": "‖^",
    "||": "‖",
    "Sw": "$Σ_W$",
    "Sb+": "$Σ_B^+$",
    "Sb": "$Σ_B$",
    "^2": "²",
    " - ": " − ",
    "-1": "−1",
}


def metric_of(key: str) -> Metric | None:
    """The metric that a key of `logs` is of, or `None`.

    Args:
        key: String; that of the accuracy is `"nc_accuracy"`.
    """
    return METRICS.get("accuracy" if key == "nc_accuracy" else key)


def title_of(key: str, width: int = _WIDTH) -> str:
    """The title of the panel of a key of `logs`.

    Args:
        key: String.
        width: Integer, the letters of a line.

    Example:

    >>> from nc_keras.plot.titles import title_of
    >>> title_of("nc2_equiangular_weights")
    "NC2, head's rows\\nequiangular: std of cosines"
    """
    metric = metric_of(key)
    if metric is None:
        return key
    title = metric.title
    for plain, typeset in _SET.items():
        title = title.replace(plain, typeset)
    if "$" not in title:
        title = textwrap.fill(title, width)
    if metric.group not in ("NC1", "NC2", "NC3", "NC4"):
        return title
    parts = [part for end, part in _PARTS.items() if key.endswith(end)]
    return f"{', '.join([metric.group, *parts])}\n{title}"
