import gzip
import hashlib
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from nc_keras.experiments import datasets
from tests import forked
from tools import prepare_dataset

ROOT = Path(__file__).resolve().parents[2]
FASHION = datasets.SOURCES["fashion_mnist"]
pytest.importorskip("tensorflow_datasets")
ARCHIVES = datasets.archives("fashion_mnist")
needs_fashion = pytest.mark.skipif(
    not FASHION.package_dir.is_dir(),
    reason=f"needs Debian's package {FASHION.package}",
)

# When the published archives were compressed, found by trying the seconds of
# August 2017. Debian overwrote this time and dropped the name, nothing else.
MTIMES = {
    "train-images-idx3-ubyte.gz": 1504176606,
    "train-labels-idx1-ubyte.gz": 1504176606,
    "t10k-images-idx3-ubyte.gz": 1504176627,
    "t10k-labels-idx1-ubyte.gz": 1504176627,
}


def run(*arguments):
    return forked.run("tools/prepare_dataset.py", *arguments, cwd=ROOT)


def read_idx(prefix):
    """Returns Debian's images and labels, past headers that are checked."""
    folder = FASHION.package_dir
    images = gzip.open(folder / f"{prefix}-images-idx3-ubyte.gz").read()
    labels = gzip.open(folder / f"{prefix}-labels-idx1-ubyte.gz").read()
    count = {"train": 60_000, "t10k": 10_000}[prefix]
    assert struct.unpack(">4I", images[:16]) == (2051, count, 28, 28)
    assert struct.unpack(">2I", labels[:8]) == (2049, count)
    x = np.frombuffer(images, np.uint8, offset=16).reshape(count, 28 * 28)
    return x, np.frombuffer(labels, np.uint8, offset=8)


def write_small_archives(folder):
    """Writes well-formed IDX archives of three black images."""
    for archive in ARCHIVES:
        header = struct.pack(">4I", 2051, 3, 28, 28)
        content = header + bytes(3 * 28 * 28)
        if "labels" in archive.filename:
            content = struct.pack(">2I", 2049, 3) + bytes(3)
        (folder / archive.filename).write_bytes(gzip.compress(content))


def refusal(folder, capsys):
    """Runs the tool on the archives in `folder`; returns its error message."""
    data_dir = folder / "data"
    with pytest.raises(SystemExit) as info:
        prepare_dataset.main(
            ["fashion_mnist", f"--archives={folder}", f"--data-dir={data_dir}"]
        )
    assert not data_dir.exists()
    assert info.value.code != 0
    assert "Traceback" not in capsys.readouterr().err
    return str(info.value.code)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """The real Fashion-MNIST, prepared as a user does; and what was said."""
    data_dir = tmp_path_factory.mktemp("data")
    command = [sys.executable, "tools/prepare_dataset.py", "fashion_mnist"]
    done = subprocess.run(
        [*command, "--data-dir", data_dir],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return data_dir, done


@needs_fashion
def test_output_is_short_and_clean(prepared):
    data_dir, done = prepared
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert len(lines) == 4
    assert lines[0].startswith("4 archives: content verified")
    assert lines[2].startswith(f"{data_dir / 'fashion_mnist/3.0.1'}: ")
    assert lines[3].startswith(f"{data_dir / 'fashion_mnist.npz'}: 55.2 MB")


@needs_fashion
def test_arrays_are_the_original_images(prepared):
    data = datasets.load("fashion_mnist", prepared[0])
    for prefix, x, y, per_class in (
        ("train", data.x_train, data.y_train, 6000),
        ("t10k", data.x_test, data.y_test, 1000),
    ):
        pixels, labels = read_idx(prefix)
        assert np.bincount(y).tolist() == [per_class] * 10
        # tensorflow-datasets shuffles, so compare as sets of pairs.
        original = sorted(zip(labels, map(bytes, pixels), strict=True))
        assert sorted(zip(y, map(bytes, x), strict=True)) == original
    (mean,), (std,) = data.pixel_statistics()
    assert (round(mean / 255, 4), round(std / 255, 4)) == (0.2860, 0.3530)


@needs_fashion
def test_second_run_does_nothing(prepared):
    data_dir, _ = prepared
    before = {p: p.stat().st_mtime_ns for p in data_dir.rglob("*")}
    done = run("fashion_mnist", "--data-dir", data_dir)
    assert done.returncode == 0
    assert done.stdout.count("already") == 2
    assert {p: p.stat().st_mtime_ns for p in data_dir.rglob("*")} == before


@needs_fashion
def test_tfds_reads_the_folder(prepared):
    tfds = pytest.importorskip("tensorflow_datasets")
    data = datasets.load("fashion_mnist", prepared[0])
    source = tfds.data_source(
        "fashion_mnist", split="train", data_dir=prepared[0], download=False
    )
    assert len(source) == 60_000
    np.testing.assert_array_equal(source[7]["image"], data.x_train[7])


@needs_fashion
def test_pinned_content_is_that_of_the_published_archives():
    for archive in ARCHIVES:
        packed = (FASHION.package_dir / archive.filename).read_bytes()
        # The gzip header again as it was: flag 8 says that a name follows.
        header = b"\x1f\x8b\x08\x08" + struct.pack(
            "<I", MTIMES[archive.filename]
        )
        name = archive.filename.removesuffix(".gz").encode() + b"\0"
        original = header + packed[8:10] + name + packed[10:]
        assert len(original) == archive.size
        assert hashlib.sha256(original).hexdigest() == archive.sha256
        content = gzip.decompress(original)
        assert hashlib.sha256(content).hexdigest() == archive.content


def test_damaged_npz_is_written_again(tmp_path, monkeypatch, capsys):
    path = datasets.npz_path("fashion_mnist", tmp_path)
    path.write_bytes(b"damaged")
    rng = np.random.default_rng(0)
    sound = datasets.Dataset(
        "fashion_mnist",
        10,
        rng.integers(0, 256, (60_000, 28, 28, 1), np.uint8),
        np.arange(60_000, dtype=np.int32) % 10,
        rng.integers(0, 256, (10_000, 28, 28, 1), np.uint8),
        np.arange(10_000, dtype=np.int32) % 10,
    )
    monkeypatch.setattr(datasets, "read_prepared", lambda *_: sound)
    prepare_dataset.cache("fashion_mnist", tmp_path)
    assert "damaged, so it is written again" in capsys.readouterr().out
    loaded = datasets.load("fashion_mnist", tmp_path)
    np.testing.assert_array_equal(loaded.x_test, sound.x_test)


def test_missing_archives_are_all_named(tmp_path, capsys):
    write_small_archives(tmp_path)
    gone = ARCHIVES[1:3]
    for archive in gone:
        (tmp_path / archive.filename).unlink()
    message = refusal(tmp_path, capsys)
    for archive in gone:
        assert f"{archive.filename} ({archive.size:,} bytes)" in message
    assert f"  {ARCHIVES[0].filename} (" not in message
    assert message.endswith(f"Received: archives='{tmp_path}'.")


def test_wrong_content_is_refused_with_both_hashes(tmp_path, capsys):
    write_small_archives(tmp_path)
    archive = ARCHIVES[0]
    path = tmp_path / archive.filename
    received = hashlib.sha256(gzip.decompress(path.read_bytes())).hexdigest()
    message = refusal(tmp_path, capsys)
    assert str(path) in message
    assert archive.content in message and received in message


@pytest.mark.parametrize("keep", [0, 5, 12, -9])
def test_truncated_archive_is_refused(tmp_path, capsys, keep):
    write_small_archives(tmp_path)
    path = tmp_path / ARCHIVES[0].filename
    path.write_bytes(path.read_bytes()[:keep])
    message = refusal(tmp_path, capsys)
    assert str(path) in message
    assert ARCHIVES[0].content in message
    assert "received SHA-256" in message


def test_command_line_shows_no_traceback(tmp_path):
    done = run("fashion_mnist", "--archives", tmp_path, "--data-dir", tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: Archives missing in {tmp_path}:")
    done = run("--help")
    assert done.returncode == 0 and "--archives DIR" in done.stdout
