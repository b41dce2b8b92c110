"""One look of all figures: of `nc_keras.plot` and of the recipes' reports."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Okabe and Ito's colours for every kind of sight, less the pale yellow; each
# has a contrast of at least three to one or a marker of its own.
COLORS = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#e69f00",
    "#56b4e9",
    "#7f7f7f",
)
MARKERS = "os^Dv*X"
INK, GRID = "#1a1b1c", "#c4c5c6"
# How much of its colour a band over seeds has.
BAND = 0.18
STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
}


@contextlib.contextmanager
def styled() -> Iterator[None]:
    """Draws in our style, and leaves the user's settings as they were.

    Example:

    >>> from nc_keras.plot.style import new_figure, styled
    >>> with styled():
    ...     figure = new_figure(4, 3)
    >>> [float(size) for size in figure.get_size_inches()]
    [4.0, 3.0]
    """
    with matplotlib.rc_context(STYLE):
        yield


def look(number: int) -> tuple[str, str]:
    """The colour and the marker of a line, by its place.

    Args:
        number: Integer, the place.
    """
    return COLORS[number % len(COLORS)], MARKERS[number % len(MARKERS)]


def new_figure(width: float, height: float) -> Figure:
    """A figure that pyplot does not know, so that nobody has to close it.

    Args:
        width: Float, inches.
        height: Float, inches.
    """
    return Figure(figsize=(width, height), layout="constrained")


def axes_of(
    ax: Axes | None, width: float, height: float, **options: Any
) -> tuple[Figure, Axes]:
    """The axes that is drawn in, and its figure.

    Args:
        ax: Axes of the user's, or `None` for a figure of its own.
        width: Float, inches of the new figure.
        height: Float, inches.
        **options: Arguments of `add_subplot`, such as `projection`.
    """
    if ax is None:
        figure = new_figure(width, height)
        return figure, figure.add_subplot(**options)
    owner: Any = ax.get_figure(root=True)
    return owner, ax


def legend_below(
    figure: Figure, entries: Mapping[str, Any], columns: int | None = None
) -> Any:
    """Draws a legend under all axes, where it covers no data.

    Args:
        figure: The figure.
        entries: The artist of each label.
        columns: Integer, or `None` for as many as fit.
    """
    return figure.legend(
        entries.values(),
        entries.keys(),
        loc="outside lower center",
        ncols=columns or columns_of(entries, figure.get_figwidth()),
    )


def columns_of(labels: Iterable[str], width: float) -> int:
    """How many columns of a legend fit a width in inches; 9-point letters."""
    labels = list(labels)
    widest = 0.75 + 0.075 * max(map(len, labels))
    return max(1, min(len(labels), int(width / widest)))
