"""The papers' figures 2 to 8 for a comparison of heads and losses.

One column a loss, one colour a head. A line is the mean over the seeds, its
band the spread that the record asks for (by default from the smallest to the
largest seed), and a dotted upright line marks where the training error had
vanished, on average over the seeds.
"""

import io
import math
import pathlib
from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from PIL import Image

from nc_keras.experiments.results.curves import curve
from nc_keras.experiments.results.panels import MEANS
from nc_keras.experiments.results.panels import TEST
from nc_keras.experiments.results.panels import TRAIN
from nc_keras.experiments.results.panels import WEIGHTS
from nc_keras.experiments.results.panels import panels_of
from nc_keras.experiments.results.summary import by_loss
from nc_keras.experiments.results.summary import spread_of
from nc_keras.plot.lines import draw
from nc_keras.plot.lines import epochs_axis
from nc_keras.plot.lines import log_scale
from nc_keras.plot.lines import readable_log
from nc_keras.plot.spread import SPREADS
from nc_keras.plot.style import BAND
from nc_keras.plot.style import INK
from nc_keras.plot.style import legend_below
from nc_keras.plot.style import look
from nc_keras.plot.style import new_figure
from nc_keras.plot.style import styled
from nc_keras.writers.files import replace_atomically

_STYLES = {MEANS: "-", WEIGHTS: "--", TRAIN: "-", TEST: "--"}


def plot_figures(record: Mapping[str, Any]) -> dict[str, Figure]:
    """Draws each of the papers' figures, a column a loss.

    Args:
        record: The content of a comparison's `results.json`.

    Returns:
        For the name of each of `panels_of` that the record has values for, a
        figure. What belongs to one head has the gid `"head:<head>"`.
    """
    losses = by_loss(record)
    spread = spread_of(record)
    colors = _colors(losses)
    figures = {}
    with styled():
        for panel in panels_of(record):
            if not _has_values(panel, losses):
                continue
            parts = [{part: key} for part, key in panel.lines.items()]
            figure = _figure(3.5, 2.35, len(parts), len(losses))
            axes = figure.subplots(
                len(parts), len(losses), sharex=True, sharey=True, squeeze=False
            )
            for row, lines in zip(axes, parts, strict=True):
                _draw_row(row, panel, lines, losses, colors, spread)
                (part,) = lines
                row[0].set_ylabel(f"{panel.label}\n{part}".strip())
            _name_columns(axes, losses)
            _legend(figure, colors, losses, spread)
            figures[panel.name] = figure
    return figures


def plot_comparison(
    path: str | pathlib.Path, record: Mapping[str, Any]
) -> None:
    """Draws all figures of a comparison into one PNG file.

    Args:
        path: The PNG file; one that exists is replaced.
        record: The content of a comparison's `results.json`.
    """
    buffer = io.BytesIO()
    overview(record).savefig(buffer, format="png", dpi=100)
    # A palette halves the file, and a drawing has few colours.
    picture = Image.open(buffer).convert("RGB").quantize(128)
    replace_atomically(path, lambda path: picture.save(path, optimize=True))


def overview(record: Mapping[str, Any]) -> Figure:
    """Draws all figures of a comparison into one.

    Args:
        record: The content of a comparison's `results.json`.
    """
    losses = by_loss(record)
    spread = spread_of(record)
    colors = _colors(losses)
    panels = [
        panel for panel in panels_of(record) if _has_values(panel, losses)
    ]
    if not panels:
        return _without_values(record)
    # Of one loss, three panels a row; of several, a column each.
    columns = min(3, len(panels)) if len(losses) == 1 else len(losses)
    cells = len(panels) * len(losses)
    with styled():
        rows = math.ceil(cells / columns)
        figure = _figure(3.7, 2.1, rows, columns)
        axes = figure.subplots(rows, columns, squeeze=False)
        flat = list(axes.flat)
        for spare in flat[cells:]:
            spare.remove()
        for number, panel in enumerate(panels):
            start = number * len(losses)
            row = flat[start : start + len(losses)]
            for axis in row[1:]:
                axis.sharey(row[0])
            _draw_row(row, panel, panel.lines, losses, colors, spread)
            row[0].set_ylabel(panel.label)
            row[0].set_title(panel.heading, loc="left")
        lowest = max(0, cells - columns)
        for number, axis in enumerate(flat[:cells]):
            axis.set_xlabel("epoch" if number >= lowest else "")
            axis.tick_params(labelbottom=number >= lowest, which="both")
        if len(losses) > 1:
            for axis, loss in zip(axes[0], losses, strict=True):
                axis.set_title(loss, loc="right", weight="bold")
        figure.suptitle(record["title"])
        parts = [part for one in panels for part in one.lines if part]
        _legend(figure, colors, losses, spread, dict.fromkeys(parts))
    return figure


def _without_values(record):
    """What is drawn of runs that all failed."""
    with styled():
        figure = _figure(3.7, 2.1, 1, 1)
        figure.suptitle(record["title"])
        figure.text(0.5, 0.5, "No run has values to draw.", ha="center")
    return figure


def _figure(width, height, rows, columns):
    return new_figure(0.3 + width * columns, 0.9 + height * rows)


def _name_columns(axes, losses):
    for axis in axes[-1]:
        axis.set_xlabel("epoch")
    for axis, loss in zip(axes[0], losses, strict=True):
        axis.set_title(loss)


def _colors(losses):
    """For each head, its colour and marker, the same in every panel."""
    heads = dict.fromkeys(head for groups in losses.values() for head in groups)
    return {head: look(number) for number, head in enumerate(heads)}


def _has_values(panel, losses):
    return any(
        curve(group, key)
        for groups in losses.values()
        for group in groups.values()
        for key in panel.lines.values()
    )


def _draw_row(row, panel, lines, losses, colors, spread):
    """Draws the panels of the losses, which share their vertical axis."""
    drawn = []
    for axis, groups in zip(row, losses.values(), strict=True):
        for head, group in groups.items():
            _mark_zero_error(axis, group, colors[head][0])
            for part, key in lines.items():
                line = curve(group, key, panel.transform, spread)
                if line is not None:
                    style = _STYLES[part] if len(lines) > 1 else "-"
                    color, marker = colors[head]
                    draw(axis, line, color, marker, style, f"head:{head}")
                    drawn.append(line)
        epochs_axis(axis)
    _scale(row[0], panel, drawn)
    for axis in row[1:]:
        axis.tick_params(labelleft=False, which="both")
        scale = log_scale(drawn) if panel.scale == "log" else None
        axis.set_yscale(**(scale or {"value": "linear"}))
        axis.set_ylim(row[0].get_ylim())
    if row[0].get_yscale() == "log":
        readable_log(row[0])


def _mark_zero_error(axis, group, color):
    epochs = [run["terminal_epoch"] for run in group.reached]
    if epochs:
        mean = sum(epochs) / len(epochs)
        axis.axvline(
            mean, color=color, lw=1.2, ls=":", gid=f"head:{group.head}"
        )


def _scale(axis, panel, curves):
    """Sets the vertical axis; zeros stay visible on one that is logarithmic."""
    scale = log_scale(curves) if panel.scale == "log" else None
    if scale is not None:
        axis.set_yscale(**scale)
        if scale["value"] == "symlog":
            axis.set_ylim(bottom=0)
    elif panel.name == "test_accuracy":
        late = [v for c in curves for v in c.low[len(c.low) // 2 :]]
        high = max(v for c in curves for v in c.high)
        margin = 0.06 * (high - min(late)) or 0.5
        axis.set_ylim(min(late) - margin, min(high + margin, 100.5))
    elif panel.scale != "free":
        axis.set_ylim(bottom=0)


def _legend(figure, colors, losses, spread, parts=()):
    entries = {
        head: Line2D([], [], color=color, marker=marker, ms=4)
        for head, (color, marker) in colors.items()
    }
    marks = {}
    for part in parts:
        marks[part] = Line2D([], [], color=INK, ls=_STYLES[part], lw=1.2)
    marks["zero training error"] = Line2D([], [], color=INK, ls=":", lw=1.2)
    if any(len(g.runs) > 1 for gs in losses.values() for g in gs.values()):
        marks[SPREADS[spread]] = Patch(color=INK, alpha=BAND, lw=0)
    entries |= marks
    legend = legend_below(figure, entries)
    for head, text in zip(colors, legend.get_texts(), strict=False):
        text.set_gid(f"head:{head}")
    for head, handle in zip(colors, legend.legend_handles, strict=False):
        handle.set_gid(f"head:{head}")
