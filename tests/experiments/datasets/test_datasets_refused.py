"""What the tool says when it cannot prepare a dataset."""

import contextlib
import errno
import hashlib
import resource
import shutil
import types

import pytest
from small_sets import change_source
from small_sets import run_tool
from small_sets import write_small
from small_sets import write_small_imagenet

from nc_keras.experiments import datasets
from tools import prepare_dataset


@pytest.fixture
def cifar(tmp_path, monkeypatch):
    return write_small("cifar10", tmp_path / "archives", monkeypatch)


def refusal(name, folder, data_dir, left=None):
    """Runs the tool; returns its message, once nothing is left behind."""
    with pytest.raises(SystemExit) as info:
        run_tool(name, "--archives", folder, "--data-dir", data_dir)
    if left is None:
        assert not data_dir.exists()
    else:
        assert sorted(data_dir.iterdir()) == left
    message = info.value.code
    assert message.startswith("error: ")
    return message


@pytest.mark.parametrize(
    "name, near",
    [("cifar_10", "cifar10"), ("imagenet", "imagenet2012"), ("svhn", None)],
)
def test_unknown_name(name, near, tmp_path):
    message = refusal(name, tmp_path, tmp_path / "data")
    assert (f"Did you mean '{near}'?" in message) == (near is not None)
    assert "'cifar100', 'svhn_cropped', 'stl10', 'imagenet2012'." in message
    assert message.endswith(f"Received: name='{name}'.")


def test_digits_need_no_preparation(tmp_path):
    message = refusal("digits", tmp_path, tmp_path / "data")
    assert "nothing to prepare" in message


def test_no_folder_named_lists_the_files():
    with pytest.raises(SystemExit) as info:
        run_tool("svhn_cropped")
    message = info.value.code
    assert "  extra_32x32.mat (1,329,278,602 bytes)\n" in message
    assert "--archives DIR" in message
    assert message.endswith("Received: archives=None.")


def test_folder_that_is_not_there(tmp_path):
    folder = tmp_path / "nowhere"
    message = refusal("stl10", folder, tmp_path / "data")
    assert f"{folder}, which is not a folder:\n" in message
    assert "  stl10_binary.tar.gz (2,640,397,119 bytes)\n" in message
    assert message.endswith(f"Received: archives='{folder}'.")


@pytest.mark.parametrize("split", ["train", "val"])
def test_partly_present_imagenet(split, tmp_path, monkeypatch):
    small = write_small_imagenet(tmp_path / "archives", monkeypatch)
    path = small.folder / f"ILSVRC2012_img_{split}.tar"
    size = path.stat().st_size
    path.unlink()
    message = refusal("imagenet2012", small.folder, tmp_path / "data")
    assert f"{small.folder}:\n  {path.name} ({size:,} bytes)\n" in message
    assert message.count(".tar") == 1


@pytest.mark.parametrize("change", [-7, 7])
def test_other_size(change, cifar, tmp_path):
    path = cifar.folder / "cifar-10-binary.tar.gz"
    content = path.read_bytes()
    path.write_bytes((content + b"x" * 7)[: len(content) + change])
    message = refusal("cifar10", cifar.folder, tmp_path / "data")
    assert str(path) in message
    assert ("cut short" if change < 0 else "too long") in message
    assert f"must have {len(content):,} bytes" in message
    assert f"Received: {len(content) + change:,} bytes." in message


def test_other_content(cifar, tmp_path):
    path = cifar.folder / "cifar-10-binary.tar.gz"
    content = bytearray(path.read_bytes())
    expected = hashlib.sha256(content).hexdigest()
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    message = refusal("cifar10", cifar.folder, tmp_path / "data")
    assert f"{path} is not the original file: other content" in message
    assert f"expected SHA-256: {expected}" in message
    assert hashlib.sha256(content).hexdigest() in message


def test_disk_with_too_little_room(cifar, tmp_path, monkeypatch):
    usage = types.SimpleNamespace(free=1234)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    message = refusal("cifar10", cifar.folder, tmp_path / "deep" / "data")
    needed = prepare_dataset.bytes_needed("cifar10")
    assert f"needs up to {needed:,} bytes" in message
    assert message.endswith("Received: 1,234 bytes free.")
    assert not (tmp_path / "deep").exists()


def test_bytes_needed_are_enough_for_fashion_mnist():
    # Its archives, its raw pixels and, as measured, what tfds makes of them.
    archives, raw, prepared = 30_878_645, 54_880_000, 43_400_000
    needed = prepare_dataset.bytes_needed("fashion_mnist")
    assert archives + raw + prepared < needed < 200e6


@contextlib.contextmanager
def full_disk():
    """Lets nobody write more than 20,000 bytes to a file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


# The first fails in Python, where the archive is extracted; the second in
# C++, where the records are written.
@pytest.mark.parametrize("name", ["cifar10", "svhn_cropped"])
def test_disk_that_fills_up(name, tmp_path, monkeypatch):
    small = write_small(name, tmp_path / "archives", monkeypatch)
    with full_disk():
        message = refusal(name, small.folder, tmp_path / "deep" / "data")
    assert f"'{name}' could not be prepared: " in message
    assert "bytes are needed" in message
    assert not (tmp_path / "deep").exists()


def test_folder_that_cannot_be_written(cifar, tmp_path):
    file = tmp_path / "file"
    file.write_text("not a folder")
    with pytest.raises(SystemExit) as info:
        folder = file / "data"
        run_tool(
            "cifar10", f"--archives={cifar.folder}", f"--data-dir={folder}"
        )
    assert "'cifar10' could not be prepared" in info.value.code
    assert info.value.code.endswith(f"data_dir='{folder}'.")


def test_disk_that_fills_up_before_the_npz(cifar, tmp_path, monkeypatch):
    def fail(dataset, path):
        raise OSError(errno.ENOSPC, "No space left on device")

    data_dir = tmp_path / "data"
    with monkeypatch.context() as patch:
        patch.setattr(datasets, "write_npz", fail)
        folder = data_dir / "cifar10"
        message = refusal("cifar10", cifar.folder, data_dir, left=[folder])
    assert "No space left on device" in message
    # What is complete is used again.
    run_tool("cifar10", "--data-dir", data_dir)
    assert datasets.load("cifar10", data_dir).num_train == 20


def test_interrupted_work_is_removed(cifar, tmp_path, monkeypatch):
    def interrupt(self, **arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(
        "tensorflow_datasets.core.DatasetBuilder.download_and_prepare",
        interrupt,
    )
    message = refusal("cifar10", cifar.folder, tmp_path / "data")
    assert "interrupted" in message


def test_more_open_files_are_allowed():
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
        prepare_dataset._allow_open_files(512)
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (512, before[1])
        prepare_dataset._allow_open_files(300)
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 512
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_counts_that_do_not_fit_are_refused(cifar, tmp_path, monkeypatch):
    change_source(monkeypatch, "cifar10", num_train=21)
    data_dir = tmp_path / "data"
    message = refusal(
        "cifar10", cifar.folder, data_dir, left=[data_dir / "cifar10"]
    )
    assert "((21, 32, 32, 3), 'uint8', (21,), 'int32')" in message


@pytest.mark.parametrize("keep", [0, 100, -5000])
def test_damaged_records_are_refused(keep, cifar, tmp_path):
    data_dir = tmp_path / "data"
    arguments = ["--archives", cifar.folder, "--data-dir", data_dir]
    run_tool("cifar10", *arguments)
    (data_dir / "cifar10.npz").unlink()
    folder = datasets.prepared_path("cifar10", data_dir)
    path = next(folder.glob("*train.array_record*"))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(SystemExit) as info:
        run_tool("cifar10", *arguments)
    assert str(folder) in info.value.code
    assert "Remove the folder" in info.value.code
    assert not (data_dir / "cifar10.npz").exists()
