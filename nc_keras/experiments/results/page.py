"""One HTML page of a comparison, which asks for nothing from elsewhere.

`python -m recipes.report FOLDER` makes it again from the folder's record.
"""

import dataclasses
import io
import os
import pathlib
import re
import shlex
import urllib.parse
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree

import jinja2
import matplotlib
from markupsafe import Markup
from matplotlib.figure import Figure

from nc_keras.experiments.results import findings
from nc_keras.experiments.results import panels
from nc_keras.experiments.results import plots
from nc_keras.experiments.results import summary
from nc_keras.experiments.results import tables
from nc_keras.plot import style
from nc_keras.writers.files import replace_atomically

_SVG = "{http://www.w3.org/2000/svg}"
_HREF = "{http://www.w3.org/1999/xlink}href"
_COORDINATES = {
    *("d", "points", "transform", "style", "viewBox", "width", "height"),
    *("x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "r"),
}
_WHERE_TO_WRITE = ("data_dir", "output", "progress")

# Heading, key, moment and kind of the numbers of the table of all runs.
_RUN_COLUMNS = (
    ("epochs", "epochs", summary.RUN, "count"),
    ("zero error at", "terminal_epoch", summary.RUN, "count"),
    ("train acc. %", "nc_accuracy", summary.END, "percent"),
    ("test acc. % at zero error", "val_nc_accuracy", summary.ZERO, "percent"),
    ("test acc. % at the end", "val_nc_accuracy", summary.END, "percent"),
    ("NC1", "nc1", summary.END, "number"),
    ("NC2 equiangular, means", "nc2_equiangular_means", summary.END, "number"),
    ("NC3", "nc3", summary.END, "number"),
    ("NC4, test", "val_nc4", summary.END, "number"),
    ("DeepFool", "deepfool", summary.END, "number"),
    ("s / epoch", "seconds_per_epoch", summary.RUN, "seconds"),
)
_TERMINAL_COLUMN = 1
# What follows a mean in the tables.
_STD = "standard deviation over the seeds (n − 1)"
_SPREADS = {
    "range": _STD,
    "std": _STD,
    "ci95": "half of the 95 % interval over the seeds (Student's t)",
}


@dataclasses.dataclass(frozen=True)
class _Plot:
    """A figure of the page."""

    heading: str
    caption: str
    svg: Markup
    width: int


def write_report(path: str | os.PathLike, record: Mapping[str, Any]) -> None:
    """Writes the page of a comparison: one file, with everything inside.

    Args:
        path: The HTML file; one that exists is replaced.
        record: The content of a comparison's `results.json`.

    Raises:
        ValueError: If the record has no runs.
    """
    path = pathlib.Path(path)
    text = render(record, path.parent)
    replace_atomically(path, lambda path: path.write_text(text, "utf-8"))


def render(record: Mapping[str, Any], folder: pathlib.Path) -> str:
    """Returns the page of a comparison.

    Args:
        record: The content of a comparison's `results.json`.
        folder: Where the page will be, for its links to the runs.

    Returns:
        HTML.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(pathlib.Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    losses, spread = summary.by_loss(record), summary.spread_of(record)
    drawn, missing = _plots(record)
    return environment.get_template("report.html").render(
        title=record["title"],
        what=_what(record),
        notices=findings.notices(record),
        # The subject of a sentence, and what is said of it.
        findings=[s.partition(": ")[::2] for s in findings.findings(record)],
        heads=list(dict.fromkeys(run["head"] for run in record["runs"])),
        colors=style.COLORS,
        grid=style.GRID,
        tables=[
            (
                loss,
                list(heads),
                tables.table(heads, record.get("metrics"), spread=spread),
            )
            for loss, heads in losses.items()
        ],
        plots=drawn,
        width=max((plot.width for plot in drawn), default=0),
        vanished=summary.vanished(record),
        spread=_SPREADS[spread],
        missing=missing,
        columns=[heading for heading, *_ in _RUN_COLUMNS],
        runs=[_run(run, folder) for run in record["runs"]],
        published=record.get("published") or [],
        settings=_named(record.get("settings")),
        machine=_named(record.get("machine")),
        command=_command(record),
    )


def _plots(record: Mapping[str, Any]) -> tuple[list[_Plot], list[str]]:
    """The figures, and the headings of those that there are no values of."""
    figures = plots.plot_figures(record)
    drawn, missing = [], []
    for panel in panels.panels_of(record):
        if panel.name in figures:
            figure = figures[panel.name]
            drawn.append(
                _Plot(
                    panel.heading,
                    panel.caption,
                    _svg(figure, panel),
                    round(figure.get_figwidth() * 96),
                )
            )
        else:
            missing.append(panel.heading)
    return drawn, missing


def _svg(figure: Figure, panel: panels.Panel) -> Markup:
    """A figure as an SVG element that fits into a page with others."""
    buffer = io.StringIO()
    # Text as text is smaller, can be searched, and takes the page's font.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "nc"}):
        figure.savefig(buffer, format="svg", transparent=True)
    root = ElementTree.fromstring(buffer.getvalue())
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag == f"{_SVG}style" or child.tag.endswith("}metadata"):
                parent.remove(child)
    _own_ids(root, panel.name)
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    root.set("role", "img")
    root.set("aria-label", f"{panel.heading}. {panel.caption}")
    ElementTree.register_namespace("", _SVG.strip("{}"))
    _shorten_coordinates(root)
    text = ElementTree.tostring(root, encoding="unicode")
    for color, variable in ((style.INK, "ink"), (style.GRID, "grid")):
        text = text.replace(color, f"var(--{variable})")
    return Markup(text)


def _shorten_coordinates(root):
    """Rounds places to a hundredth of a point; what is written stays."""
    for element in root.iter():
        for name in _COORDINATES & element.attrib.keys():
            element.set(
                name,
                re.sub(
                    r"\d+\.\d{3,}",
                    lambda number: f"{float(number[0]):.2f}",
                    element.get(name),
                ),
            )


def _own_ids(root, prefix):
    """Makes ids differ from other figures', and gids of heads attributes."""
    text = ElementTree.tostring(root, encoding="unicode")
    used = set(re.findall(r"url\(#([^)]+)\)|href=\"#([^\"]+)\"", text))
    used = {name for pair in used for name in pair if name}
    for element in root.iter():
        name = element.attrib.pop("id", None)
        if name in used:
            element.set("id", f"{prefix}-{name}")
        elif name and name.startswith("head:"):
            element.set("data-head", name.removeprefix("head:"))
        for key, text in list(element.attrib.items()):
            if key == _HREF:
                del element.attrib[key]
                element.set("href", text.replace("#", f"#{prefix}-"))
            elif "url(#" in text:
                element.set(key, text.replace("url(#", f"url(#{prefix}-"))


def _what(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What was run, in a few lines."""
    settings, data = record.get("settings") or {}, record.get("data") or {}
    runs = record["runs"]
    network = [settings.get(name) for name in ("network", "widths")]
    dims = sorted({r["feature_dim"] for r in runs if r.get("feature_dim")})
    rows = {
        "data": settings.get("dataset"),
        "images": data
        and f"{data['train']:,} to train, {data['test']:,} to test, "
        f"{data['classes']} classes",
        "network": " ".join(_text(part) for part in network if part),
        "features": dims and f"{', '.join(map(str, dims))} dimensions",
        "heads": ", ".join(dict.fromkeys(r["head"] for r in runs)),
        "losses": ", ".join(dict.fromkeys(r["loss"] for r in runs)),
        "seeds": ", ".join(dict.fromkeys(str(r["seed"]) for r in runs)),
        "schedule": _schedule(settings),
    }
    return [(name, str(text)) for name, text in rows.items() if text]


def _schedule(settings):
    names = {
        "epochs": "{} epochs",
        "batch_size": "batch {}",
        "learning_rate": "rate {}",
        "momentum": "momentum {}",
        "weight_decay": "weight decay {}",
    }
    words = [
        form.format(settings[name])
        for name, form in names.items()
        if settings.get(name) is not None
    ]
    if settings.get("drops"):
        shares = " and ".join(f"{share:.3g}" for share in settings["drops"])
        words.append(f"divided by ten at {shares} of the epochs")
    return ", ".join(words)


def _run(run: Mapping[str, Any], folder: pathlib.Path) -> dict[str, Any]:
    """A row of the table of all runs."""
    cells = []
    for _, key, moment, kind in _RUN_COLUMNS:
        number = summary.value(run, key, moment)
        one = None if number is None else summary.Statistic(number, None, 1)
        cells.append((number, summary.format_statistic(one, kind)))
    problem = summary.problem(run)
    if not problem and not run.get("at_terminal_epoch"):
        cells[_TERMINAL_COLUMN] = (None, "never")
    return {
        "loss": run["loss"],
        "head": run["head"],
        "seed": run["seed"],
        "cells": cells,
        "problem": problem,
        "folder": _relative(run.get("folder"), folder),
    }


def _relative(target, folder):
    """Text and address of a run's folder, seen from the page's."""
    if not target:
        return None
    path = pathlib.Path(target)
    seen_from_here = path.exists() and not (folder / path).exists()
    if path.is_absolute() or seen_from_here:
        path = pathlib.Path(os.path.relpath(path, folder))
    # Quoted, a colon cannot begin another scheme.
    return path.as_posix(), urllib.parse.quote(path.as_posix()) + "/"


def _named(values):
    return [(name, _text(value)) for name, value in (values or {}).items()]


def _text(value):
    return "–" if value is None else " ".join(_words(value))


def _command(record: Mapping[str, Any]) -> str:
    """The command that trains the comparison again."""
    if record.get("command"):
        return record["command"]
    settings = dict(record.get("settings") or {})
    words = ["python", "-m", f"recipes.{settings.pop('dataset', '<recipe>')}"]
    for name, value in settings.items():
        option = name.replace("_", "-")
        # A space is in what names an object of the recipe's own.
        if name in _WHERE_TO_WRITE or value is None or " " in name:
            continue
        if isinstance(value, bool):
            words.append(f"--{option}" if value else f"--no-{option}")
        else:
            words += [f"--{option}", *_words(value)]
    backend = (record.get("machine") or {}).get("backend")
    variable = f"KERAS_BACKEND={backend} " if backend else ""
    return variable + shlex.join(words)


def _words(value):
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [str(item) for item in value]
    return [str(value)]
