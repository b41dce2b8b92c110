"""Image datasets as plain NumPy arrays, for every recipe and every backend.

`load("fashion_mnist")` reads `data/fashion_mnist.npz` with NumPy alone. The
first call makes that file: from a folder that tensorflow-datasets prepared
(`data/fashion_mnist/3.0.1`), or by letting tensorflow-datasets download it.
Without internet, `tools/prepare_dataset.py` does it from the four archives.

```python
data = datasets.load("fashion_mnist").standardized()
small = datasets.take(data, per_class=100)
model.fit(small.x_train, small.y_train)
```
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import tensorflow_datasets as tfds

# Readable without TensorFlow. `tfds.load` as tf.data needs "tfrecord" instead;
# "parquet" would do both, but tfds 4.9.10 silently drops most records.
FILE_FORMAT = "array_record"

_ARRAYS = ("x_train", "y_train", "x_test", "y_test")


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """Training and test images with their labels.

    Args:
        name: The name that `load` knows it by.
        num_classes: Number of classes C; labels are 0 to C - 1.
        x_train: Images `[N, height, width, channels]`, uint8, or float32
            once standardised.
        y_train: Labels `[N]`, int32.
        x_test: As `x_train`.
        y_test: As `y_train`.
    """

    name: str
    num_classes: int
    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Shape of one image, `(height, width, channels)`."""
        return self.x_train.shape[1:]

    def standardized(self) -> Dataset:
        """Returns float32 images with mean 0 and deviation 1 over `x_train`.

        One mean and one standard deviation for all pixels, as the notebook
        of Papyan, Han and Donoho (2020) normalises MNIST. Both come from the
        training images only and serve the test images too. The statistics
        are those of *this* object: standardise before `take` to keep those
        of the full training set.

        Returns:
            A new `Dataset`; labels are shared, not copied.

        Raises:
            ValueError: If the images are not uint8, as when standardised
                twice.
        """
        if self.x_train.dtype != np.uint8:
            raise ValueError(
                "standardized() needs uint8 images and can be called once. "
                f"Received: x_train.dtype={self.x_train.dtype}."
            )
        mean, std = _mean_and_std(self.x_train)
        return dataclasses.replace(
            self,
            x_train=_standardize(self.x_train, mean, std),
            x_test=_standardize(self.x_test, mean, std),
        )


@dataclasses.dataclass(frozen=True)
class Archive:
    """An original file: its compressed size, the SHA-256 of its content."""

    filename: str
    size: int
    sha256: str


@dataclasses.dataclass(frozen=True)
class Source:
    """What is known of a tensorflow-datasets dataset before it is read."""

    version: str
    image_shape: tuple[int, int, int]
    num_classes: int
    num_train: int
    num_test: int
    archives: tuple[Archive, ...]
    package: str
    package_dir: Path


# `size` is the published .gz; `sha256` is of the IDX file inside it, because
# mirrors compress again: Debian's differ by the name and time in the header.
# Checked: with both put back, Debian's four have tfds' own .gz checksums. IDX
# magic numbers 2051 and 2049; 60,000 and 10,000 images of 28 x 28; 6,000 and
# 1,000 a class; train pixels / 255 have the well-known mean 0.2860, std 0.3530.
_FASHION_MNIST = (
    Archive(
        "train-images-idx3-ubyte.gz",
        26_421_880,
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    ),
    Archive(
        "train-labels-idx1-ubyte.gz",
        29_515,
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    ),
    Archive(
        "t10k-images-idx3-ubyte.gz",
        4_422_102,
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    ),
    Archive(
        "t10k-labels-idx1-ubyte.gz",
        5_148,
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
)

SOURCES = {
    "fashion_mnist": Source(
        version="3.0.1",
        image_shape=(28, 28, 1),
        num_classes=10,
        num_train=60_000,
        num_test=10_000,
        archives=_FASHION_MNIST,
        package="dataset-fashion-mnist",
        package_dir=Path("/usr/share/datasets/fashion-mnist"),
    ),
}

NAMES = ("digits", *SOURCES)


def load(name: str, data_dir: str | os.PathLike = "data") -> Dataset:
    """Loads a dataset by name.

    Args:
        name: One of `NAMES`.
        data_dir: Folder of the prepared datasets; "digits" needs none.

    Returns:
        The `Dataset`, with uint8 images.

    Raises:
        ValueError: If the name is unknown or the cached file is damaged.
        FileNotFoundError: If the data is neither there nor to be downloaded;
            the message says which command prepares it.

    Example:

    >>> load("digits").image_shape
    (8, 8, 1)
    """
    if name == "digits":
        return digits()
    if name not in SOURCES:
        raise ValueError(_unknown(name))
    path = npz_path(name, data_dir)
    if path.exists():
        return read_npz(name, path)
    if not is_prepared(name, data_dir):
        _download(name, data_dir)
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


def take(dataset: Dataset, per_class: int, seed: int = 0) -> Dataset:
    """Takes the same number of training images from every class, at random.

    With one seed the subsets are nested: `take(d, 10)` is part of
    `take(d, 100)`. Images stay in the order of `dataset`; the test images
    are all kept.

    Args:
        dataset: The `Dataset` to take from.
        per_class: Number of training images of each class.
        seed: Chooses the images; the same seed gives the same images.

    Returns:
        A `Dataset` with `num_classes * per_class` training images.

    Raises:
        ValueError: If `per_class` is below 1 or a class has fewer images.
    """
    available = np.bincount(dataset.y_train, minlength=dataset.num_classes)
    if not 1 <= per_class <= available.min():
        raise ValueError(
            "per_class must be between 1 and the size of the smallest class, "
            f"{available.min()} images of class {available.argmin()} in "
            f"'{dataset.name}'. Received: per_class={per_class}."
        )
    rng = np.random.default_rng(seed)
    chosen = [
        rng.permutation(np.flatnonzero(dataset.y_train == label))[:per_class]
        for label in range(dataset.num_classes)
    ]
    index = np.sort(np.concatenate(chosen))
    return dataclasses.replace(
        dataset,
        x_train=dataset.x_train[index],
        y_train=dataset.y_train[index],
    )


def npz_path(name: str, data_dir: str | os.PathLike) -> Path:
    """Returns where `load` keeps a dataset as NumPy arrays."""
    return Path(data_dir, f"{name}.npz")


def prepared_path(name: str, data_dir: str | os.PathLike) -> Path:
    """Returns where tensorflow-datasets keeps a dataset."""
    return Path(data_dir, name, SOURCES[name].version)


def is_prepared(name: str, data_dir: str | os.PathLike) -> bool:
    """Returns whether tensorflow-datasets has prepared a dataset."""
    # tfds renames the folder into place only when it is complete.
    return (prepared_path(name, data_dir) / "dataset_info.json").exists()


def read_npz(name: str, path: Path) -> Dataset:
    """Reads and checks a file that `write_npz` wrote.

    Args:
        name: The dataset's name in `SOURCES`.
        path: The .npz file.

    Returns:
        The `Dataset`.

    Raises:
        ValueError: If the file is damaged or holds something else.
    """
    with open(path, "rb") as file:
        try:
            content = np.load(file, allow_pickle=False)
            arrays = {key: content[key] for key in _ARRAYS}
            return _checked(name, arrays)
        except Exception as error:
            # Flipped bytes surface as eight kinds of exception.
            raise ValueError(
                f"{path} is damaged: {error}\n"
                "Make it again with `python tools/prepare_dataset.py "
                f"{name} --data-dir {path.parent}`. Received: name='{name}'."
            ) from error


def write_npz(dataset: Dataset, path: Path) -> None:
    """Writes a dataset's arrays so that `path` is never half written.

    Args:
        dataset: The `Dataset`.
        path: The .npz file; one that exists is replaced.
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        with open(partial, "wb") as file:
            # Not compressed: almost twice the size, but loads thrice as fast.
            np.savez(file, **{key: getattr(dataset, key) for key in _ARRAYS})
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def builder(name: str, data_dir: str | os.PathLike) -> tfds.core.DatasetBuilder:
    """Returns the tensorflow-datasets builder that prepares a dataset."""
    import tensorflow_datasets as tfds

    return tfds.builder(
        f"{name}:{SOURCES[name].version}",
        data_dir=data_dir,
        file_format=FILE_FORMAT,
    )


def read_prepared(name: str, data_dir: str | os.PathLike) -> Dataset:
    """Reads and checks a dataset that tensorflow-datasets has prepared.

    Args:
        name: The dataset's name in `SOURCES`.
        data_dir: The folder that tensorflow-datasets prepared it in.

    Returns:
        The `Dataset`, its images in the order of tensorflow-datasets.

    Raises:
        ValueError: If the arrays are not what `SOURCES` says.
    """
    import tensorflow_datasets as tfds

    prepared = tfds.builder_from_directory(prepared_path(name, data_dir))
    x_train, y_train = _read_split(prepared, "train")
    x_test, y_test = _read_split(prepared, "test")
    arrays = dict(zip(_ARRAYS, (x_train, y_train, x_test, y_test), strict=True))
    return _checked(name, arrays)


def archive_list(name: str, archives: tuple[Archive, ...] = ()) -> str:
    """Returns archives with their sizes, one a line; by default all."""
    return "\n".join(
        f"  {archive.filename} ({archive.size:,} bytes)"
        for archive in archives or SOURCES[name].archives
    )


def _read_split(
    prepared: tfds.core.DatasetBuilder, split: str
) -> tuple[np.ndarray, np.ndarray]:
    if prepared.info.file_format.value == "array_record":
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


def _checked(name: str, arrays: dict[str, np.ndarray]) -> Dataset:
    source = SOURCES[name]
    counts = {"train": source.num_train, "test": source.num_test}
    for split, count in counts.items():
        x, y = arrays[f"x_{split}"], arrays[f"y_{split}"]
        received = (x.shape, x.dtype.name, y.shape, y.dtype.name)
        expected = ((count, *source.image_shape), "uint8", (count,), "int32")
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
    return Dataset(name, source.num_classes, **arrays)


def _download(name: str, data_dir: str | os.PathLike) -> None:
    try:
        import requests

        download = builder(name, data_dir)
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
    return (
        f"The dataset '{name}' is not prepared: there is neither\n"
        f"  {npz_path(name, data_dir).absolute()} nor\n"
        f"  {prepared_path(name, data_dir).absolute()}\n"
        "and tensorflow-datasets could not download it. Prepare it without "
        "internet, from the root of this project, with\n"
        f"  python tools/prepare_dataset.py {name} --archives DIR "
        f"--data-dir {data_dir}\n"
        "where the folder DIR holds the original files\n"
        f"{archive_list(name)}\n"
        f"Debian's package {source.package} has them, a few bytes smaller, in "
        f"{source.package_dir}. What stopped the download: "
        f"{type(error).__name__}: {error}. "
        f"Received: name='{name}', data_dir='{data_dir}'."
    )


def _unknown(name: str) -> str:
    close = difflib.get_close_matches(str(name), NAMES, n=1)
    hint = f" Did you mean '{close[0]}'?" if close else ""
    known = ", ".join(f"'{known}'" for known in NAMES)
    return f"Unknown dataset.{hint} Known: {known}. Received: name={name!r}."


def _mean_and_std(images: np.ndarray) -> tuple[float, float]:
    # A histogram needs no float copy, and its integer sums are exact.
    counts = sum(np.bincount(image.ravel(), minlength=256) for image in images)
    levels = np.arange(256)
    total = int(counts.sum())
    first = int(counts @ levels)
    second = int(counts @ levels**2)
    return first / total, math.sqrt(total * second - first**2) / total


def _standardize(images: np.ndarray, mean: float, std: float) -> np.ndarray:
    standard = images.astype(np.float32)
    standard -= mean
    standard /= std
    return standard
