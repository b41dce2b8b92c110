"""Reads files of JSON that other processes write at the same time."""

import collections
import json
import math
import pathlib
import statistics
from typing import Any

from nc_keras.experiments.console.plain import plain

_RECENT = 10
_LONGEST = 200
# More epochs than any training has, and exact as a float.
MOST_EPOCHS = 10**9
# Points of a curve, after which half of them are left out.
_MOST_POINTS = 2000


def read_object(path: pathlib.Path) -> tuple[dict[str, Any], str | None]:
    """Reads a JSON object from a file that may be missing or damaged.

    Args:
        path: Path, the file.

    Returns:
        A dict, empty if there was nothing to read, and a string that says
        what is wrong with the file, or `None`.
    """
    try:
        values = json.loads(path.read_bytes())
        if not isinstance(values, dict):
            raise ValueError("it is not an object")
    except FileNotFoundError:
        return {}, None
    except (OSError, ValueError, RecursionError) as error:
        return {}, unreadable(path.name, error)
    return values, None


def unreadable(what: str, error: Exception) -> str:
    """Says why something cannot be read, without the path."""
    reason = str(getattr(error, "strerror", None) or error)
    if len(reason) > _LONGEST:
        reason = f"{reason[:_LONGEST]}…"
    return plain(f"{what} cannot be read: {reason}")


class Metrics:
    """What a run's `metrics.jsonl` says, read as it grows.

    Only what was appended is read. A file that was replaced or cut, because
    its run began again or resumes at an earlier epoch, is read anew. A last
    line that is not whole yet is left for the next time.

    Args:
        path: Path, the file, which need not exist.

    Attributes:
        epoch: Integer, the last epoch, or 0.
        last: Dict, the last value of `"error"`, `"test_error"` and `"nc1"`,
            as far as there are any.
        curves: Dict, epochs and finite values of `"error"` and `"nc1"`.
        terminal_epoch: Integer, the first of the terminal phase, or `None`.
        problem: String, what is wrong with the file, or `None`.
    """

    def __init__(self, path: pathlib.Path):
        self._path = path
        self._reset()

    def _reset(self):
        self._lines, self._end, self._last_line = 0, 0, b""
        self._seconds, self._paces = 0.0, collections.deque(maxlen=_RECENT)
        self.epoch = 0
        self.last = {}
        self.curves = {"error": [], "nc1": []}
        self.terminal_epoch = None
        self.problem = None

    @property
    def pace(self) -> float | None:
        """Float, seconds per epoch: the median of the recent ones."""
        # Of two the lower, since the first epoch also compiles.
        return statistics.median_low(self._paces) if self._paces else None

    def update(self) -> "Metrics":
        """Reads what was appended since the last time."""
        try:
            with open(self._path, "rb") as file:
                lines = self._appended(file)
        except FileNotFoundError:
            self._reset()
        except OSError as error:
            self._reset()
            self.problem = unreadable(self._path.name, error)
        else:
            for line in lines:
                self._take(line)
        return self

    def _appended(self, file):
        # The last line known is read again, to see that it is still there.
        file.seek(self._end - len(self._last_line))
        known = file.read(len(self._last_line))
        if not known or known != self._last_line:
            self._reset()
            file.seek(0)
        text = file.read()
        return text[: text.rfind(b"\n") + 1].splitlines(keepends=True)

    def _take(self, line):
        self._lines += 1
        self._end += len(line)
        self._last_line = line
        try:
            self._add(json.loads(line))
        except (ValueError, TypeError, RecursionError) as error:
            place = f"line {self._lines} of {self._path.name}"
            self.problem = unreadable(place, error)

    def _add(self, row):
        if not isinstance(row, dict) or "epoch" not in row:
            raise ValueError("there is no 'epoch'")
        epoch = row["epoch"]
        if not isinstance(epoch, int) or not 1 <= epoch <= MOST_EPOCHS:
            raise ValueError(f"there is an epoch {epoch!r:.30}")
        self._clock(epoch, row.get("seconds"))
        self.epoch = epoch
        if "nc_accuracy" in row:
            self._measured("error", 1 - _number(row["nc_accuracy"]))
        if "val_nc_accuracy" in row:
            self._measured("test_error", 1 - _number(row["val_nc_accuracy"]))
        if "nc1" in row:
            self._measured("nc1", _number(row["nc1"]))
        if self.terminal_epoch is None and row.get("terminal_phase"):
            self.terminal_epoch = epoch

    def _clock(self, epoch, seconds):
        seconds = _number(seconds)
        if not math.isfinite(seconds):
            return
        # The seconds of a run that resumes may start from 0 again.
        if epoch > self.epoch and seconds > self._seconds:
            pace = (seconds - self._seconds) / (epoch - self.epoch)
            self._paces.append(pace)
        self._seconds = seconds

    def _measured(self, name, number):
        self.last[name] = number
        if name in self.curves and math.isfinite(number):
            points = self.curves[name]
            points.append((self.epoch, number))
            if len(points) > _MOST_POINTS:
                self.curves[name] = _thinned(points)


def _thinned(points):
    """Half of the points, evenly spaced on the logarithmic axis."""
    step = (points[-1][0] / points[0][0]) ** (2 / _MOST_POINTS)
    kept = points[:1]
    for point in points[1:-1]:
        if point[0] >= kept[-1][0] * step:
            kept.append(point)
    return [*kept, points[-1]]


def _number(value):
    """What JSON lacks was written as null."""
    try:
        return float(value) if isinstance(value, int | float) else math.nan
    except OverflowError:
        return math.inf if value > 0 else -math.inf
