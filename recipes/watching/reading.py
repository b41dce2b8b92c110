"""Reads files of JSON that other processes write at the same time."""

import collections
import json
import math
import pathlib
import statistics
from typing import Any

_RECENT = 10


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
    except (OSError, ValueError) as error:
        return {}, unreadable(path.name, error)
    return values, None


def unreadable(what: str, error: Exception) -> str:
    """Says why something cannot be read, without the path."""
    reason = getattr(error, "strerror", None) or error
    return f"{what} cannot be read: {reason}"


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
        """Float, seconds an epoch: the median of the recent ones."""
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
        except (ValueError, TypeError) as error:
            place = f"line {self._lines} of {self._path.name}"
            self.problem = unreadable(place, error)

    def _add(self, row):
        if "epoch" not in row:
            raise ValueError("there is no 'epoch'")
        epoch = int(row["epoch"])
        if epoch < 1:
            raise ValueError(f"there is an epoch {epoch}")
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
        if not isinstance(seconds, int | float):
            return
        # The seconds of a run that resumes may start from 0 again.
        if epoch > self.epoch and seconds > self._seconds:
            pace = (seconds - self._seconds) / (epoch - self.epoch)
            self._paces.append(pace)
        self._seconds = seconds

    def _measured(self, name, number):
        self.last[name] = number
        if name in self.curves and math.isfinite(number):
            self.curves[name].append((self.epoch, number))


def _number(value):
    """What JSON lacks was written as null."""
    return float(value) if isinstance(value, int | float) else math.nan
