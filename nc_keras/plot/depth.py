"""Metrics over the depth of a network."""

from __future__ import annotations

import math
from collections.abc import Iterable
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from nc_keras.layerwise import SEPARATION
from nc_keras.layerwise import Layerwise
from nc_keras.plot.grid import finish
from nc_keras.plot.grid import panels_of
from nc_keras.plot.lines import readable_log
from nc_keras.plot.style import INK
from nc_keras.plot.style import look
from nc_keras.plot.style import styled
from nc_keras.plot.titles import metric_of
from nc_keras.plot.titles import title_of

# What is drawn where it is not said.
DEFAULT = (SEPARATION, "nc1", "ncc_accuracy")


def layers(
    result: Layerwise | Mapping[str, Layerwise],
    metrics: str | Iterable[str] | None = None,
    *,
    columns: int = 3,
    title: str = "",
    ax: Axes | None = None,
) -> Figure:
    """Draws metrics over the layers of a network, from the first to the last.

    The dashed line in the panel of `separation` is the law of data
    separation: from layer to layer by the same factor.

    Example:

    >>> model = nc_keras.models.MLP((4,), 3, widths=(16, 8))
    >>> x, y = np.random.default_rng(0).normal(size=(60, 4)), np.arange(60) % 3
    >>> result = nc_keras.layerwise(model, x, y)
    >>> figure = nc_keras.plot.layers(result)
    >>> len(figure.axes)
    3

    Args:
        result: What `nc_keras.layerwise` returns, or a dictionary from names
            to such results, of networks of the same depth, or of training and
            test data.
        metrics: Tags, or `None` for `separation`, `nc1` and `ncc_accuracy`,
            of those that were measured.
        columns: Integer, how many panels are side by side.
        title: String, above the figure.
        ax: Matplotlib axes to draw one metric in, or `None` for a new figure.

    Returns:
        The `matplotlib.figure.Figure`.

    Raises:
        ValueError: If a metric was not measured, or `ax` is given for more
            than one.
    """
    results = _results(result)
    tags = _tags(metrics, results)
    with styled():
        figure, axes = panels_of(tags, ax, columns, (3.1, 2.5), (0.3, 0.8))
        for axis, tag in zip(axes, tags, strict=True):
            _panel(axis, tag, results)
        entries = _entries(results, SEPARATION in tags)
        finish(figure, entries, title, ax)
    return figure


def _results(result):
    if isinstance(result, Layerwise):
        return {"": result}
    is_named = isinstance(result, Mapping) and result
    if not is_named or not all(
        isinstance(one, Layerwise) for one in result.values()
    ):
        raise ValueError(
            "Pass what `nc_keras.layerwise` returns, or a dictionary from "
            "names to such results. "
            f"Received: result of type {type(result).__name__}."
        )
    return {str(name): one for name, one in result.items()}


def _tags(metrics, results):
    there = set.intersection(
        *(
            {t for t, v in values.items() if not np.ndim(v)}
            for result in results.values()
            for values in result.values()
        )
    )
    if metrics is None:
        tags = [t for t in DEFAULT if t in there] or sorted(there)
    else:
        tags = [metrics] if isinstance(metrics, str) else list(metrics)
    lacking = [tag for tag in tags if tag not in there]
    if lacking or not tags:
        raise ValueError(
            f"The layers have no values of {', '.join(lacking) or 'these'}. "
            f"They have: {', '.join(sorted(there))}. "
            f"Received: metrics={metrics!r}."
        )
    return tags


def _panel(axis, tag, results):
    metric = metric_of(tag)
    positive = True
    for number, result in enumerate(results.values()):
        color, marker = look(number)
        values = result.column(tag)
        depth = np.arange(1, len(values) + 1)
        axis.plot(depth, values, color=color, marker=marker, ms=4, lw=1.5)
        positive &= bool((values > 0).all())
        if tag == SEPARATION and result.law is not None:
            _draw_law(axis, depth, values, result.law, color)
    if metric is not None and metric.scale == "log" and positive:
        axis.set_yscale("log")
        readable_log(axis)
    names = max(results.values(), key=len)
    is_long = sum(map(len, names)) > 24
    axis.set_xticks(
        range(1, len(names) + 1),
        list(names),
        rotation=40 if is_long else 0,
        ha="right" if is_long else "center",
        rotation_mode="anchor" if is_long else None,
    )
    axis.set_title(title_of(tag, 38), loc="left")
    axis.grid(True)
    axis.set_axisbelow(True)


def _draw_law(axis, depth, values, law, color):
    """The line whose slope the law has, through the mean of the logarithms."""
    if not math.isfinite(law.slope):
        return
    middle = np.log(values).mean()
    line = np.exp(middle + law.slope * (depth - depth.mean()))
    axis.plot(depth, line, color=color, ls="--", lw=1)


def _entries(results, has_law) -> dict[str, Any]:
    entries = {}
    if len(results) > 1:
        for number, name in enumerate(results):
            color, marker = look(number)
            entries[name] = Line2D([], [], color=color, marker=marker, ms=4)
    laws = [one.law for one in results.values() if one.law is not None]
    if has_law and any(math.isfinite(law.slope) for law in laws):
        label = "law of data separation"
        if len(laws) == 1 and math.isfinite(laws[0].correlation):
            label += (
                f": × {laws[0].decay_ratio:.2g} a layer, "
                f"r = {laws[0].correlation:.2f}"
            ).replace("-", "−")
        color = INK if len(results) > 1 else look(0)[0]
        entries[label] = Line2D([], [], color=color, ls="--", lw=1)
    return entries
