"""Loads a dataset by its name."""

from __future__ import annotations

import os

import numpy as np

from nc_keras.experiments.datasets import originals
from nc_keras.experiments.datasets import prepared
from nc_keras.experiments.datasets.arrays import Dataset
from nc_keras.experiments.datasets.files import npz_path
from nc_keras.experiments.datasets.files import read_npz
from nc_keras.experiments.datasets.files import read_prepared
from nc_keras.experiments.datasets.files import write_npz
from nc_keras.experiments.datasets.own import own_dataset
from nc_keras.experiments.datasets.source_batches import SourceStream
from nc_keras.experiments.datasets.sources import SOURCES
from nc_keras.experiments.datasets.sources import unknown
from nc_keras.experiments.datasets.streams import ImageStream
from nc_keras.experiments.datasets.subsets import imbalance
from nc_keras.experiments.datasets.subsets import oversample
from nc_keras.experiments.datasets.subsets import part_of
from nc_keras.experiments.options.settings import Settings


def load(
    name: str, data_dir: str | os.PathLike = "data"
) -> Dataset | ImageStream:
    """Loads a dataset by name.

    Args:
        name: One of `NAMES`.
        data_dir: Folder of the prepared datasets; "digits" needs none.

    Returns:
        The dataset, with uint8 images: an `ImageStream` of "imagenet2012",
        a `Dataset` of all others.

    Raises:
        ValueError: If the name is unknown or the cached file is damaged.
        FileNotFoundError: If the data is neither there nor to be downloaded;
            the message says which command prepares it.

    Example:

    >>> from nc_keras.experiments.datasets.loading import load
    >>> load("digits").image_shape
    (8, 8, 1)
    """
    if name == "digits":
        return digits()
    if name not in SOURCES:
        raise ValueError(unknown(name))
    path = npz_path(name, data_dir)
    # The .npz is all that is needed, unless the images are elsewhere.
    needs_folder = SOURCES[name].streamed or not path.exists()
    if needs_folder and not prepared.is_prepared(name, data_dir):
        _download(name, data_dir)
    if path.exists():
        return read_npz(name, path)
    dataset = read_prepared(name, data_dir)
    write_npz(dataset, path)
    return dataset


def digits(test_fraction: float = 0.25, seed: int = 0) -> Dataset:
    """Loads scikit-learn's 1,797 scanned digits of 8 x 8 pixels, 0 to 16.

    Args:
        test_fraction: Share of the images that is held out, class by class;
            the default gives 1,347 training and 450 test images.
        seed: Chooses the split; the same seed gives the same split.

    Returns:
        The `Dataset`, with images `[N, 8, 8, 1]`.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    bunch = load_digits()
    images = bunch.images.astype(np.uint8)[..., np.newaxis]
    labels = bunch.target.astype(np.int32)
    x_train, x_test, y_train, y_test = train_test_split(
        images,
        labels,
        test_size=test_fraction,
        random_state=seed,
        stratify=labels,
    )
    return Dataset("digits", 10, x_train, y_train, x_test, y_test)


def _download(name: str, data_dir: str | os.PathLike) -> None:
    try:
        if SOURCES[name].streamed:
            raise PermissionError("its archives need an account of their site")
        import requests

        download = prepared.builder(name, data_dir)
        # Without a network tfds would retry for minutes before it gives up.
        requests.head(next(iter(download.url_infos)), timeout=10)
        download.download_and_prepare()
    except Exception as error:
        # Whatever stopped tfds, the way out is the same.
        message = _how_to_prepare(name, data_dir, error)
        raise FileNotFoundError(message) from error


def _how_to_prepare(
    name: str, data_dir: str | os.PathLike, error: Exception
) -> str:
    source = SOURCES[name]
    npz = (
        "" if source.streamed else f"  {npz_path(name, data_dir).absolute()}\n"
    )
    hint = ""
    if source.package:
        hint = (
            f"Debian's package {source.package} has them, a few bytes "
            f"smaller, in {source.package_dir}. "
        )
    return (
        f"The dataset '{name}' is not prepared. None of these exists:\n{npz}"
        f"  {prepared.prepared_path(name, data_dir).absolute()}\n"
        "and tensorflow-datasets could not download it. Prepare it without "
        "internet, from the root of this project, with\n"
        f"  python tools/prepare_dataset.py {name} --archives DIR "
        f"--data-dir {data_dir}\n"
        f"where the folder DIR holds the original files\n{_archives(name)}\n"
        f"{hint}What stopped the download: "
        f"{type(error).__name__}: {error}. "
        f"Received: name='{name}', data_dir='{data_dir}'."
    )


def _archives(name: str) -> str:
    try:
        return originals.archive_list(originals.archives(name))
    except ImportError:
        return "  (install tensorflow-datasets, and the tool names them)"


def prepare(settings: Settings) -> Dataset | ImageStream | SourceStream:
    """Loads the data set, or a part of it.

    Raises:
        ValueError: If a batch is larger than what is left.
    """
    data = settings.meant("dataset", settings.dataset)
    if isinstance(data, str):
        dataset = load(data, settings.data_dir)
    else:
        dataset = own_dataset(settings.dataset, data)
    if isinstance(dataset, SourceStream):
        parts = (settings.per_class, settings.test_images)
        parts += (settings.imbalance, settings.oversample)
        if any(one is not None for one in parts):
            raise ValueError(
                f"All batches of {dataset.name!r} are read, which come from a "
                "source. Leave --per-class, --imbalance, --oversample and "
                "--test-images out."
            )
        return dataset
    dataset = part_of(dataset, settings.per_class, settings.test_images)
    if settings.imbalance is not None and settings.ratio is not None:
        dataset = imbalance(
            *(dataset, settings.imbalance, settings.ratio, settings.minority)
        )
    if settings.oversample is not None:
        dataset = oversample(dataset, settings.oversample)
    if settings.batch_size > dataset.num_train:
        raise ValueError(
            f"There are {dataset.num_train:,} training images. Choose a "
            "smaller batch. Received: "
            f"batch_size={settings.batch_size}."
        )
    return dataset
