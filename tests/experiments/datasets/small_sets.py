"""Prepares small files of the original formats with the tool itself."""

import dataclasses
import hashlib
import types

import numpy as np
import pytest
import small_archives

from nc_keras.experiments import datasets
from tools import prepare_dataset

tfds = pytest.importorskip("tensorflow_datasets")
WRITERS = {
    "mnist": small_archives.write_mnist,
    "cifar10": small_archives.write_cifar10,
    "cifar100": small_archives.write_cifar100,
    "svhn_cropped": small_archives.write_svhn,
    "stl10": small_archives.write_stl10,
}


def publish(name, folder, monkeypatch):
    """Tells tensorflow-datasets that the small files are the original ones."""
    builder = tfds.builder_cls(name)
    infos = {}
    for url, info in builder.url_infos.items():
        filename = info.filename or url.rpartition("/")[2]
        content = (folder / filename).read_bytes()
        infos[url] = tfds.download.checksums.UrlInfo(
            size=len(content),
            checksum=hashlib.sha256(content).hexdigest(),
            filename=info.filename,
        )
    monkeypatch.setattr(builder, "url_infos", infos)


def change_source(monkeypatch, name, **changes):
    source = dataclasses.replace(datasets.SOURCES[name], **changes)
    monkeypatch.setitem(datasets.SOURCES, name, source)


def expect(monkeypatch, name, train, test, **changes):
    """Tells `datasets` how many images the small files have."""
    counts = {"num_train": len(train[1]), "num_test": len(test[1])}
    change_source(monkeypatch, name, num_unused=0, **counts, **changes)


def write_small(name, folder, monkeypatch):
    """Writes small archives, and makes everybody take them for the original."""
    folder.mkdir()
    train, test = WRITERS[name](folder, np.random.default_rng(0))
    publish(name, folder, monkeypatch)
    expect(monkeypatch, name, train, test, content={})
    if name == "mnist":
        from tensorflow_datasets.image_classification import mnist

        monkeypatch.setattr(mnist, "_TRAIN_EXAMPLES", len(train[1]))
        monkeypatch.setattr(mnist, "_TEST_EXAMPLES", len(test[1]))
    return types.SimpleNamespace(folder=folder, train=train, test=test)


def write_small_imagenet(folder, monkeypatch):
    """The same of ImageNet, with its first five classes."""
    from tensorflow_datasets.datasets.imagenet2012 import imagenet_common

    folder.mkdir()
    labels = folder / "validation_labels.txt"
    rng = np.random.default_rng(0)
    train, test = small_archives.write_imagenet(folder, rng, labels)
    monkeypatch.setattr(
        imagenet_common, "_VALIDATION_LABELS_FNAME", str(labels)
    )
    publish("imagenet2012", folder, monkeypatch)
    expect(monkeypatch, "imagenet2012", train, test, num_classes=5)
    return types.SimpleNamespace(folder=folder, train=train, test=test)


def run_tool(name, *arguments):
    prepare_dataset.main([name, *map(str, arguments)])


def as_pairs(x, y):
    """Returns sorted pairs: tensorflow-datasets shuffles the images."""
    return sorted(zip(y.tolist(), map(bytes, x), strict=True))
