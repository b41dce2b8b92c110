"""Snapshots of a training, each one file, of which the newest are kept."""

import dataclasses
import functools
import io
import json
import math
import os
import pathlib
import re
import zipfile
from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops

from nc_keras.writers.files import is_passing
from nc_keras.writers.files import replace_atomically
from nc_keras.writers.files import retried
from nc_keras.writers.files import writable_directory

_RECORD = "record"
_NAME = re.compile(r"epoch-(\d+)\.npz")


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

    >>> from nc_keras.writers.snapshots import Snapshot
    >>> from nc_keras.writers.snapshots import SnapshotDirectory
    >>> snapshots = SnapshotDirectory(tempfile.mkdtemp())
    >>> weights = [np.ones(3)]
    >>> snapshots.save(Snapshot(7, weights, {"loss": 0.5}))
    >>> snapshots.newest().record
    {'loss': 0.5}
    """

    def __init__(self, directory: str | os.PathLike, keep: int = 2):
        self.directory = pathlib.Path(directory)
        self.keep = keep

    @property
    def paths(self) -> list[pathlib.Path]:
        """The files, the oldest first."""
        # Not `glob`, which passes over a directory that cannot be read.
        try:
            names = retried(lambda: os.listdir(self.directory))
        except FileNotFoundError:
            return []
        paths = (self.directory / name for name in names)
        return sorted(filter(_epoch, paths), key=_epoch)

    def save(self, snapshot: Snapshot) -> None:
        """Writes a snapshot, and deletes those that are not kept.

        Raises:
            OSError: If it cannot be written; the earlier ones are whole.
        """
        writable_directory(self.directory)
        path = self.directory / f"epoch-{snapshot.epoch:06d}.npz"
        # A process that was killed while it wrote may have left a part.
        for part in self.directory.glob(".*-epoch-*.npz"):
            retried(functools.partial(part.unlink, missing_ok=True))
        replace_atomically(path, lambda path: _write(path, snapshot))
        for old in self.paths[: -self.keep]:
            retried(functools.partial(old.unlink, missing_ok=True))

    def newest(self) -> Snapshot | None:
        """Reads the newest snapshot that is whole; a damaged one is named.

        Raises:
            OSError: If the storage is away: it may be whole.
        """
        for path in reversed(self.paths):
            try:
                return retried(functools.partial(_read, path))
            # Damaged bytes surface as anything: RuntimeError ("encrypted"),
            # zlib.error, MemoryError and what else zipfile and NumPy raise.
            except Exception as error:
                if isinstance(error, OSError) and is_passing(error):
                    raise OSError(
                        error.errno,
                        f"Cannot read {path}: {error.strerror}. Wait until "
                        "the storage answers; if this file alone cannot be "
                        "read, delete it, and what is before it is used.",
                    ) from error
                print(f"{path} is damaged and is not used: {error}")
        return None

    def delete(self) -> None:
        """Deletes all snapshots, and the directory if nothing else is there."""
        for path in self.paths:
            retried(functools.partial(path.unlink, missing_ok=True))
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
    record["state"] = json.loads(json.dumps(snapshot.record, default=pack))
    record["arrays"] = list(map(_description, arrays))
    text = json.dumps(record)
    entries = {f"{index:06d}": array for index, array in enumerate(arrays)}
    np.savez(path, **entries, **{_RECORD: np.array(text)})


def _read(path):
    entries = _entries(path)

    def unpack(value):
        if value.keys() == {"__array__"}:
            return arrays[value["__array__"]]
        return value

    text = str(entries.pop(_RECORD))
    arrays = [entries.pop(f"{index:06d}") for index in range(len(entries))]
    record = json.loads(text, object_hook=unpack)
    expected = record.get("arrays", list(map(_description, arrays)))
    if list(map(_description, arrays)) != expected:
        raise ValueError("its arrays are not those that were written")
    if record["epoch"] != _epoch(path):
        raise ValueError(f"it is of epoch {record['epoch']}")
    if not record["count"] <= len(arrays):
        raise ValueError("it has too few arrays")
    return Snapshot(record["epoch"], arrays[: record["count"]], record["state"])


def _entries(path):
    """The arrays of a file, which is not believed to be one of ours."""
    size = path.stat().st_size
    with zipfile.ZipFile(path) as content:
        members = content.infolist()
        # Ours are stored as they are: nothing unpacks to more than is there.
        if sum(one.file_size for one in members) > size or any(
            one.compress_type != zipfile.ZIP_STORED for one in members
        ):
            raise ValueError("it is packed otherwise than it was written")
        if len({one.filename for one in members}) != len(members):
            raise ValueError("an array is there twice")
        return {
            one.filename.removesuffix(".npy"): _array(content.read(one))
            for one in members
        }


def _array(data):
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    read_header = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }[version]
    shape, is_fortran, dtype = read_header(stream)
    begin = stream.tell()
    if dtype.hasobject or min(shape, default=0) < 0:
        raise ValueError("it holds what is no array of numbers")
    if math.prod(shape) * dtype.itemsize != len(data) - begin:
        raise ValueError(f"it has not the bytes of an array of shape {shape}")
    order = "F" if is_fortran else "C"
    values = np.ndarray(shape, dtype, data, begin, order=order)
    return values.copy(order=order)


def _description(array):
    return [str(array.dtype), list(array.shape)]


def _epoch(path):
    """The epoch in the name of a file, or 0 if it is none of ours."""
    name = _NAME.fullmatch(path.name)
    return int(name[1]) if name else 0
