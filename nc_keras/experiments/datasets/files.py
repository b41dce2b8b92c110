"""The .npz file that `load` keeps of each dataset."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from nc_keras.experiments.datasets.arrays import ARRAYS
from nc_keras.experiments.datasets.arrays import Dataset
from nc_keras.experiments.datasets.prepared import prepared_path
from nc_keras.experiments.datasets.prepared import read_arrays
from nc_keras.experiments.datasets.sources import SOURCES
from nc_keras.experiments.datasets.streams import LABELS
from nc_keras.experiments.datasets.streams import ImageStream


def npz_path(name: str, data_dir: str | os.PathLike) -> Path:
    """Returns where `load` keeps the arrays of a dataset."""
    return Path(data_dir, f"{name}.npz")


def read_npz(name: str, path: Path) -> Dataset | ImageStream:
    """Reads and checks a file that `write_npz` wrote.

    Args:
        name: The dataset's name in `SOURCES`.
        path: The .npz file; of a streamed dataset it has the labels, and the
            prepared folder is beside it.

    Returns:
        The dataset.

    Raises:
        ValueError: If the file is damaged or holds something else.
    """
    keys = LABELS if SOURCES[name].streamed else ARRAYS
    with open(path, "rb") as file:
        try:
            content = np.load(file, allow_pickle=False)
            arrays = {key: content[key] for key in keys}
            return _checked(name, arrays, path.parent)
        except Exception as error:
            # Flipped bytes surface as eight kinds of exception.
            raise ValueError(
                f"{path} is damaged: {error}\n"
                "Make it again with `python tools/prepare_dataset.py "
                f"{name} --data-dir {path.parent}`. Received: name='{name}'."
            ) from error


def write_npz(dataset: Dataset | ImageStream, path: Path) -> None:
    """Writes a dataset's arrays so that `path` is never half written.

    Args:
        dataset: The dataset, complete.
        path: The .npz file; one that exists is replaced.
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        with open(partial, "wb") as file:
            # Not compressed: almost twice the size, but loads thrice as fast.
            np.savez(file, **dataset.arrays)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def read_prepared(
    name: str, data_dir: str | os.PathLike
) -> Dataset | ImageStream:
    """Reads and checks a dataset that tensorflow-datasets has prepared.

    Of a streamed dataset it reads every record once, for the labels.

    Args:
        name: The dataset's name in `SOURCES`.
        data_dir: The folder that tensorflow-datasets prepared it in.

    Returns:
        The dataset, its images in the order of tensorflow-datasets.

    Raises:
        ValueError: If the folder is damaged, or the arrays are not what
            `SOURCES` says.
    """
    try:
        arrays = read_arrays(name, data_dir)
    except (ImportError, ValueError):
        raise
    except Exception as error:
        # array_record and the decoders of images raise all kinds.
        folder = prepared_path(name, data_dir)
        raise ValueError(
            f"{folder} is damaged: {error}\n"
            "Remove the folder, and prepare it again with `python "
            f"tools/prepare_dataset.py {name} --data-dir {data_dir}`. "
            f"Received: {type(error).__name__}."
        ) from error
    return _checked(name, arrays, Path(data_dir))


def _checked(
    name: str, arrays: dict[str, np.ndarray], data_dir: Path
) -> Dataset | ImageStream:
    source = SOURCES[name]
    counts = {"train": source.num_train, "test": source.num_test}
    for split, count in counts.items():
        y = arrays[f"y_{split}"]
        x = arrays.get(f"x_{split}")
        received = (y.shape, y.dtype.name)
        expected = ((count,), "int32")
        if x is not None:
            received = (x.shape, x.dtype.name, *received)
            expected = ((count, *source.image_shape), "uint8", *expected)
        if received != expected:
            raise ValueError(
                f"The {split} images and labels must be {expected}. "
                f"Received: {received}."
            )
        classes = np.unique(y)
        if not np.array_equal(classes, np.arange(source.num_classes)):
            raise ValueError(
                f"The {split} labels must be 0 to {source.num_classes - 1}, "
                f"each at least once. Received: {classes.tolist()}."
            )
    if source.streamed:
        folder = prepared_path(name, data_dir)
        return ImageStream(name, source.num_classes, folder, **arrays)
    return Dataset(name, source.num_classes, **arrays)
