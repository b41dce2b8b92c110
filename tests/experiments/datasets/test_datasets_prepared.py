import dataclasses
import gzip
import hashlib

import numpy as np
import pytest
from small_sets import WRITERS
from small_sets import as_pairs
from small_sets import change_source
from small_sets import run_tool
from small_sets import tfds
from small_sets import write_small

from nc_keras.experiments import datasets


@pytest.mark.parametrize("name", WRITERS)
def test_original_archives_are_read_back(name, tmp_path, monkeypatch):
    small = write_small(name, tmp_path / "archives", monkeypatch)
    data_dir = tmp_path / "data"
    run_tool(name, "--archives", small.folder, "--data-dir", data_dir)
    data = datasets.load(name, data_dir)
    assert as_pairs(data.x_train, data.y_train) == as_pairs(*small.train)
    assert as_pairs(data.x_test, data.y_test) == as_pairs(*small.test)


def test_mnist_may_be_compressed_again(tmp_path, monkeypatch):
    small = write_small("mnist", tmp_path / "archives", monkeypatch)
    content = {}
    for path in small.folder.iterdir():
        idx = gzip.decompress(path.read_bytes())
        content[path.name] = hashlib.sha256(idx).hexdigest()
        path.write_bytes(gzip.compress(idx, compresslevel=1, mtime=1))
    change_source(monkeypatch, "mnist", content=content)
    run_tool("mnist", f"--archives={small.folder}", f"--data-dir={tmp_path}")
    data = datasets.load("mnist", tmp_path)
    assert as_pairs(data.x_train, data.y_train) == as_pairs(*small.train)


@pytest.mark.parametrize("name", datasets.SOURCES)
def test_sources_agree_with_tensorflow_datasets(name, tmp_path):
    source = datasets.SOURCES[name]
    builder = datasets.builder(name, tmp_path)
    assert str(builder.version) == source.version
    assert builder.info.features["label"].num_classes == source.num_classes
    shape = builder.info.features["image"].shape
    # The files of ImageNet have many sizes.
    assert shape == ((None, None, 3) if source.streamed else source.image_shape)


@pytest.mark.parametrize("name", datasets.SOURCES)
def test_archives_are_those_of_tensorflow_datasets(name):
    archives = datasets.archives(name)
    infos = tfds.builder_cls(name).url_infos.values()
    assert [(a.size, a.sha256) for a in archives] == [
        (info.size, info.checksum) for info in infos
    ]
    names = {archive.filename for archive in archives}
    assert set(datasets.SOURCES[name].content) in (set(), names)


def test_imagenet_archives_have_names():
    names = [archive.filename for archive in datasets.archives("imagenet2012")]
    assert names == ["ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar"]


def test_balance_is_exact_and_repeatable(tmp_path, monkeypatch):
    small = write_small("mnist", tmp_path / "archives", monkeypatch)
    run_tool("mnist", f"--archives={small.folder}", f"--data-dir={tmp_path}")
    monkeypatch.setitem(datasets.BALANCED, "mnist", 2)
    full = datasets.load("mnist", tmp_path)
    assert len(set(np.bincount(full.y_train))) > 1
    balanced = datasets.balance(full)
    assert np.bincount(balanced.y_train).tolist() == [2] * 10
    assert balanced.num_train == 20 and balanced.x_test is full.x_test
    again = datasets.balance(datasets.load("mnist", tmp_path))
    np.testing.assert_array_equal(again.x_train, balanced.x_train)


def test_balance_is_that_of_the_paper():
    assert datasets.BALANCED == {
        "mnist": 5000,
        "svhn_cropped": 4600,
        "imagenet2012": 600,
    }
    digits = datasets.digits()
    assert datasets.balance(digits) is digits


def test_balance_of_a_subset_is_refused():
    digits = dataclasses.replace(datasets.digits(), name="mnist")
    with pytest.raises(ValueError, match=r"Received: per_class=5000\.$"):
        datasets.balance(digits)
