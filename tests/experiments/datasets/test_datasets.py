import dataclasses
import json
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from nc_keras.experiments import datasets
from nc_keras.experiments.datasets import originals
from nc_keras.experiments.datasets import prepared
from nc_keras.experiments.options.imbalance import imbalanced_counts

ROOT = Path(__file__).resolve().parents[3]
SOURCE = datasets.Source(
    version="1.0.0",
    image_shape=(4, 5, 1),
    num_classes=3,
    num_train=60,
    num_test=30,
    package="dataset-tiny",
    package_dir=Path("/usr/share/datasets/tiny"),
)


def images_and_labels(rng, count):
    labels = rng.permutation(np.arange(count, dtype=np.int32) % 3)
    return rng.integers(0, 256, (count, 4, 5, 1), np.uint8), labels


@pytest.fixture
def tiny(monkeypatch):
    """A dataset of random images that `datasets.load` knows as "tiny"."""
    monkeypatch.setitem(datasets.SOURCES, "tiny", SOURCE)
    rng = np.random.default_rng(0)
    train, test = images_and_labels(rng, 60), images_and_labels(rng, 30)
    return datasets.Dataset("tiny", 3, *train, *test)


def prepare_with_tfds(dataset, data_dir, file_format):
    tfds = pytest.importorskip("tensorflow_datasets")
    arrays = {
        "train": (dataset.x_train, dataset.y_train),
        "test": (dataset.x_test, dataset.y_test),
    }
    tfds.dataset_builders.store_as_tfds_dataset(
        name=dataset.name,
        version="1.0.0",
        features=tfds.features.FeaturesDict(
            {
                "image": tfds.features.Image(shape=(4, 5, 1)),
                "label": tfds.features.ClassLabel(num_classes=3),
            }
        ),
        split_datasets={
            split: [
                (index, {"image": x[index], "label": int(y[index])})
                for index in range(len(x))
            ]
            for split, (x, y) in arrays.items()
        },
        data_dir=data_dir,
        file_format=file_format,
        disable_shuffling=True,
    )


def load_in_fresh_interpreter(data_dir):
    """Loads "tiny" in a fresh interpreter, which prints what it imported."""
    code = f"""
import sys
from pathlib import PosixPath
from nc_keras.experiments import datasets
from nc_keras.experiments.datasets import Source
datasets.SOURCES["tiny"] = {SOURCE}
print(datasets.load("tiny", {str(data_dir)!r}).x_train.sum())
print([m for m in ("tensorflow", "tensorflow_datasets") if m in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=os.environ | {"KERAS_BACKEND": "numpy"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def assert_same(left, right):
    for field in dataclasses.fields(datasets.Dataset):
        mine, other = getattr(left, field.name), getattr(right, field.name)
        np.testing.assert_array_equal(mine, other, strict=True)


def test_digits_are_the_real_images():
    digits = datasets.load("digits")
    x = np.concatenate([digits.x_train, digits.x_test])
    assert digits.x_train.shape == (1347, 8, 8, 1)
    assert digits.x_test.shape == (450, 8, 8, 1)
    assert digits.image_shape == (8, 8, 1)
    assert x.dtype == np.uint8 and digits.y_test.dtype == np.int32
    # Sum and maximum of scikit-learn's own array of 1,797 images.
    assert (int(x.sum()), int(x.max())) == (561718, 16)


def test_digits_split_is_stratified():
    digits = datasets.digits()
    train, test = np.bincount(digits.y_train), np.bincount(digits.y_test)
    np.testing.assert_allclose(test, (train + test) * 450 / 1797, atol=1)


def test_digits_split_follows_the_seed():
    assert_same(datasets.digits(seed=3), datasets.digits(seed=3))
    other = datasets.digits(seed=4).x_train
    assert not np.array_equal(datasets.digits(seed=3).x_train, other)


def test_unknown_name_suggests_the_nearest():
    with pytest.raises(ValueError) as info:
        datasets.load("fashon_mnist")
    message = str(info.value)
    assert "Did you mean 'fashion_mnist'?" in message
    assert "Known: 'digits', 'mnist', 'fashion_mnist', 'cifar10'" in message
    assert message.endswith("Received: name='fashon_mnist'.")


def test_standardized_is_exact(tiny):
    standard = tiny.standardized()
    mean = tiny.x_train.mean(dtype=np.float64)
    std = tiny.x_train.std(dtype=np.float64)
    for split in ("x_train", "x_test"):
        received = getattr(standard, split)
        assert received.dtype == np.float32
        expected = (getattr(tiny, split) - mean) / std
        np.testing.assert_allclose(received, expected, rtol=3e-7, atol=3e-7)
    assert standard.y_train is tiny.y_train


def test_mean_and_std_are_exact_and_need_little_memory():
    rng = np.random.default_rng(1)
    # Bright images of small spread: where a one-pass float32 variance fails.
    images = rng.integers(250, 253, (4000, 28, 28, 1), np.uint8)
    expected = images.mean(dtype=np.float64), images.std(dtype=np.float64)
    labels = np.zeros(4000, np.int32)
    dataset = datasets.Dataset("bright", 1, images, labels, images, labels)
    tracemalloc.start()
    (mean,), (std,) = dataset.pixel_statistics()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_allclose((mean, std), expected, rtol=1e-13)
    assert peak < images.nbytes / 10


def test_pixel_statistics_are_of_each_channel():
    rng = np.random.default_rng(2)
    images = rng.integers(0, [9, 99, 256], (50, 6, 7, 3)).astype(np.uint8)
    labels = np.zeros(50, np.int32)
    dataset = datasets.Dataset("colours", 1, images, labels, images, labels)
    mean, std = dataset.pixel_statistics()
    assert all(type(value) is float for value in (*mean, *std))
    pixels = images.reshape(-1, 3).astype(np.float64)
    np.testing.assert_allclose(mean, pixels.mean(axis=0), rtol=1e-13)
    np.testing.assert_allclose(std, pixels.std(axis=0), rtol=1e-13)


def test_statistics_of_floats_are_those_of_channels_too(tiny):
    mean, std = tiny.standardized().pixel_statistics()
    np.testing.assert_allclose([mean, std], [[0.0], [1.0]], atol=1e-6)


def test_data_in_memory_is_given_as_it_is(tiny):
    assert (tiny.num_train, tiny.num_test) == (60, 30)
    x, y = tiny.measured_train_data(8)
    assert x is tiny.x_train and y is tiny.y_train
    x, y = tiny.test_data(8)
    assert x is tiny.x_test and y is tiny.y_test


def epoch_of(data, steps):
    batches = [next(data) for _ in range(steps)]
    x, y = zip(*batches, strict=True)
    return [len(labels) for labels in y], np.concatenate(x), np.concatenate(y)


def test_the_order_of_an_epoch_follows_from_seed_and_epoch(tiny):
    def begin(seed, first_epoch):
        data = tiny.fit_data(16, seed, first_epoch, remainder="keep")
        assert data["steps_per_epoch"] == 4
        return iter(data["x"])

    data = begin(3, 0)
    first, second = epoch_of(data, 4), epoch_of(data, 4)
    for sizes, x, y in (first, second):
        assert sizes == [16, 16, 16, 12]
        # Every image once, with its own label.
        rows = [
            np.flatnonzero((tiny.x_train == image).all((1, 2, 3)))
            for image in x
        ]
        assert all(
            label in tiny.y_train[r] for label, r in zip(y, rows, strict=True)
        )
        assert sorted(y.tolist()) == sorted(tiny.y_train.tolist())
    assert not np.array_equal(first[1], second[1])
    np.testing.assert_array_equal(epoch_of(begin(3, 1), 4)[1], second[1])
    assert not np.array_equal(epoch_of(begin(4, 0), 4)[1], first[1])


def test_incomplete_batches_are_left_out_and_all_images_are_used(tiny):
    data = tiny.fit_data(16, seed=3)
    assert data["steps_per_epoch"] == 3
    whole = iter(tiny.fit_data(16, seed=3, remainder="keep")["x"])
    batches, seen = iter(data["x"]), set()
    for _ in range(8):
        sizes, x, _ = epoch_of(batches, 3)
        assert sizes == [16, 16, 16]
        # The first batches of the same order.
        np.testing.assert_array_equal(x, epoch_of(whole, 4)[1][:48])
        seen |= {image.tobytes() for image in x}
    assert seen == {image.tobytes() for image in tiny.x_train}


def test_what_is_left_over_can_be_spread(tiny):
    data = tiny.fit_data(16, seed=3, remainder="spread")
    assert data["steps_per_epoch"] == 3
    sizes, x, _ = epoch_of(iter(data["x"]), 3)
    assert sizes == [20, 20, 20]
    whole = iter(tiny.fit_data(16, seed=3, remainder="keep")["x"])
    np.testing.assert_array_equal(x, epoch_of(whole, 4)[1])


def test_a_batch_that_cannot_be_made_is_refused(tiny):
    with pytest.raises(ValueError, match="Received: batch_size=0"):
        tiny.fit_data(0, seed=0)
    with pytest.raises(ValueError, match="60 training images.*batch_size=61"):
        tiny.fit_data(61, seed=0)
    with pytest.raises(ValueError, match="remainder='half'"):
        tiny.fit_data(16, seed=0, remainder="half")


def test_the_digest_tells_data_apart(tiny):
    changed = tiny.y_train.copy()
    changed[0] = (changed[0] + 1) % 10
    others = [
        dataclasses.replace(tiny, y_train=changed),
        dataclasses.replace(tiny, x_test=tiny.x_test[::-1]),
        tiny.select(np.arange(59)),
    ]
    digests = {one.digest for one in (tiny, *others)}
    assert len(digests) == 4
    copy = dataclasses.replace(tiny, x_train=tiny.x_train.copy())
    assert copy.digest == tiny.digest


def test_standardized_twice_is_refused(tiny):
    with pytest.raises(ValueError, match=r"x_train\.dtype=float32\.$"):
        tiny.standardized().standardized()


def test_take_is_balanced_and_follows_the_seed(tiny):
    few = datasets.take(tiny, per_class=7, seed=5)
    assert np.bincount(few.y_train).tolist() == [7, 7, 7]
    assert_same(few, datasets.take(tiny, per_class=7, seed=5))
    other = datasets.take(tiny, per_class=7, seed=6)
    assert not np.array_equal(few.x_train, other.x_train)
    assert few.x_test is tiny.x_test


def test_take_keeps_order_pairs_and_nesting(tiny):
    numbered = dataclasses.replace(tiny, x_train=np.arange(60))
    few = datasets.take(numbered, per_class=4)
    more = datasets.take(numbered, per_class=9)
    assert (np.diff(few.x_train) > 0).all()
    np.testing.assert_array_equal(few.y_train, tiny.y_train[few.x_train])
    assert set(few.x_train) < set(more.x_train)


@pytest.mark.parametrize("per_class", [0, 21])
def test_take_needs_enough_images(tiny, per_class):
    with pytest.raises(ValueError, match=f"Received: per_class={per_class}"):
        datasets.take(tiny, per_class)


def test_npz_round_trip_leaves_nothing_else(tiny, tmp_path):
    path = datasets.npz_path("tiny", tmp_path)
    datasets.write_npz(tiny, path)
    assert_same(datasets.load("tiny", tmp_path), tiny)
    assert list(tmp_path.iterdir()) == [path]


def test_npz_survives_an_interrupted_write(tiny, tmp_path, monkeypatch):
    path = datasets.npz_path("tiny", tmp_path)
    datasets.write_npz(tiny, path)

    def fill_disk(file, **arrays):
        file.write(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(np, "savez", fill_disk)
    with pytest.raises(OSError, match="No space left"):
        datasets.write_npz(tiny, path)
    assert_same(datasets.load("tiny", tmp_path), tiny)
    assert list(tmp_path.iterdir()) == [path]


def become_npy(path):
    with path.open("wb") as file:
        np.save(file, np.zeros(3))


def flip_bit(path):
    content = bytearray(path.read_bytes())
    content[500] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-100]),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"not an archive"),
        become_npy,
        flip_bit,
    ],
    ids=["truncated", "empty", "text", "npy", "flipped bit"],
)
def test_damaged_npz_says_how_to_remake_it(tiny, tmp_path, damage):
    path = datasets.npz_path("tiny", tmp_path)
    datasets.write_npz(tiny, path)
    damage(path)
    with pytest.raises(ValueError) as info:
        datasets.load("tiny", tmp_path)
    assert str(info.value).startswith(f"{path} is damaged")
    command = f"prepare_dataset.py tiny --data-dir {tmp_path}`"
    assert command in str(info.value)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda d: {"x_train": d.x_train[1:]}, "(59, 4, 5, 1)"),
        (lambda d: {"x_test": d.x_test.astype(np.float32)}, "float32"),
        (lambda d: {"y_test": d.y_test.astype(np.int64)}, "int64"),
        (lambda d: {"y_train": d.y_train + 1}, "[1, 2, 3]"),
        (lambda d: {"y_test": d.y_test % 2}, "[0, 1]"),
    ],
    ids=["count", "image type", "label type", "label range", "empty class"],
)
def test_npz_with_other_arrays_is_refused(tiny, tmp_path, change, message):
    wrong = dataclasses.replace(tiny, **change(tiny))
    datasets.write_npz(wrong, datasets.npz_path("tiny", tmp_path))
    with pytest.raises(ValueError) as info:
        datasets.load("tiny", tmp_path)
    assert message in str(info.value)


def test_npz_is_read_with_numpy_alone(tiny, tmp_path):
    datasets.write_npz(tiny, datasets.npz_path("tiny", tmp_path))
    total, imported = load_in_fresh_interpreter(tmp_path)
    assert int(total) == tiny.x_train.sum()
    assert imported == "[]"


@pytest.mark.parametrize("file_format", ["array_record", "tfrecord"])
def test_prepared_folder_is_read_and_cached(tiny, tmp_path, file_format):
    prepare_with_tfds(tiny, tmp_path, file_format)
    loaded = datasets.load("tiny", tmp_path)
    assert_same(loaded, tiny)
    assert_same(datasets.read_npz("tiny", tmp_path / "tiny.npz"), tiny)


def test_array_record_is_read_without_tensorflow(tiny, tmp_path):
    prepare_with_tfds(tiny, tmp_path, "array_record")
    total, imported = load_in_fresh_interpreter(tmp_path)
    assert int(total) == tiny.x_train.sum()
    assert imported == "['tensorflow_datasets']"


class Offline:
    """A tensorflow-datasets builder whose server refuses connections."""

    url_infos = {"http://127.0.0.1:9/tiny.gz": None}

    def download_and_prepare(self):
        raise AssertionError("The download must not be tried without network.")


def test_without_network_the_error_says_what_to_do(tiny, tmp_path, monkeypatch):
    pytest.importorskip("requests")
    archive = datasets.Archive("tiny.gz", 1234, "0" * 64)
    monkeypatch.setattr(prepared, "builder", lambda name, data_dir: Offline())
    monkeypatch.setattr(originals, "archives", lambda name: (archive,))
    with pytest.raises(FileNotFoundError) as info:
        datasets.load("tiny", tmp_path)
    message = str(info.value)
    for part in (
        str(tmp_path / "tiny.npz"),
        str(tmp_path / "tiny/1.0.0"),
        "python tools/prepare_dataset.py tiny --archives DIR "
        f"--data-dir {tmp_path}",
        "tiny.gz (1,234 bytes)",
        "package dataset-tiny",
        "/usr/share/datasets/tiny",
        "ConnectionError",
        f"Received: name='tiny', data_dir='{tmp_path}'.",
    ):
        assert part in message


def test_without_tfds_the_error_says_what_to_do(tiny, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(FileNotFoundError, match="tensorflow_datasets halted"):
        datasets.load("tiny", tmp_path)


def test_take_test_images():
    digits = datasets.load("digits")
    some = datasets.take_test(digits, 100)
    again = datasets.take_test(digits, 100)
    np.testing.assert_array_equal(some.x_test, again.x_test)
    assert some.num_test == 100 and some.num_train == digits.num_train
    rows = {image.tobytes() for image in digits.x_test}
    assert all(image.tobytes() in rows for image in some.x_test)
    for count in (0, 451):
        with pytest.raises(ValueError, match=f"450 .* count={count}"):
            datasets.take_test(digits, count)


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "fashion_mnist"])
@pytest.mark.parametrize(
    "kind, key", [("exponential", "exp"), ("step", "step")]
)
@pytest.mark.parametrize("share", ["0.1", "0.02", "0.01", "0.005"])
def test_counts_are_those_of_the_published_loaders(name, kind, key, share):
    path = Path(__file__).parents[2] / "data/imbalance.json"
    expected = json.loads(path.read_text())["counts"][f"{name}_{key}_{share}"]
    counts = expected["counts"]
    found = imbalanced_counts(len(counts), counts[0], 1 / float(share), kind)
    assert found == counts
    assert sum(found) == expected["total"]


@pytest.mark.parametrize("kind, minority", [("step", 3), ("exponential", None)])
def test_classes_are_made_unequal(kind, minority):
    data = datasets.load("digits")
    few = datasets.imbalance(data, kind, 10.0, minority)
    counts = np.bincount(few.y_train)
    assert counts[0] == np.bincount(data.y_train).min() == 10 * counts[-1] + 1
    if kind == "step":
        assert (counts[:7] == counts[0]).all() and (counts[7:] == 13).all()
    else:
        assert (np.diff(counts) <= 0).all()
    # The test images stay, and the choice is that of the data alone.
    assert few.num_test == data.num_test
    again = datasets.imbalance(data, kind, 10.0, minority)
    assert again.digest == few.digest != data.digest
    fewer = datasets.imbalance(data, kind, 20.0, minority)
    rows = {image.tobytes() for image in few.x_train}
    assert all(image.tobytes() in rows for image in fewer.x_train)


@pytest.mark.parametrize(
    "arguments, match",
    [
        (("cubic", 10.0), "must be one of"),
        (("step", 0.5), "1 or more"),
        (("exponential", np.inf), "and finite"),
        (("step", np.nan), "1 or more"),
        (("step", 10.0, 10), "leave one"),
        (("step", 10.0, 0), "leave one"),
        (("exponential", 10.0, 3), "is for"),
        (("exponential", 1000.0), "leaves the smallest class none"),
    ],
)
def test_classes_that_cannot_be_made_unequal(arguments, match):
    with pytest.raises(ValueError, match=match):
        datasets.imbalance(datasets.load("digits"), *arguments)
