"""The cosines between the classes, as a heatmap."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.colors import Normalize
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure

from nc_keras import geometry
from nc_keras.measuring.validation import names_of
from nc_keras.plot.matrices import measured
from nc_keras.plot.matrices import rows_of
from nc_keras.plot.style import INK
from nc_keras.plot.style import axes_of
from nc_keras.plot.style import styled
from nc_keras.shades import ABOVE
from nc_keras.shades import BELOW
from nc_keras.shades import UNDEFINED

_NUMBERS = 12  # classes, up to which cells have their value
_TICKS = 30  # classes, up to which each has its name
_DARK = 0.55  # of full colour, from which text is white


def cosines(
    what: Any,
    x: Any = None,
    y: Any = None,
    *,
    class_names: Iterable[str] | None = None,
    head: Any = None,
    features: Any = None,
    title: str | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Draws the cosines between class means, or between the head's rows.

    White is `-1 / (C - 1)`, the cosine of a simplex ETF: at collapse all is
    white but for the diagonal. Red pairs are closer than that, blue ones
    farther apart.

    Example:

    >>> model = nc_keras.models.MLP((4,), 3, widths=(8,))
    >>> figure = nc_keras.plot.cosines(model, class_names=["a", "b", "c"])
    >>> [text.get_text() for text in figure.axes[0].get_xticklabels()]
    ['a', 'b', 'c']

    Args:
        what: A built model, for the rows of its head, or, with data, for the
            centred class means of its features; a layer with a kernel, for
            its rows; or an array with a row for each class, such as class
            means minus their mean.
        x: Examples, as in `nc_keras.measure`, or `None`.
        y: Their labels.
        class_names: Strings, one per class; or `None` for numbers.
        head: As in `nc_keras.measure`.
        features: As in `nc_keras.measure`.
        title: String, or `None` for what the rows are.
        ax: Matplotlib axes, or `None` for a new figure.

    Returns:
        The `matplotlib.figure.Figure`.

    Raises:
        ValueError: If `what` is none of these, or the names do not fit.

    Rows of length zero, and classes without examples, have no direction and
    are grey. Of more than 30 classes some names are left out, of more than
    twelve the numbers.
    """
    if x is not None:
        found = measured(what, x, y, head=head, features=features)
        rows, subject = found.centered_means, "centred class means"
    else:
        rows, subject = rows_of(what, head)
    names = names_of(class_names, len(rows))
    count = len(rows)
    values = _cosines(rows)
    # The means are centred over the classes that have examples.
    there = max(2, int(np.isfinite(rows).all(axis=1).sum()))
    side = 2.6 + min(count, 2 * _NUMBERS) * 0.14
    with styled():
        figure, axis = axes_of(ax, side + 1.2, side)
        image = axis.imshow(
            np.ma.masked_invalid(values), cmap=_colors(), norm=_norm(there)
        )
        _name_classes(axis, names)
        if count <= _NUMBERS:
            _write_numbers(axis, values, there)
        if title is None:
            title = f"cosines of the {subject}"
        axis.set_title(title, loc="left")
        _color_bar(figure, axis, image, there)
    return figure


def _cosines(rows):
    """NaN for a row that is zero or that no example made."""
    there = np.isfinite(rows).all(axis=1)
    values = np.full((len(rows), len(rows)), np.nan)
    values[np.ix_(there, there)] = geometry.cosines(rows[there])
    return values


def _colors():
    parts = [BELOW / 255, np.ones(3), ABOVE / 255]
    if_undefined = [*(UNDEFINED / 255), 1]
    colors = LinearSegmentedColormap.from_list("cosines", parts)
    return colors.with_extremes(bad=if_undefined)


def _norm(count):
    simplex = -1 / (count - 1)
    if count == 2:  # White is at the end: nothing is below -1.
        return Normalize(-3, 1)
    return TwoSlopeNorm(simplex, -1, 1)


def _name_classes(axis, names):
    every = -(-len(names) // _TICKS)
    places = range(0, len(names), every)
    shown = names[::every]
    is_long = max(map(len, shown)) > 2
    axis.set_xticks(places, shown, rotation=90 if is_long else 0)
    axis.set_yticks(places, shown)
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    axis.set_xlabel("class")
    axis.set_ylabel("class")


def _write_numbers(axis, values, count):
    simplex = -1 / (count - 1)
    size = 8 if len(values) <= 6 else 6.5
    for (row, column), value in np.ndenumerate(values):
        if np.isnan(value):
            continue
        side = 1 - simplex if value > simplex else 1 + simplex
        is_dark = abs(value - simplex) > _DARK * max(side, 1e-9)
        axis.text(
            column,
            row,
            _written(value),
            ha="center",
            va="center",
            fontsize=size,
            color="white" if is_dark else INK,
        )


def _written(value):
    """Two digits, without the zero before them, and no −.00."""
    text = f"{value:.2f}".replace("0.", ".").replace("-", "−")
    return text.removeprefix("−") if text == "−.00" else text


def _color_bar(figure, axis, image, count):
    simplex = -1 / (count - 1)
    bar = figure.colorbar(image, ax=axis, shrink=0.85)
    bar.ax.set_ylim(-1, 1)
    ticks = [t for t in (-1.0, -0.5, 0.5, 1.0) if abs(t - simplex) > 0.2]
    labels = [f"{tick:g}".replace("-", "−") for tick in ticks]
    at_simplex = f"{simplex:.2g}".replace("-", "−") + " (ETF)"
    bar.set_ticks([*ticks, simplex], labels=[*labels, at_simplex])
    bar.ax.minorticks_off()
    bar.outline.set_visible(False)
    bar.ax.set_title("cosine", loc="left")
