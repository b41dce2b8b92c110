"""Folders that tensorflow-datasets prepared."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nc_keras.experiments.datasets.images import decode
from nc_keras.experiments.datasets.sources import SOURCES

if TYPE_CHECKING:
    import tensorflow_datasets as tfds

# Readable without TensorFlow. `tfds.load` as tf.data needs "tfrecord" instead;
# "parquet" would do both, but tfds 4.9.10 silently drops most records.
FILE_FORMAT = "array_record"


def prepared_path(name: str, data_dir: str | os.PathLike) -> Path:
    """Returns where tensorflow-datasets keeps a dataset."""
    return Path(data_dir, name, SOURCES[name].version)


def is_prepared(name: str, data_dir: str | os.PathLike) -> bool:
    """Returns whether tensorflow-datasets has prepared a dataset."""
    # tfds renames the folder into place only when it is complete.
    return (prepared_path(name, data_dir) / "dataset_info.json").exists()


def builder(name: str, data_dir: str | os.PathLike) -> tfds.core.DatasetBuilder:
    """Returns the tensorflow-datasets builder that prepares a dataset."""
    import tensorflow_datasets as tfds

    return tfds.builder(
        f"{name}:{SOURCES[name].version}",
        data_dir=data_dir,
        file_format=FILE_FORMAT,
    )


def read_arrays(
    name: str, data_dir: str | os.PathLike
) -> dict[str, np.ndarray]:
    """Reads what `load` keeps of a prepared dataset.

    Args:
        name: The dataset's name in `SOURCES`.
        data_dir: The folder that tensorflow-datasets prepared it in.

    Returns:
        Images and labels by the names of a `Dataset`, in the order of
        tensorflow-datasets; of a streamed dataset only the labels.
    """
    import tensorflow_datasets as tfds

    source = SOURCES[name]
    prepared = tfds.builder_from_directory(prepared_path(name, data_dir))
    splits = {"train": "train", "test": source.test_split}
    arrays = {}
    for key, split in splits.items():
        if source.streamed:
            arrays[f"y_{key}"] = _read_labels(prepared, split)
        else:
            x, y = _read_split(prepared, split)
            arrays |= {f"x_{key}": x, f"y_{key}": y}
    return arrays


class Records:
    """JPEG images and labels of a split, read in any order by any thread.

    Args:
        folder: The prepared folder, in array_record format.
        split: Name of the split.
    """

    def __init__(self, folder: str | os.PathLike, split: str):
        import tensorflow_datasets as tfds

        prepared = tfds.builder_from_directory(folder)
        self._source = _undecoded(prepared, split)

    def __len__(self) -> int:
        return len(self._source)

    def read(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Reads some records.

        Args:
            positions: Which ones, `[n]`.

        Returns:
            Images `[n, height, width, 3]`, uint8, and labels `[n]`, int32.
        """
        rows = self._source.__getitems__(positions.tolist())
        images = np.stack([decode(row["image"]) for row in rows])
        return images, np.array([row["label"] for row in rows], np.int32)


def _read_split(
    prepared: tfds.core.DatasetBuilder, split: str
) -> tuple[np.ndarray, np.ndarray]:
    if prepared.info.file_format.value == FILE_FORMAT:
        source = prepared.as_data_source(split)
        # One read of all records is three times faster than a loop of reads.
        rows = source.__getitems__(range(len(source)))
        images = np.stack([row["image"] for row in rows])
        labels = np.array([row["label"] for row in rows])
    else:
        batch = prepared.as_dataset(split=split, batch_size=-1)
        images = batch["image"].numpy()
        labels = batch["label"].numpy()
    return images, labels.astype(np.int32)


def _read_labels(prepared: tfds.core.DatasetBuilder, split: str) -> np.ndarray:
    source = _undecoded(prepared, split)
    labels = []
    # In parts, because the records of ImageNet do not fit in memory.
    for start in range(0, len(source), 4096):
        part = range(start, min(start + 4096, len(source)))
        labels += [row["label"] for row in source.__getitems__(part)]
    return np.array(labels, np.int32)


def _undecoded(prepared: tfds.core.DatasetBuilder, split: str) -> Sequence:
    import tensorflow_datasets as tfds

    info = prepared.info
    received = info.file_format.value
    if received != FILE_FORMAT or split not in info.splits:
        raise ValueError(
            f"{prepared.data_path} must be in the format {FILE_FORMAT} and "
            f"have the split '{split}'. Remove it and prepare it again with "
            "tools/prepare_dataset.py. "
            f"Received: format {received}, splits {list(info.splits)}."
        )
    skip = {"image": tfds.decode.SkipDecoding()}
    return prepared.as_data_source(split, decoders=skip)
