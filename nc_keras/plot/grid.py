"""Figures of several metrics: a panel each, and one legend."""

from __future__ import annotations

import math
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nc_keras.plot.style import axes_of
from nc_keras.plot.style import legend_below
from nc_keras.plot.style import new_figure


def panels_of(
    keys: Sequence[str],
    ax: Axes | None,
    columns: int,
    panel: tuple[float, float],
    margin: tuple[float, float],
) -> tuple[Figure, list[Axes]]:
    """Returns a figure, and axes for each metric.

    Args:
        keys: Strings, the metrics.
        ax: Axes of the user's, for one metric, or `None`.
        columns: Integer, how many panels are at most side by side.
        panel: Width and height of a panel in inches.
        margin: What the figure has beside them.

    Raises:
        ValueError: If several metrics are to go into one axes.
    """
    if ax is not None:
        if len(keys) != 1:
            raise ValueError(
                "In one axes one metric is drawn. Choose it by `metrics`, or "
                f"leave `ax` out. Received: ax, and {len(keys)} metrics: "
                f"{', '.join(keys)}."
            )
        figure, axis = axes_of(ax, *panel)
        return figure, [axis]
    columns = min(columns, len(keys))
    rows = math.ceil(len(keys) / columns)
    width, height = panel
    figure = new_figure(margin[0] + width * columns, margin[1] + height * rows)
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for spare in axes[len(keys) :]:
        spare.remove()
    return figure, axes[: len(keys)]


def finish(
    figure: Figure, entries: Mapping[str, Any], title: str, ax: Axes | None
) -> None:
    """Draws legend and title.

    Args:
        figure: The figure.
        entries: The artist of each label; if there is none, no legend.
        title: String, or empty for none.
        ax: Axes of the user's, which then has the legend inside.
    """
    if ax is not None and entries:
        ax.legend(entries.values(), entries.keys())
    elif entries:
        legend_below(figure, entries)
    if title:
        figure.suptitle(title)
