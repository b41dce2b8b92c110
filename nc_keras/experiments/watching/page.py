"""Writes the runs as a page of HTML, which asks for nothing from elsewhere."""

import datetime
import math
import os
import pathlib
import urllib.parse
from collections.abc import Sequence

import jinja2

from nc_keras.experiments.console.plain import plain
from nc_keras.experiments.watching import words
from nc_keras.experiments.watching.states import MARKS
from nc_keras.experiments.watching.states import Row
from nc_keras.experiments.watching.states import time_left

# Width and height of a curve, and the room around it for its last point.
_SIZE, _MARGIN = (120, 28), 3

_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.FileSystemLoader(pathlib.Path(__file__).parent),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=jinja2.StrictUndefined,
)


def write_page(
    path: pathlib.Path, rows: Sequence[Row], title: str, every: float | None
) -> None:
    """Writes the page, so that it is never seen half written.

    Args:
        path: Path, the HTML file; one that exists is replaced.
        rows: Sequence of `Row`, the runs.
        title: String, what is watched.
        every: Float, after how many seconds the page loads itself again, or
            `None` if it will not be written again.
    """
    text = render(rows, title, path.parent.resolve(), every)
    temporary = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        # Not flushed to the disk: it is written again in a moment.
        temporary.write_text(text, "utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def render(
    rows: Sequence[Row], title: str, folder: pathlib.Path, every: float | None
) -> str:
    """Returns the page.

    Args:
        rows: Sequence of `Row`, the runs.
        title: String, what is watched.
        folder: Path, where the page will be, for its links to the reports.
        every: Float or `None`, as in `write_page`.
    """
    parents = {row.folder.parent for row in rows}
    links = {parent: _link(parent, folder) for parent in parents}
    now = datetime.datetime.now().astimezone()
    return _ENVIRONMENT.get_template("watch.html").render(
        title=plain(title),
        counts=words.counts(rows),
        marks=MARKS,
        headings=[heading.replace("\n", " ") for heading in words.HEADINGS],
        runs=[_run(row, links[row.folder.parent]) for row in rows],
        left=words.duration(time_left(rows)),
        written=f"{now:%Y-%m-%d %H:%M:%S %Z}",
        every=every and math.ceil(every),
        size=_SIZE,
    )


def _link(parent, folder):
    """The address of the report of a folder, if it has one."""
    report = parent / "report.html"
    if not report.exists():
        return None
    path = pathlib.Path(os.path.relpath(report, folder))
    # Quoted, a colon cannot begin another scheme.
    return urllib.parse.quote(os.fsencode(path))


def _run(row, link):
    return {
        "name": row.name,
        "link": link,
        "state": row.state,
        "share": row.metrics.epoch / row.total if row.total else None,
        "cells": words.cells(row),
        "remark": row.remark,
        "error": _curve(row, "error", "train error"),
        "nc1": _curve(row, "nc1", "NC1"),
    }


def _curve(row, key, label):
    """A curve over the logarithm of the epochs, or `None`."""
    log = key == "nc1"
    points = [p for p in row.metrics.curves[key] if p[1] > 0 or not log]
    if not points:
        return None
    heights = [math.log(v) if log else v for _, v in points]
    low, high = min(heights) if log else 0.0, max(heights)
    longest = math.log(max(row.total or 0, points[-1][0], 2))
    width, height = (size - 2 * _MARGIN for size in _SIZE)

    def x(epoch):
        return round(_MARGIN + width * math.log(epoch) / longest, 1)

    def y(value):
        return round(_MARGIN + height * (high - value) / (high - low or 1), 1)

    places = [(x(e), y(h)) for (e, _), h in zip(points, heights, strict=True)]
    terminal = row.metrics.terminal_epoch
    say = words.digits if log else lambda error: f"{words.percent(error)} %"
    ends = [f"{say(v)} at epoch {e}" for e, v in (points[0], points[-1])]
    return {
        "points": " ".join(f"{x},{y}" for x, y in places),
        "end": places[-1],
        "terminal": terminal and x(terminal),
        "label": f"{label}: {', '.join(ends)}",
    }
