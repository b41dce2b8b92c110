"""Watches many runs: one screen with their state, while they train.

    python -m recipes.watch runs/digits-conv_net
    python -m recipes.watch runs --html watch.html

Any number of folders, in each of which every run is found, however deep: a
comparison, a sweep, or all of `runs`. Nothing is written into them, and it
does not matter who trains there, or whether anyone does. Ctrl-C ends it.
"""

import collections
import contextlib
import dataclasses
import datetime
import functools
import itertools
import json
import math
import os
import pathlib
import re
import signal
import statistics
import sys
import time
import urllib.parse
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Annotated
from typing import Any

import jinja2
import tyro
from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

# `nc_keras` would take seconds to import Keras, for what is read here in a few
# lines.
from recipes import locks
from recipes import summary
from recipes.settings import Run

# Mark and style of each state, in the order of the table.
STATES = {
    "running": ("●", "bold cyan"),
    "diverged": ("✗", "bold red"),
    "damaged": ("?", "bold red"),
    "stopped": ("■", "yellow"),
    "finished": ("✓", "green"),
    "planned": ("○", "dim"),
}

_RUNNING = "now\nerr %"
# Of the numbers of a run, in the lines that a terminal has them in.
_HEADINGS = (
    "epoch",
    "train\nerr %",
    _RUNNING,
    "test\nerr %",
    "NC1",
    "TPT\nfrom",
    "s per\nepoch",
    "time\nleft",
)

_RECENT = 10
_MOST_REMARKS = 5
_BAR, _SHORTEST_NAME = 12, 8
# Size of a curve of the page, and the room around it for its last point.
_SPARK, _MARGIN = (120, 28), 3


@dataclasses.dataclass(frozen=True)
class _Layout:
    """What of a table there is room for."""

    bars: bool
    words: bool
    apart: bool

    @property
    def headings(self):
        """Those of the numbers of a run."""
        return [h for h in _HEADINGS if self.apart or h != _RUNNING]


_LAYOUTS = (
    _Layout(bars=True, words=True, apart=True),
    _Layout(bars=False, words=True, apart=True),
    _Layout(bars=False, words=False, apart=True),
    _Layout(bars=False, words=False, apart=False),
)


@dataclasses.dataclass(frozen=True)
class Options:
    """The command line."""

    folders: Annotated[
        tuple[pathlib.Path, ...],
        tyro.conf.Positional,
        tyro.conf.arg(metavar="RUNS"),
    ] = (pathlib.Path("runs"),)
    """Folders of runs, or of folders of runs."""

    every: float = 2.0
    """Seconds between two looks."""

    once: bool = dataclasses.field(
        default_factory=lambda: not sys.stdout.isatty()
    )
    """Print the table once instead; so it is without a terminal."""

    html: pathlib.Path | None = None
    """Also write a page, which refreshes itself as long as this runs."""


class Record:
    """A JSON file that others replace; it is read again when they did.

    Args:
        path: The file, which need not exist.

    Attributes:
        values: Dict, what it holds; empty if it is missing or damaged.
        problem: String, what is wrong with it, or `None`.
    """

    def __init__(self, path: pathlib.Path):
        self._path = path
        self._seen = None
        self.values = {}
        self.problem = None

    def update(self) -> "Record":
        """Reads the file if it has changed."""
        seen = _signature(self._path)
        if seen != self._seen:
            self._seen, self.values, self.problem = seen, {}, None
            if seen:
                self._read()
        return self

    def _read(self):
        try:
            values = json.loads(self._path.read_bytes())
            if not isinstance(values, dict):
                raise ValueError("it is not an object")
            self.values = values
        except OSError as error:
            # Another time it may be there, or be allowed.
            self._seen = None
            self.problem = _unreadable(self._path.name, error)
        except ValueError as error:
            self.problem = _unreadable(self._path.name, error)


class Metrics:
    """What a run's `metrics.jsonl` says, read as it grows.

    Only what was appended is read. A file that was replaced or cut, because
    its run began again or resumes at an earlier epoch, is read anew. A last
    line that is not whole yet is left for the next time.

    Args:
        path: The file, which need not exist.

    Attributes:
        epoch: Integer, the last epoch, or 0.
        last: Dict, the last finite or NaN value of `"error"` (measured),
            `"running_error"`, `"test_error"` and `"nc1"`, as far as there
            were any.
        judged: Boolean, whether it was looked for the terminal phase.
        terminal_epoch: Integer, the first epoch of it, or `None`.
        curves: Dict, epochs and finite values of `"error"` and `"nc1"`.
        problem: String, what is wrong with the file, or `None`.
        bytes_read: Integer, how much was read of it up to now.
    """

    def __init__(self, path: pathlib.Path):
        self._path = path
        self.bytes_read = 0
        self._forget()

    def _forget(self):
        self._seen = None
        self._offset = 0
        self._last_line = b""
        self._lines = 0
        self._times = collections.deque(maxlen=_RECENT + 1)
        self.epoch = 0
        self.last = {}
        self.judged = False
        self.terminal_epoch = None
        self.curves = {"error": [], "nc1": []}
        self.problem = None

    @property
    def pace(self) -> float | None:
        """Seconds an epoch: the median of the recent epochs."""
        steps = [
            (later - before) / (epoch - previous)
            for (previous, before), (epoch, later) in itertools.pairwise(
                self._times
            )
            # The seconds of a run that resumes may start from 0 again.
            if later > before and epoch > previous
        ]
        if steps:
            return statistics.median(steps)
        # Of the first epoch alone it is too much: that one also compiles.
        return self._times[0][1] / self._times[0][0] if self._times else None

    def update(self) -> "Metrics":
        """Reads what was appended since the last time."""
        seen = _signature(self._path)
        if seen is None:
            self._forget()
        elif seen != self._seen:
            try:
                with open(self._path, "rb") as file:
                    self._read(file, seen)
            except OSError as error:
                self._forget()
                self.problem = _unreadable(self._path.name, error)
        return self

    def _read(self, file, seen):
        # The last line known is read again, to see that it is still there.
        file.seek(self._offset - len(self._last_line))
        text = file.read()
        self.bytes_read += len(text)
        if not text.startswith(self._last_line):
            self._forget()
            file.seek(0)
            text = file.read()
            self.bytes_read += len(text)
        if not self._offset:
            # That it could not be opened before is over.
            self.problem = None
        self._seen = seen
        whole = text[len(self._last_line) : text.rfind(b"\n") + 1]
        for line in whole.splitlines(keepends=True):
            self._lines += 1
            self._offset += len(line)
            self._last_line = line
            self._take(line)

    def _take(self, line):
        try:
            row = json.loads(line)
            epoch = int(row["epoch"])
            if epoch < 1:
                raise ValueError(f"there is an epoch {epoch}")
        except (ValueError, TypeError, KeyError) as error:
            self.problem = _unreadable(
                f"line {self._lines} of {self._path.name}", error
            )
            return
        self.epoch = epoch
        if isinstance(row.get("seconds"), int | float):
            self._times.append((epoch, row["seconds"]))
        for name, key in (
            ("error", "nc_accuracy"),
            ("running_error", "accuracy"),
            ("test_error", "val_nc_accuracy"),
            ("nc1", "nc1"),
        ):
            if key in row:
                number = _number(row[key])
                number = number if name == "nc1" else 1 - number
                self.last[name] = number
                if name in self.curves and math.isfinite(number):
                    self.curves[name].append((epoch, number))
        self.judged = self.judged or "terminal_phase" in row
        if self.terminal_epoch is None and row.get("terminal_phase"):
            self.terminal_epoch = epoch


@dataclasses.dataclass(frozen=True)
class Row:
    """A run, as it is at one moment.

    Attributes:
        name: String, its folder as seen from what is watched.
        folder: Path, where it is.
        state: String, a key of `STATES`.
        total: Integer, its epochs when it will have finished, or `None`.
        metrics: `Metrics`, what it has logged.
        remark: String, how it failed or what cannot be read, or empty.
        due: Boolean, whether the last command of its folder is to train it.
    """

    name: str
    folder: pathlib.Path
    state: str
    total: int | None
    metrics: Metrics
    remark: str = ""
    due: bool = False

    @property
    def left(self) -> float | None:
        """The seconds that it will run on; `None` if not known, or over."""
        return self.work() if self.state == "running" else None

    def work(self, pace: float | None = None) -> float | None:
        """The seconds of its epochs to come, at its own or another's pace."""
        pace = self.metrics.pace or pace
        if self.total is None or pace is None:
            return None
        return pace * max(0, self.total - self.metrics.epoch)


class Watch:
    """Finds the runs below folders, and reads them again and again.

    Args:
        folders: Where to look for them.

    Raises:
        FileNotFoundError: If one of the folders does not exist.
    """

    def __init__(self, folders: Sequence[pathlib.Path]):
        for folder in folders:
            if not folder.is_dir():
                raise FileNotFoundError(
                    "Name folders of runs; recipes make them in `runs`, or "
                    f"where --output says. Received: {folder}."
                )
        self._bases = _bases([folder.resolve() for folder in folders])
        self._records = {}
        self._metrics = {}

    def look(self) -> list[Row]:
        """Returns the state of every run, those that run first."""
        runs, comparisons = self._find()
        due = {}
        for folder, base in comparisons.items():
            settings = self._record(folder / "settings.json").values
            due |= {folder / name: base for name in _names(settings)}
        rows = [
            self._row(folder, base, folder in runs, folder in due)
            for folder, base in (due | runs).items()
        ]
        order = list(STATES)
        return sorted(
            rows, key=lambda row: (order.index(row.state), _natural(row.name))
        )

    def _find(self):
        """The folders of runs, and those with the settings of several.

        Each with the folder from which its name is seen.
        """
        runs, comparisons = {}, {}
        for root, base in self._bases.items():
            for folder, folders, files in os.walk(root):
                # What Ray and others keep for themselves.
                folders[:] = [f for f in folders if not f.startswith(".")]
                if "run.json" in files:
                    runs.setdefault(pathlib.Path(folder), base)
                    folders.clear()
                elif "settings.json" in files:
                    comparisons.setdefault(pathlib.Path(folder), base)
        return runs, comparisons

    def _row(self, folder, base, begun, due):
        settings = self._record(folder.parent / "settings.json")
        total = _epochs(settings.values)
        name = _name(folder, base)
        if not begun:
            metrics = Metrics(folder / "metrics.jsonl")
            return Row(name, folder, "planned", total, metrics, due=True)
        run = self._record(folder / "run.json")
        if folder not in self._metrics:
            self._metrics[folder] = Metrics(folder / "metrics.jsonl")
        metrics = self._metrics[folder].update()
        problem = run.problem or metrics.problem or settings.problem
        state, remark = _state(folder, run.values, problem)
        return Row(name, folder, state, total, metrics, remark, due)

    def _record(self, path):
        return self._records.setdefault(path, Record(path)).update()


def time_left(rows: Iterable[Row]) -> float | None:
    """The seconds until what runs, and what is to come after it, has ended.

    What one command trains comes one after another, or as many at once as run
    now; what several commands train comes at the same time.

    Returns:
        `None` if nothing runs, or something has not come to an epoch yet.
    """
    lefts = []
    for members in _commands(rows):
        running = sum(row.state == "running" for row in members)
        if running:
            paces = [r.metrics.pace for r in members if r.metrics.pace]
            pace = statistics.median(paces) if paces else None
            work = [row.work(pace) for row in members if _to_come(row)]
            if None in work:
                return None
            lefts.append(sum(work) / running)
    return max(lefts, default=None)


def screen(
    rows: Sequence[Row], title: str, width: int, height: int | None = None
) -> Group:
    """What the terminal shows.

    Args:
        rows: The runs.
        title: String, what is watched.
        width: Integer, the columns of the terminal.
        height: Integer, its lines, into which the runs are folded, or `None`
            for as many as it takes.
    """
    head = _head(rows, title)
    if not rows:
        return Group(*head, Text("No run yet.", "dim"))
    remarks = _remarks(rows)
    shown, folded = list(rows), []
    if height is not None:
        taken = sum(math.ceil(line.cell_len / width) or 1 for line in head)
        # The heading of the table has three lines.
        room = height - taken - 3 - len(remarks)
        shown, folded = _fold(rows, max(1, room))
    lines = [Text(line, "dim", no_wrap=True) for line in folded]
    parts = [_table(shown, width)] if shown else []
    return Group(*head, *parts, *lines, *remarks)


def write_page(
    path: pathlib.Path, rows: Sequence[Row], title: str, every: float | None
) -> None:
    """Writes the page, so that it is never seen half written.

    Args:
        path: The HTML file; one that exists is replaced.
        rows: The runs.
        title: String, what is watched.
        every: After how many seconds the page loads itself again, or `None`
            if it will not be written again.
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
        rows: The runs.
        title: String, what is watched.
        folder: Where the page will be, for its links to the reports.
        every: As in `write_page`.
    """
    parents = {row.folder.parent for row in rows}
    links = {parent: _link(parent, folder) for parent in parents}
    now = datetime.datetime.now().astimezone()
    return _template().render(
        title=title,
        counts=_counts(rows),
        states=STATES,
        headings=[" ".join(heading.split("\n")) for heading in _HEADINGS],
        runs=[_run(row, links[row.folder.parent]) for row in rows],
        left=_duration(time_left(rows)),
        written=f"{now:%Y-%m-%d %H:%M:%S %Z}",
        every=every and math.ceil(every),
        size=_SPARK,
    )


def _commands(rows):
    """The runs that a command trains: of a folder, or of a whole sweep."""
    folders = collections.defaultdict(list)
    for row in rows:
        folders[row.folder.parent].append(row)
    found = collections.defaultdict(list)
    sweeps = {folder: _is_held(folder.parent) for folder in folders}
    for folder, members in folders.items():
        found[folder.parent if sweeps[folder] else folder] += members
    return found.values()


def _is_held(folder):
    """As in `locks`, but what cannot be looked at is not held."""
    try:
        return locks.is_held(folder)
    except OSError:
        return False


def _to_come(row):
    again = row.due and row.state in ("planned", "stopped")
    return again or row.state == "running"


def _bases(roots):
    """For each folder to look in, the one that its names begin below."""
    if len({root.name for root in roots}) == len(roots) > 1:
        return {root: root.parent for root in roots}
    # Of two that are called the same, more must be said.
    return dict.fromkeys(roots, pathlib.Path(os.path.commonpath(roots)))


def _name(folder, base):
    if folder == base:
        return folder.name
    return folder.relative_to(base).as_posix()


def _signature(path):
    """Changes whenever the file does; `None` if there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _unreadable(what, error):
    reason = getattr(error, "strerror", None) or error
    if isinstance(error, KeyError):
        reason = f"there is no {error}"
    return f"{what} cannot be read: {reason}"


def _number(value):
    """A value of a line: what JSON lacks was written as null."""
    return float(value) if isinstance(value, int | float) else math.nan


def _epochs(settings):
    epochs = settings.get("epochs")
    return epochs if isinstance(epochs, int) and epochs > 0 else None


def _names(settings):
    """The runs that the last command of a folder trains, in its order."""
    parts = [settings.get(name) for name in ("seeds", "losses", "heads")]
    if not all(isinstance(part, list) for part in parts):
        return []
    return [
        Run(loss, head, seed).name
        for seed, loss, head in itertools.product(*parts)
    ]


def _state(folder, run, problem):
    """The state of a run that has begun, and a remark on it."""
    if run.get("failure"):
        return "diverged", str(run["failure"])
    if run.get("finished") and not problem:
        return "finished", ""
    try:
        held = locks.is_held(folder)
    except OSError as error:
        held = False
        problem = problem or _unreadable("its lock", error)
    if held:
        return "running", problem or ""
    return ("damaged", problem) if problem else ("stopped", "")


def _natural(name):
    """Sorts 2 before 10, and 1e-5 before both."""
    parts = re.split(r"(\d+(?:\.\d+)?(?:e-?\d+)?)", name)
    # Every second part is a number.
    return [float(p) if i % 2 else p for i, p in enumerate(parts)]


def _counts(rows):
    """How many runs there are in each state that there are any in."""
    found = collections.Counter(row.state for row in rows)
    always = ("running", "finished")
    return {s: found[s] for s in STATES if found[s] or s in always}


def _duration(seconds):
    if seconds is None:
        return "–"
    for unit, size, most in (("s", 1, 90), ("min", 60, 90), ("h", 3600, 48)):
        number = seconds / size
        if round(number) < most:
            form = ".1f" if unit == "h" else ".0f"
            return f"{number:{form}} {unit}"
    return f"{seconds / 86400:.1f} d"


def _percent(number):
    return "–" if number is None else f"{100 * number:.2f}"


def _seconds(number):
    if number is None:
        return "–"
    digits = 2 if number < 10 else 1 if number < 100 else 0
    return f"{number:.{digits}f}"


def _nc1(number):
    one = None if number is None else summary.Statistic(number, None, 1)
    return summary.format_statistic(one, "number")


def _terminal(metrics):
    if metrics.terminal_epoch is None:
        return "no" if metrics.judged else "–"
    return str(metrics.terminal_epoch)


def _cells(row):
    """What is said of a run, by the headings."""
    metrics = row.metrics
    if row.state == "planned":
        return dict.fromkeys(_HEADINGS, "") | {"epoch": f"0/{row.total or '?'}"}
    texts = (
        f"{metrics.epoch}/{row.total or '?'}",
        _percent(metrics.last.get("error")),
        _percent(metrics.last.get("running_error")),
        _percent(metrics.last.get("test_error")),
        _nc1(metrics.last.get("nc1")),
        _terminal(metrics),
        _seconds(metrics.pace),
        _duration(row.left),
    )
    return dict(zip(_HEADINGS, texts, strict=True))


def _head(rows, title):
    left = time_left(rows)
    first = Text.assemble((title, "bold"), no_wrap=True, overflow="ellipsis")
    if left is not None:
        first.append(f"   {_duration(left)} left", "bold cyan")
    second = Text("  ").join(
        Text(f"{STATES[state][0]} {count} {state}", STATES[state][1])
        for state, count in _counts(rows).items()
    )
    return [first, second, Text("")]


def _remarks(rows):
    found = [row for row in rows if row.remark]
    lines = [
        Text.assemble(
            (f"{STATES[row.state][0]} ", STATES[row.state][1]),
            f"{row.name}: {row.remark}",
            no_wrap=True,
            overflow="ellipsis",
        )
        for row in found[:_MOST_REMARKS]
    ]
    if len(found) > _MOST_REMARKS:
        lines.append(Text(f"  … and {len(found) - _MOST_REMARKS} more", "dim"))
    return lines


def _fold(rows, room):
    """The runs to show, and a line on each folder of the others."""
    if len(rows) <= room:
        return list(rows), []
    running = sum(row.state == "running" for row in rows)
    folders = [row.folder.parent for row in rows]
    for shown in range(room - 1, min(running, room) - 1, -1):
        if shown + len(set(folders[shown:])) <= room:
            return list(rows[:shown]), _folded(rows[shown:])
    shown = max(0, room - 1)
    words = _words(rows[shown:])
    return list(rows[:shown]), [f"… and {len(rows) - shown} more: {words}"]


def _folded(rows):
    """A line a folder."""
    folders = collections.defaultdict(list)
    for row in rows:
        folders[row.folder.parent].append(row)
    lines = []
    for _, members in sorted(folders.items()):
        folder = os.path.dirname(members[0].name)
        where = f"{folder}:" if folder else "and"
        lines.append(f"… {where} {_words(members)}")
    return lines


def _words(rows):
    found = collections.Counter(row.state for row in rows)
    return ", ".join(f"{found[s]} {s}" for s in STATES if found[s])


def _table(rows, width):
    """The widest layout that there is room for."""
    cells = [_cells(row) for row in rows]
    for layout in _LAYOUTS:
        excess = _width(rows, cells, layout) - width
        if excess <= 0:
            return _drawn(rows, cells, layout)
    longest = max(cell_len(row.name) for row in rows)
    room = max(_SHORTEST_NAME, longest - excess)
    return _drawn(rows, cells, layout, room)


def _width(rows, cells, layout):
    """What a layout takes; rich would take long to say so of many runs."""
    columns = [
        [_mark(row, layout) for row in rows],
        [row.name for row in rows],
        *([["━" * _BAR]] * layout.bars),
        *([*h.split("\n"), *(c[h] for c in cells)] for h in layout.headings),
    ]
    between = (3 if layout.apart else 1) * (len(columns) - 1)
    return between + sum(max(map(cell_len, column)) for column in columns)


def _drawn(rows, cells, layout, room=None):
    table = Table(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, int(layout.apart)),
    )
    table.add_column("", no_wrap=True)
    table.add_column("run", no_wrap=True)
    if layout.bars:
        table.add_column("", width=_BAR)
    for heading in layout.headings:
        table.add_column(heading, justify="right", no_wrap=True)
    for row, texts in zip(rows, cells, strict=True):
        strong = "bold" if row.state == "running" else ""
        table.add_row(
            Text(_mark(row, layout), STATES[row.state][1]),
            Text(_cropped(row.name, room), strong),
            *([_bar(row)] * layout.bars),
            *(texts[heading] for heading in layout.headings),
            style="dim" if row.state == "planned" else "",
        )
    return table


def _mark(row, layout):
    mark = STATES[row.state][0]
    return f"{mark} {row.state}" if layout.words else mark


def _bar(row):
    done = 0 if row.total is None else row.metrics.epoch
    style = STATES[row.state][1]
    return ProgressBar(
        row.total or 1,
        done,
        width=_BAR,
        complete_style=style,
        finished_style=style,
    )


def _cropped(name, room):
    """The end tells runs apart."""
    if room is None or len(name) <= room:
        return name
    return f"…{name[-(room - 1) :]}"


@functools.cache
def _template():
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(pathlib.Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template("watch.html")


def _run(row, link) -> dict[str, Any]:
    """A row of the page."""
    share = row.metrics.epoch / row.total if row.total else None
    return {
        "name": row.name,
        "link": link,
        "state": row.state,
        "share": share,
        "cells": list(_cells(row).values()),
        "remark": row.remark,
        "error": _spark(row, "error", "train error"),
        "nc1": _spark(row, "nc1", "NC1"),
    }


def _spark(row, key, label):
    """A curve over the logarithm of the epochs, or `None`."""
    log = key == "nc1"
    points = [p for p in row.metrics.curves[key] if p[1] > 0 or not log]
    if not points:
        return None
    values = [math.log(v) if log else v for _, v in points]
    low, high = min(values) if log else 0.0, max(values)
    longest = math.log(max(row.total or 0, points[-1][0], 2))
    width, height = (size - 2 * _MARGIN for size in _SPARK)

    def across(epoch):
        return _MARGIN + width * math.log(epoch) / longest

    places = [
        (across(e), _MARGIN + height * (high - v) / ((high - low) or 1.0))
        for (e, _), v in zip(points, values, strict=True)
    ]
    terminal = row.metrics.terminal_epoch
    form = _nc1 if log else lambda v: f"{_percent(v)} %"
    (first, start), (last, end) = points[0], points[-1]
    return {
        "points": " ".join(f"{x:.1f},{y:.1f}" for x, y in places),
        "end": tuple(round(place, 1) for place in places[-1]),
        "terminal": terminal and round(across(terminal), 1),
        "label": f"{label}: {form(start)} at epoch {first}, "
        f"{form(end)} at epoch {last}",
    }


def _link(parent, folder):
    """The address of the report of a folder, if it has one."""
    report = parent / "report.html"
    if not report.exists():
        return None
    path = pathlib.Path(os.path.relpath(report, folder))
    # Quoted, a colon cannot begin another scheme.
    return urllib.parse.quote(path.as_posix())


@contextlib.contextmanager
def _signals() -> Iterator[list]:
    """Collects the signals to stop, so that none cuts a look in two."""
    found = []
    names = ("SIGINT", "SIGTERM", "SIGHUP")
    numbers = [getattr(signal, n) for n in names if hasattr(signal, n)]
    before = [signal.signal(n, lambda *_: found.append(1)) for n in numbers]
    try:
        yield found
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _watch(options, look, console):
    """Shows the runs until a signal comes."""
    title = " ".join(map(str, options.folders))
    with contextlib.ExitStack() as stack:
        stopped = stack.enter_context(_signals())
        live = None
        if console.is_terminal:
            live = Live(console=console, screen=True, auto_refresh=False)
            stack.enter_context(live)
        while not stopped:
            began = time.monotonic()
            rows = look()
            if live:
                shown = screen(rows, title, *console.size)
                live.update(shown, refresh=True)
            if options.html:
                write_page(options.html, rows, title, options.every)
            # In short naps, from which a signal need not wake.
            while not stopped and time.monotonic() < began + options.every:
                time.sleep(min(0.1, options.every))


def _check(options):
    if not 0 < options.every < math.inf:
        raise ValueError(
            "`every` is a number of seconds, more than 0. "
            f"Received: every={options.every}."
        )
    if options.html and options.html.is_dir():
        raise ValueError(
            "`html` is the page's file, and this is a folder. "
            f"Received: html={options.html}."
        )


def watch(options: Options) -> None:
    """Watches runs as the command line says.

    Raises:
        OSError: If a folder is missing, or the page cannot be written.
        ValueError: If an option is wrong, or there is no run and `once` is
            set.
    """
    _check(options)
    look = Watch(options.folders).look
    # Where nothing is cut at the edge of a window, names may be long.
    console = Console()
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console = Console(width=120)
    if options.html:
        options.html.parent.mkdir(parents=True, exist_ok=True)
    if not options.once:
        _watch(options, look, console)
    rows = look()
    title = " ".join(map(str, options.folders))
    if options.once and not rows:
        raise ValueError(
            "There is no run, which is a folder with a run.json. Without "
            f"--once the first is waited for. Received: {title}."
        )
    if options.html:
        write_page(options.html, rows, title, None)
    height = None if options.once else console.height
    console.print(screen(rows, title, console.width, height))


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line, and exits.

    Args:
        arguments: The options; by default those of the command line.
    """
    try:
        watch(
            tyro.cli(
                Options,
                prog="recipes.watch",
                description=__doc__,
                args=arguments,
            )
        )
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
