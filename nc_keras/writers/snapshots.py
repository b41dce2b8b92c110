"""Snapshots of a training, each one file, of which the newest are kept."""

import dataclasses
import json
import os
import pathlib
import zipfile
from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops

from nc_keras.writers.files import replace_atomically
from nc_keras.writers.files import writable_directory

_RECORD = "record"


@dataclasses.dataclass(frozen=True, eq=False)
class Snapshot:
    """The state of a training after an epoch.

    Attributes:
        epoch: Integer, the epochs that were finished.
        arrays: List of NumPy arrays.
        record: Dictionary of what JSON can say, and of more arrays.
    """

    epoch: int
    arrays: Sequence[np.ndarray]
    record: dict[str, Any]


class SnapshotDirectory:
    """A directory with the last few snapshots of one training.

    A file is written under another name, flushed to the disk and renamed, so
    that a killed process leaves the earlier one. The checksums of all arrays
    are compared when it is read.

    Args:
        directory: The directory; it is made when the first is saved.
        keep: Integer, how many snapshots stay.

    Example:

    >>> snapshots = nc_keras.writers.SnapshotDirectory(tempfile.mkdtemp())
    >>> weights = [np.ones(3)]
    >>> snapshots.save(nc_keras.writers.Snapshot(7, weights, {"loss": 0.5}))
    >>> snapshots.newest().record
    {'loss': 0.5}
    """

    def __init__(self, directory: str | os.PathLike, keep: int = 2):
        self.directory = pathlib.Path(directory)
        self.keep = keep

    @property
    def paths(self) -> list[pathlib.Path]:
        """The files, the oldest first."""
        return sorted(self.directory.glob("epoch-*.npz"))

    def save(self, snapshot: Snapshot) -> None:
        """Writes a snapshot, and deletes those that are not kept.

        Raises:
            OSError: If it cannot be written; the earlier ones are whole.
        """
        writable_directory(self.directory)
        path = self.directory / f"epoch-{snapshot.epoch:06d}.npz"
        # A process that was killed while it wrote may have left a part.
        for part in self.directory.glob(".*-epoch-*.npz"):
            part.unlink()
        replace_atomically(path, lambda path: _write(path, snapshot))
        for old in self.paths[: -self.keep]:
            old.unlink()

    def newest(self) -> Snapshot | None:
        """Reads the newest snapshot that is whole; a damaged one is named."""
        for path in reversed(self.paths):
            try:
                return _read(path)
            # Cut or flipped bytes surface as any of these.
            except (
                *(OSError, ValueError, KeyError, TypeError, EOFError),
                *(zipfile.BadZipFile, NotImplementedError, OverflowError),
            ) as error:
                print(f"{path} is damaged and is not used: {error}")
        return None

    def delete(self) -> None:
        """Deletes all snapshots, and the directory if nothing else is there."""
        for path in self.paths:
            path.unlink()
        if self.directory.exists() and not any(self.directory.iterdir()):
            self.directory.rmdir()


def _write(path, snapshot):
    arrays = list(snapshot.arrays)

    def pack(value):
        if ops.is_tensor(value):  # logs hold them, of metrics per class
            value = ops.convert_to_numpy(value)
        if isinstance(value, np.generic):
            return value.item()
        if not isinstance(value, np.ndarray):
            raise TypeError(
                "A state must be of numbers, strings, lists, dictionaries and "
                f"arrays. Received: {value!r} of type {type(value).__name__}."
            )
        arrays.append(value)
        return {"__array__": len(arrays) - 1}

    record = {"epoch": snapshot.epoch, "count": len(arrays)}
    text = json.dumps(record | {"state": snapshot.record}, default=pack)
    entries = {f"{index:06d}": array for index, array in enumerate(arrays)}
    np.savez(path, **entries, **{_RECORD: np.array(text)})


def _read(path):
    # NumPy leaves a file open that turns out to be none of its own.
    with open(path, "rb") as file, np.load(file, allow_pickle=False) as content:
        entries = {name: content[name] for name in content.files}

    def unpack(value):
        if value.keys() == {"__array__"}:
            return entries[f"{value['__array__']:06d}"]
        return value

    record = json.loads(str(entries[_RECORD]), object_hook=unpack)
    arrays = [entries[f"{index:06d}"] for index in range(record["count"])]
    return Snapshot(record["epoch"], arrays, record["state"])
