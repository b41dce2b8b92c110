"""Singular values: of the head, of class means, of what is within classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from nc_keras.blas import one_thread
from nc_keras.plot.lines import readable_log
from nc_keras.plot.matrices import measured
from nc_keras.plot.matrices import rows_of
from nc_keras.plot.style import INK
from nc_keras.plot.style import axes_of
from nc_keras.plot.style import legend_below
from nc_keras.plot.style import look
from nc_keras.plot.style import styled

_SMALLEST = 1e-8  # share of the largest, below which values are not drawn


def spectrum(
    what: Any,
    x: Any = None,
    y: Any = None,
    *,
    head: Any = None,
    features: Any = None,
    title: str = "",
    ax: Axes | None = None,
) -> Figure:
    """Draws singular values, largest first, as shares of the largest.

    Of a model with data they are those of its head's rows, of the centred
    class means, and of the features minus their class mean, the last in
    shares of the class means' largest. At collapse head and class means have
    C - 1 equal ones, which the dotted line counts, and the features within a
    class have none.

    Example:

    >>> model = nc_keras.models.MLP((4,), 3, widths=(8,))
    >>> weights = nc_keras.weights.weights_of(model)
    >>> figure = nc_keras.plot.spectrum({w.name: w.matrix for w in weights})
    >>> len(figure.axes[0].lines)
    2

    Args:
        what: A built model, a layer with a kernel, or a matrix; or a
            dictionary from names to matrices.
        x: Examples, as in `nc_keras.measure`, or `None` for the head alone.
        y: Their labels.
        head: As in `nc_keras.measure`.
        features: As in `nc_keras.measure`.
        title: String, above the axes.
        ax: Matplotlib axes, or `None` for a new figure.

    Returns:
        The `matplotlib.figure.Figure`.

    Raises:
        ValueError: If `what` is none of these.

    Ranks over the epochs, as `WeightSpectrum` puts them into `logs`, are
    curves: `nc_keras.plot.curves(history, ["rank", "stable_rank"])`.
    """
    classes = None
    if x is not None:
        found = measured(what, x, y, head=head, features=features)
        there = np.isfinite(found.means).all(axis=1)
        classes = int(there.sum())
        if classes < 2:
            raise ValueError(
                "Examples of two classes at least are needed. Received: "
                f"examples of {classes}."
            )
        lines = _of_features(found, there)
    elif isinstance(what, Mapping):
        lines = {
            str(name): _relative(_values(rows_of(one, least=1)[0]))
            for name, one in what.items()
        }
    else:
        rows, subject = rows_of(what, head)
        lines = {subject: _relative(_values(rows))}
    with styled():
        figure, axis = axes_of(ax, 5.4, 3.4)
        drawn: list[Line2D] = []
        for number, (name, values) in enumerate(lines.items()):
            color, marker = look(number)
            shown = values[values > _SMALLEST]
            drawn += axis.plot(
                np.arange(1, len(shown) + 1),
                shown,
                color=color,
                marker=marker,
                ms=3.5,
                lw=1,
                label=name,
            )
        if classes is not None:
            axis.axvline(classes - 1, color=INK, lw=1.2, ls=":")
            axis.text(
                classes - 1,
                1.01,
                " C − 1",
                transform=axis.get_xaxis_transform(),
                ha="center",
                va="bottom",
            )
        axis.set_xscale("log")
        axis.xaxis.set_major_formatter("{x:g}")
        axis.set_yscale("log")
        readable_log(axis)
        axis.set_xlabel("number of the singular value")
        axis.set_ylabel("share of the largest")
        axis.grid(True)
        axis.set_axisbelow(True)
        if title:
            axis.set_title(title, loc="left")
        if ax is None:
            legend_below(figure, dict(zip(lines, drawn, strict=True)))
        else:
            axis.legend()
    return figure


def _of_features(found, there):
    means = found.means[there]
    of_means = _values(means - means.mean(axis=0))[: len(means) - 1]
    within = found.features - found.means[found.labels]
    lines = {}
    if found.head is not None:
        lines["head's rows"] = _relative(_values(found.head))
    lines["centred class means"] = _relative(of_means)
    # Per example, as the means are per class: then the sizes compare.
    within_values = _values(within) / np.sqrt(len(within) / len(means))
    lines["features within classes"] = within_values / of_means[0]
    return lines


def _values(matrix):
    with one_thread():
        return np.linalg.svd(matrix, compute_uv=False)


def _relative(values):
    return values / values[0] if len(values) and values[0] else values
