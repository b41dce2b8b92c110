"""Last-layer features on the plane of the class means."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from nc_keras.measuring.extractor import FeatureExtractor
from nc_keras.measuring.validation import names_of
from nc_keras.plot.matrices import measured
from nc_keras.plot.plane import Plane
from nc_keras.plot.plane import nearest_etf
from nc_keras.plot.style import INK
from nc_keras.plot.style import axes_of
from nc_keras.plot.style import legend_below
from nc_keras.plot.style import look
from nc_keras.plot.style import styled

_NAMED = 14  # classes, up to which they are in the legend
_ETF = "#7f7f7f"


def features(
    model: keras.Model | FeatureExtractor,
    x: Any,
    y: Any = None,
    *,
    dims: int = 2,
    class_names: Iterable[str] | None = None,
    head: Any = None,
    layer: Any = None,
    most: int = 2000,
    title: str = "",
    ax: Axes | None = None,
) -> Figure:
    """Draws the last-layer features on the plane of their class means.

    Small points are examples, large ones class means, lines end at the rows
    of the head, and dashed rays are the simplex ETF nearest to the class
    means. At collapse each class is a point at the end of its line and ray.
    Of three classes the plane holds all of the class means (of four the space
    of `dims=3`); of more it is the one in which they differ most.

    Example:

    >>> x, y = np.random.default_rng(0).normal(size=(60, 4)), np.arange(60) % 3
    >>> model = nc_keras.models.MLP((4,), 3, widths=(8,))
    >>> figure = nc_keras.plot.features(model, x, y)
    >>> len(figure.axes[0].collections[0].get_offsets())
    20

    Args:
        model: A built `keras.Model`, or a `FeatureExtractor`.
        x: Examples, as in `nc_keras.measure`.
        y: Their labels.
        dims: Integer, 2 or 3.
        class_names: Strings, one per class; or `None` for numbers.
        head: As in `nc_keras.measure`.
        layer: Another layer than the head's input, the `features` of
            `nc_keras.measure`.
        most: Integer, how many examples are drawn, evenly spread over them;
            class means are those of all. Defaults to 2000.
        title: String, above the axes.
        ax: Matplotlib axes (of three dimensions for `dims=3`), or `None` for
            a new figure.

    Returns:
        The `matplotlib.figure.Figure`.

    Raises:
        ValueError: If the means span fewer dimensions than `dims`, or as
            `nc_keras.measure`.

    Features are centred at the mean of the class means. The head's rows are
    scaled as a whole to the size of the class means, as NC3 does. Points are
    pixels in PDF and SVG, so that a file of many stays small.
    """
    if dims not in (2, 3):
        raise ValueError(f"`dims` must be 2 or 3. Received: dims={dims!r}.")
    found = measured(model, x, y, head=head, features=layer)
    means = found.centered_means
    plane = Plane.of(means, dims)
    names = names_of(class_names, len(means))
    options = {"projection": "3d"} if dims == 3 else {}
    step = max(1, -(-len(found.features) // most))
    points = plane.project(found.features[::step] - found.center)
    with styled():
        figure, axis = axes_of(ax, 4.6, 4.8, **options)
        draw_points(axis, points, found.labels[::step], len(names))
        etf = nearest_etf(means)
        if etf is not None:
            draw_rays(axis, plane.project(etf))
        if found.head is not None:
            draw_head(axis, plane.project(scaled(found.head, means)))
        draw_means(axis, plane.project(means))
        _finish(axis, dims, title)
        entries = legend_entries(names, etf is not None, found.head is not None)
        if ax is None:
            legend_below(figure, entries)
    return figure


def scaled(head: np.ndarray, means: np.ndarray) -> np.ndarray:
    """The head's rows, at the size that the class means have as a whole.

    Args:
        head: `(C, D)`.
        means: `(C, D)`, centred, with NaN for a class that has none.
    """
    size = np.sqrt(np.nansum(means**2) / max((head**2).sum(), 1e-300))
    return head * size


def draw_points(
    axis: Axes, points: np.ndarray, labels: np.ndarray, count: int
) -> None:
    """Draws examples, one collection of points for each class.

    Args:
        axis: The axes, of as many dimensions as the points.
        points: `(n, dims)`.
        labels: `(n,)`.
        count: Integer, the number of classes.
    """
    options: dict[str, Any] = {"s": 7, "alpha": 0.45, "lw": 0, "zorder": 2}
    if points.shape[1] == 3:
        # In space, points far away would be pale, and their class unclear.
        options["depthshade"] = False
    for number in range(count):
        places = points[labels == number].T
        color = look(number)[0]
        axis.scatter(*places, color=color, rasterized=True, **options)


def draw_means(axis: Axes, means: np.ndarray) -> None:
    """Draws class means, with the marker of their class.

    Args:
        axis: The axes.
        means: `(C, dims)`.
    """
    for number, mean in enumerate(means):
        color, marker = look(number)
        axis.plot(
            *mean[:, None],
            marker,
            color=color,
            ms=8,
            mec="white",
            mew=1,
            zorder=5,
        )


def draw_head(axis: Axes, rows: np.ndarray) -> None:
    """Draws the head's rows as lines from the centre, in their colours.

    Args:
        axis: The axes.
        rows: `(C, dims)`.
    """
    for number, row in enumerate(rows):
        ends = np.stack([np.zeros_like(row), row])
        axis.plot(*ends.T, color=look(number)[0], lw=1.6, zorder=4)


def draw_rays(axis: Axes, etf: np.ndarray, length: float = 1.18) -> None:
    """Draws the directions of a simplex ETF as dashed rays.

    Args:
        axis: The axes.
        etf: `(C, dims)`.
        length: Float, of a ray, in lengths of the rows.
    """
    for row in etf:
        ends = np.stack([np.zeros_like(row), length * row])
        axis.plot(*ends.T, color=_ETF, lw=1, ls="--", zorder=3)


def legend_entries(
    names: list[str], has_etf: bool, has_head: bool
) -> dict[str, Line2D]:
    """What the marks mean, and which class is which.

    Args:
        names: The names of the classes; of many they are left out.
        has_etf: Boolean.
        has_head: Boolean.
    """
    entries = {}
    if len(names) <= _NAMED:
        for number, name in enumerate(names):
            color, marker = look(number)
            entries[name] = Line2D([], [], color=color, marker=marker, ls="")
    entries["class mean"] = Line2D(
        *([], []), color=INK, marker="o", ms=7, mec="white", ls=""
    )
    if has_head:
        entries["head's row"] = Line2D([], [], color=INK, lw=1.6)
    if has_etf:
        entries["simplex ETF"] = Line2D([], [], color=_ETF, ls="--", lw=1)
    return entries


def _finish(axis, dims, title):
    if dims == 2:
        axis.set_aspect("equal", "datalim")
        axis.set_xlabel("first direction of the class means")
        axis.set_ylabel("second direction")
    else:
        axis.set_aspect("equal")
        axis.set(xlabel="first", ylabel="second", zlabel="third direction")
        axis.tick_params(labelsize=7)
        axis.view_init(elev=22, azim=35)
    axis.grid(True)
    axis.set_axisbelow(True)
    if title:
        axis.set_title(title, loc="left")
