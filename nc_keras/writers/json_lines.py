import itertools
import json
import math
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from keras import ops

from nc_keras.processes import is_first_process
from nc_keras.writers.files import append
from nc_keras.writers.files import replace_atomically
from nc_keras.writers.files import retried
from nc_keras.writers.files import sync


class JSONLinesWriter:
    """Writes one JSON object per epoch to a text file.

    Every line is flushed as it is written. A run that resumes at an epoch
    takes back the lines from that epoch on, and a line that was cut short
    when a process was killed, so that no epoch appears twice. A run that
    starts at the first epoch keeps the file of an earlier one under another
    name: `metrics.jsonl` becomes `metrics.1.jsonl`. Of several processes that
    train one model the first one writes.

    Args:
        path: The file.
        first_epoch: Integer, the first epoch (counted from 1) that will be
            written.
        every_epoch: Boolean, whether each epoch has a row, so that one that
            is missing is noticed. Defaults to `False`.

    Raises:
        ValueError: If a row that stays is damaged, there twice or missing.

    Example:

    >>> path = os.path.join(tempfile.mkdtemp(), "metrics.jsonl")
    >>> from nc_keras.writers.json_lines import JSONLinesWriter
    >>> writer = JSONLinesWriter(path)
    >>> writer.write({"epoch": 1, "nc1": 0.5})
    >>> nc_keras.writers.json_lines.read_json_lines(path)
    [{'epoch': 1, 'nc1': 0.5}]
    """

    def __init__(
        self,
        path: str | os.PathLike,
        first_epoch: int = 1,
        every_epoch: bool = False,
    ):
        self.path = pathlib.Path(path).absolute()
        self.earlier = []
        if first_epoch > 1:
            rows = read_json_lines(self.path, every_epoch, first_epoch)
            self.earlier = [r for r in rows if r.get("epoch", 0) < first_epoch]
        last = self.earlier[-1]["epoch"] if self.earlier else first_epoch - 1
        if every_epoch and last != first_epoch - 1:
            raise ValueError(
                f"{self.path} ends at epoch {last}, and the training goes on "
                f"at epoch {first_epoch}. Go on after epoch {last}, or move "
                "the file away."
            )
        self._writes = is_first_process()
        if not self._writes:
            return
        if first_epoch == 1 and _bytes(self.path):
            name = _free_name(self.path)
            retried(lambda: self.path.rename(name))
        lines = "".join(json.dumps(row) + "\n" for row in self.earlier)
        replace_atomically(self.path, lambda path: path.write_text(lines))

    def write(self, row: Mapping[str, Any]) -> None:
        """Appends a row of numbers, arrays, strings or whatever logs hold.

        What JSON lacks (NaN, infinity) is null; what it does not know is
        written as text.
        """
        if not self._writes:
            return
        row = {str(key): _plain(value) for key, value in row.items()}
        append(self.path, (json.dumps(row) + "\n").encode())

    def sync(self) -> None:
        """Waits until everything is on the disk."""
        if self._writes:
            sync(self.path)


def read_json_lines(
    path: str | os.PathLike,
    every_epoch: bool = False,
    before: int | None = None,
) -> list[dict]:
    """Reads the rows of a file; a last line that was cut short is left out.

    Args:
        path: The file. One that does not exist has no rows.
        every_epoch: Boolean, whether each epoch has a row, from the first in
            the file on. Defaults to `False`.
        before: Integer, an epoch: what comes after the row before it may be
            damaged, and is not read. Defaults to `None`, all rows.

    Raises:
        ValueError: If a line is damaged, or an epoch is there twice or
            missing; the message names file and line.
    """
    path = pathlib.Path(path)
    whole, _, _ = _bytes(path).rpartition(b"\n")
    rows, last = [], None
    for number, line in enumerate(whole.splitlines(), start=1):
        if before is not None and last is not None and last >= before - 1:
            break
        try:
            row = json.loads(line)
            epoch = row.get("epoch")
            follows = last is None or epoch is None or epoch > last
            if not follows:
                raise ValueError(f"epoch {epoch} comes after epoch {last}")
            if every_epoch and last is not None and epoch != last + 1:
                raise ValueError(f"no row between epochs {last} and {epoch}")
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(
                f"{path} is damaged in line {number}: {error}. Mend the line, "
                "or move the file away and begin anew."
            ) from error
        rows.append(row)
        last = epoch
    return rows


def _bytes(path):
    """What is in a file; nothing if there is none."""
    try:
        return retried(path.read_bytes)
    except FileNotFoundError:
        return b""


def _plain(value):
    """A value as JSON can say it."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if ops.is_tensor(value):
        value = ops.convert_to_numpy(value)
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if value is None or isinstance(value, bool | int):
        return value
    return str(value)


def _free_name(path):
    names = (path.with_suffix(f".{i}{path.suffix}") for i in itertools.count(1))
    return next(name for name in names if not name.exists())
