"""ROC curves: how scores tell examples from those out of distribution."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nc_keras.metrics.roc import auroc
from nc_keras.metrics.roc import curve
from nc_keras.plot.style import INK
from nc_keras.plot.style import axes_of
from nc_keras.plot.style import legend_below
from nc_keras.plot.style import look
from nc_keras.plot.style import styled
from nc_keras.report_table import Report


def roc(
    what: Report | Mapping[str, tuple[Any, Any]],
    *,
    title: str = "",
    ax: Axes | None = None,
) -> Figure:
    """Draws the ROC curve of each score, with the area below it.

    Example:

    >>> scores = {"mine": ([0.9, 0.5], [0.6, 0.1])}
    >>> figure = nc_keras.plot.roc(scores)
    >>> figure.axes[0].lines[0].get_label()
    'mine, 0.750'

    Args:
        what: What `nc_keras.report(..., ood=)` returned; or a dictionary from
            names to two arrays, the scores of known and of
            out-of-distribution examples.
        title: String, above the axes.
        ax: Matplotlib axes, or `None` for a new figure.

    Returns:
        The `matplotlib.figure.Figure`.

    Raises:
        ValueError: If there is no score.
    """
    pairs = what.ood_scores if isinstance(what, Report) else what
    if not isinstance(pairs, Mapping) or not pairs:
        raise ValueError(
            "There are no scores. Make the report with `ood=`, or pass a "
            "dictionary of two arrays for each name. "
            f"Received: {type(what).__name__}."
        )
    with styled():
        figure, axis = axes_of(ax, 4.6, 4.2)
        drawn = {}
        for number, (name, pair) in enumerate(pairs.items()):
            label = f"{name}, {auroc(*pair):.3f}"
            color, _ = look(number)
            (drawn[label],) = axis.plot(*curve(*pair), color=color, label=label)
        axis.plot([0, 1], [0, 1], color=INK, lw=0.8, ls=":")
        axis.set_xlabel("share of OOD examples that pass")
        axis.set_ylabel("share of known examples that pass")
        axis.set_aspect("equal")
        axis.grid(True)
        axis.set_axisbelow(True)
        if title:
            axis.set_title(title, loc="left")
        if ax is None:
            legend_below(figure, drawn)
        else:
            axis.legend()
    return figure
