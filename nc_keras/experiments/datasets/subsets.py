"""Subsets with a chosen number of training images in every class."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from nc_keras.experiments.datasets.arrays import Dataset
from nc_keras.experiments.datasets.sources import BALANCED
from nc_keras.experiments.datasets.streams import ImageStream
from nc_keras.experiments.options.imbalance import Imbalance
from nc_keras.experiments.options.imbalance import imbalanced_counts

AnyDataset = TypeVar("AnyDataset", Dataset, ImageStream)


def part_of(
    dataset: AnyDataset, per_class: int | None, test_images: int | None
) -> AnyDataset:
    """Returns a balanced part of a dataset, or all of it.

    Args:
        dataset: The dataset.
        per_class: Training images per class, or `None` for all.
        test_images: Test images, or `None` for all.
    """
    if per_class is not None:
        dataset = take(dataset, per_class)
    if test_images is not None:
        dataset = take_test(dataset, test_images)
    return dataset


def take(dataset: AnyDataset, per_class: int, seed: int = 0) -> AnyDataset:
    """Takes the same number of training images from every class, at random.

    With one seed the subsets are nested: `take(d, 10)` is part of
    `take(d, 100)`. Images stay in the order of `dataset`; the test images
    are all kept.

    Args:
        dataset: The dataset to take from.
        per_class: Number of training images of each class.
        seed: Chooses the images; the same seed gives the same images.

    Returns:
        A dataset with `num_classes * per_class` training images.

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
    return _chosen(dataset, [per_class] * dataset.num_classes, seed)


def imbalance(
    dataset: AnyDataset,
    kind: Imbalance,
    ratio: float,
    minority: int | None = None,
    seed: int = 0,
) -> AnyDataset:
    """Makes the classes of the training images unequal, in their order.

    The first class keeps as many images as the smallest class has, and the
    last one `1 / ratio` of them. The test images are all kept. With one seed
    the images of a larger ratio are part of those of a smaller one.

    Args:
        dataset: The dataset to take from.
        kind: `"step"` or `"exponential"`, as in
            `nc_keras.experiments.options.imbalance`.
        ratio: Float, of the largest to the smallest class; infinity for a
            minority without images.
        minority: Integer, the classes of the minority, for `"step"`.
        seed: Chooses the images; the same seed gives the same images.

    Raises:
        ValueError: If a class is left without an image.
    """
    available = np.bincount(dataset.y_train, minlength=dataset.num_classes)
    counts = imbalanced_counts(
        dataset.num_classes, int(available.min()), ratio, kind, minority
    )
    return _chosen(dataset, counts, seed)


def oversample(dataset: Dataset, most: int) -> Dataset:
    """Lets images of rare classes come several times in a pass.

    Each as often as its class fits into the largest one, but `most` times at
    most. What is measured is every image once.

    Args:
        dataset: The dataset, in memory.
        most: Integer, positive.

    Raises:
        ValueError: If the images are streamed, or `most` is not positive.
    """
    if not isinstance(dataset, Dataset) or most < 1:
        raise ValueError(
            "Images in memory can be repeated, once or more. "
            f"Received: '{dataset.name}', a {type(dataset).__name__}, and "
            f"most={most}."
        )
    counts = np.bincount(dataset.y_train, minlength=dataset.num_classes)
    times = np.minimum(counts.max() // np.maximum(counts, 1), most)
    return dataclasses.replace(dataset, repeats=times[dataset.y_train])


def _chosen(
    dataset: AnyDataset, counts: Sequence[int], seed: int
) -> AnyDataset:
    """Some training images of each class, at random, in their order."""
    available = np.bincount(dataset.y_train, minlength=dataset.num_classes)
    rng = np.random.default_rng(seed)
    # Stable, so that each class keeps its images in order.
    by_class = np.argsort(dataset.y_train, kind="stable")
    classes = np.split(by_class, np.cumsum(available)[:-1])
    chosen = [
        rng.permutation(images)[:count]
        for images, count in zip(classes, counts, strict=True)
    ]
    return dataset.select(np.sort(np.concatenate(chosen)))


def balance(dataset: AnyDataset) -> AnyDataset:
    """Balances the training set as Papyan, Han and Donoho (2020) did.

    The paper says how many images per class, not which; here `take` chooses
    them with seed 0, so that every run has the same.

    Args:
        dataset: The full dataset.

    Returns:
        A dataset with `BALANCED[dataset.name]` training images per class, or
        `dataset` itself if the paper left it as it is.

    Raises:
        ValueError: If a class has fewer images, as in a subset.
    """
    if dataset.name not in BALANCED:
        return dataset
    return take(dataset, BALANCED[dataset.name])


def take_test(dataset: Dataset, count: int, seed: int = 0) -> Dataset:
    """Takes some of the test images, at random, to test faster.

    Args:
        dataset: The dataset to take from, in memory.
        count: Number of test images.
        seed: Chooses the images; the same seed gives the same images.

    Returns:
        A dataset with `count` test images, in their order, and all training
        images.

    Raises:
        ValueError: If `count` is below 1 or there are fewer, or if the images
            are streamed.
    """
    if isinstance(dataset, ImageStream):
        raise ValueError(
            f"The test images of '{dataset.name}' are streamed, all of them. "
            f"Received: count={count}."
        )
    if not 1 <= count <= dataset.num_test:
        raise ValueError(
            f"There are {dataset.num_test:,} test images in "
            f"'{dataset.name}'. Received: count={count}."
        )
    order = np.random.default_rng(seed).permutation(dataset.num_test)
    chosen = np.sort(order[:count])
    return dataclasses.replace(
        dataset, x_test=dataset.x_test[chosen], y_test=dataset.y_test[chosen]
    )
