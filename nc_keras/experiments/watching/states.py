"""Finds runs, and says of each what it does and how long it will take."""

import collections
import dataclasses
import itertools
import math
import os
import pathlib
import re
import statistics
import time
from collections.abc import Iterable
from collections.abc import Sequence

from nc_keras.experiments import locks
from nc_keras.experiments.console.plain import plain
from nc_keras.experiments.options.settings import Run
from nc_keras.experiments.watching.reading import MOST_EPOCHS
from nc_keras.experiments.watching.reading import Metrics
from nc_keras.experiments.watching.reading import read_object
from nc_keras.experiments.watching.reading import unreadable

# A folder that a recipe makes: no path to elsewhere, nothing to escape.
_NAME = re.compile(r"[\w.+-]{1,200}", re.ASCII)
_MOST_RUNS = 10_000
_LONGEST = 300
# Seconds without a new line, after which a log without a recipe has ended.
_QUIET = 120
# Each state and its mark, in the order of the table.
MARKS = {
    "running": "●",
    "diverged": "✗",
    "damaged": "?",
    "stopped": "■",
    "finished": "✓",
    "planned": "○",
}


@dataclasses.dataclass(frozen=True)
class Row:
    """A run, as it is at one moment.

    Attributes:
        name: String, its folder as seen from what is watched.
        folder: Path, where it is.
        state: String, a key of `MARKS`.
        remark: String, how it failed or what cannot be read, or empty.
        total: Integer, its epochs when it will have finished, or `None`.
        metrics: `Metrics`, what it has logged.
        due: Boolean, whether the last command of its folder is to train it.
    """

    name: str
    folder: pathlib.Path
    state: str
    remark: str
    total: int | None
    metrics: Metrics
    due: bool

    @property
    def left(self) -> float | None:
        """Float, the seconds that it will run on, or `None`."""
        return self.work() if self.state == "running" else None

    def work(self, pace: float | None = None) -> float | None:
        """Returns the seconds of the epochs to come, or `None`.

        Args:
            pace: Float, seconds per epoch of a run that has none of its own.
        """
        pace = self.metrics.pace or pace
        if self.total is None or pace is None:
            return None
        return pace * max(0, self.total - self.metrics.epoch)


class Watch:
    """Finds the runs below folders, and reads them again and again.

    Args:
        folders: Sequence of paths, where to look for runs.

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
        self._roots = [folder.resolve() for folder in folders]
        self._base = pathlib.Path(os.path.commonpath(self._roots))
        self._metrics = {}

    def look(self) -> list[Row]:
        """Returns the state of every run, those that run first."""
        begun, comparisons = _find(self._roots)
        settings = {
            folder: read_object(folder / "settings.json")
            for folder in comparisons | {run.parent for run in begun}
        }
        due = {
            folder / name
            for folder in comparisons
            for name in _names(settings[folder][0])
        }
        rows = [
            self._row(
                folder, settings[folder.parent], folder in begun, folder in due
            )
            for folder in begun | due
        ]
        order = list(MARKS)
        return sorted(
            rows, key=lambda row: (order.index(row.state), _natural(row.name))
        )

    def _row(self, folder, settings, begun, due):
        values, problem = settings
        path = folder / "metrics.jsonl"
        metrics = self._metrics.setdefault(folder, Metrics(path)).update()
        state, remark = "planned", ""
        if begun:
            state, remark = _state(folder, metrics, problem)
        name = folder.relative_to(self._base).as_posix()
        return Row(
            name=plain(folder.name if folder == self._base else name),
            folder=folder,
            state=state,
            remark=remark,
            total=_epochs(values),
            metrics=metrics,
            due=due,
        )


def time_left(rows: Iterable[Row]) -> float | None:
    """Returns the seconds until what runs, and what follows it, has ended.

    What one command trains comes one after another, or as many at once as run
    now; what several commands train comes at the same time.

    Args:
        rows: Iterable of `Row`, the runs.

    Returns:
        Float, or `None` if nothing runs, or something has not come to an epoch
        yet.
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


def _commands(rows):
    """The runs that a command trains: of a folder, or of a whole sweep."""
    folders = collections.defaultdict(list)
    for row in rows:
        folders[row.folder.parent].append(row)
    commands = collections.defaultdict(list)
    for folder, members in folders.items():
        sweep, _ = _held(folder.parent)
        commands[folder.parent if sweep else folder] += members
    return commands.values()


def _to_come(row):
    again = row.due and row.state in ("planned", "stopped")
    return again or row.state == "running"


def _find(roots):
    """The folders of runs, and those with the settings of several."""
    runs, comparisons = set(), set()
    for root in roots:
        for folder, folders, files in os.walk(root):
            # What Ray and others keep for themselves.
            folders[:] = [f for f in folders if not f.startswith(".")]
            if "run.json" in files or "metrics.jsonl" in files:
                runs.add(pathlib.Path(folder))
                folders.clear()
            elif "settings.json" in files:
                comparisons.add(pathlib.Path(folder))
    return runs, comparisons


def _state(folder, metrics, problem):
    """The state of a run that has begun, and a remark on it."""
    problem = metrics.problem or problem
    if not (folder / "run.json").exists():
        return _state_of_log(folder, metrics.pace, problem)
    run, damage = read_object(folder / "run.json")
    problem = damage or problem
    if run.get("failure"):
        return "diverged", plain(run["failure"])[:_LONGEST]
    if run.get("finished") and not problem:
        return "finished", ""
    held, no_lock = _held(folder)
    problem = problem or no_lock
    if held:
        return "running", problem or ""
    return ("damaged", problem) if problem else ("stopped", "")


def _state_of_log(folder, pace, problem):
    """The state of what no recipe trains: whether its log still grows."""
    if problem:
        return "damaged", problem
    try:
        age = time.time() - (folder / "metrics.jsonl").stat().st_mtime
    except OSError as error:
        return "damaged", unreadable("metrics.jsonl", error)
    is_growing = age < max(_QUIET, 3 * (pace or 0))
    return ("running" if is_growing else "stopped"), ""


def _held(folder):
    """Whether a process trains there, and why that cannot be told."""
    try:
        return locks.is_held(folder), None
    except OSError as error:
        return False, unreadable("its lock", error)


def _epochs(settings):
    epochs = settings.get("epochs")
    is_count = isinstance(epochs, int) and not isinstance(epochs, bool)
    return epochs if is_count and 0 < epochs <= MOST_EPOCHS else None


def _names(settings):
    """The runs that the last command of a folder trains."""
    parts = [settings.get(name) for name in ("losses", "heads", "seeds")]
    if not all(isinstance(part, list) for part in parts):
        return []
    if math.prod(map(len, parts)) > _MOST_RUNS:
        return []
    names = [Run(*part).name for part in itertools.product(*parts)]
    return [name for name in names if _NAME.fullmatch(name)]


def _natural(name):
    """Sorts 2 before 10, and 1e-5 before both."""
    parts = re.split(r"(\d+(?:\.\d+)?(?:e-?\d+)?)", name)
    # Every second part is a number.
    return [float(p) if i % 2 else p for i, p in enumerate(parts)]
