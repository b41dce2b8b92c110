"""Images in folders, one folder per class."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from nc_keras.experiments.datasets.arrays import Dataset

_ENDINGS = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"}
_TEST_SHARE = 0.2


def image_folder(
    path: str | os.PathLike,
    size: tuple[int, int] | None = None,
    name: str | None = None,
) -> Dataset:
    """Reads a folder of images into memory, one folder per class.

    With `train` and `test` below, each of which has the folders of the
    classes, these are the two sets. Otherwise a fifth of the images of each
    class, at least one, is held out for the test, chosen with seed 0. Classes
    are numbered by name. If any image has colours, all get three channels.

    Args:
        path: The folder.
        size: Height and width to bring all images to. By default they must be
            of one size.
        name: What it is called; by default as the folder.

    Raises:
        ValueError: If a folder has no images, an image cannot be read, or
            sizes differ; the message names the folder or file.
    """
    path, note = Path(path), ""
    if (path / "train").is_dir() and (path / "test").is_dir():
        train, test = _files(path / "train"), _files(path / "test")
        if train.keys() != test.keys():
            raise ValueError(
                f"{path} must have the same classes in train and test. "
                f"Received: {sorted(train.keys() ^ test.keys())} in one only."
            )
    else:
        train, test = _split(_files(path))
        note = (
            f"There is no test folder: {len(_flat(test)):,} images, a fifth of "
            "each class, were held out for the test, chosen with seed 0."
        )
    images = _read([*_flat(train), *_flat(test)], size)
    y_train, y_test = (
        np.repeat(np.arange(len(one)), [len(files) for files in one.values()])
        for one in (train, test)
    )
    return Dataset(
        name or path.name,
        len(train),
        images[: len(y_train)],
        y_train.astype("int32"),
        images[len(y_train) :],
        y_test.astype("int32"),
        note,
    )


def _files(folder):
    """The images of each class."""
    if not folder.is_dir():
        raise ValueError(
            "There is no such folder of images, with a folder for each class "
            f"in it. Received: {folder}."
        )
    classes = sorted(
        one
        for one in folder.iterdir()
        if one.is_dir() and not one.name.startswith(".")
    )
    if len(classes) < 2:
        raise ValueError(
            f"{folder} must have a folder for each class, two or more. "
            f"Received: {[one.name for one in classes]}."
        )
    found = {
        one.name: sorted(
            file for file in one.iterdir() if file.suffix.lower() in _ENDINGS
        )
        for one in classes
    }
    empty = [name for name, files in found.items() if not files]
    if empty:
        raise ValueError(
            f"There are no images ({' '.join(sorted(_ENDINGS))}) in "
            f"{folder / empty[0]}."
        )
    return found


def _split(classes):
    train, test = {}, {}
    for index, (name, files) in enumerate(classes.items()):
        if len(files) < 2:
            raise ValueError(
                "A class needs two images or more, one of them to test. "
                f"Received: {files[0]} alone."
            )
        order = np.random.default_rng((0, index)).permutation(len(files))
        count = max(1, round(_TEST_SHARE * len(files)))
        chosen = set(order[:count].tolist())
        test[name] = [files[i] for i in sorted(chosen)]
        train[name] = [f for i, f in enumerate(files) if i not in chosen]
    return train, test


def _flat(classes):
    return [file for files in classes.values() for file in files]


def _read(files, size):
    """All images, `[N, height, width, channels]`, uint8."""
    from PIL import Image

    grey, pixels = True, []
    for file in files:
        try:
            with Image.open(file) as image:
                grey = grey and image.mode in ("L", "1")
                if size is not None:
                    # Pillow has the width first.
                    image = image.convert("RGB").resize(
                        size[::-1], Image.Resampling.BILINEAR
                    )
                pixels.append(np.asarray(image.convert("RGB")))
        except (OSError, SyntaxError, ValueError) as error:
            raise ValueError(
                f"{file} cannot be read as an image: {error}"
            ) from error
        if pixels[-1].shape != pixels[0].shape:
            raise ValueError(
                "Images must be of one size; image_folder(path, size=(height, "
                f"width)) brings them to one. Received: {files[0]} of "
                f"{pixels[0].shape[:2]} and {file} of {pixels[-1].shape[:2]}."
            )
    images = np.stack(pixels)
    return images[..., :1] if grey else images
