"""ImageNet, read while training: on TensorFlow, and with grain."""

import dataclasses
import io
import itertools
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import keras
import numpy as np
import PIL.Image
import pytest
from small_archives import encode

import nc_keras
from nc_keras.experiments import datasets
from nc_keras.experiments.datasets.images import decode
from nc_keras.experiments.datasets.order import Order

ROOT = Path(__file__).resolve().parents[3]
BACKENDS = ("tensorflow", "jax")


@pytest.fixture(params=BACKENDS)
def backend(request, monkeypatch):
    """Makes streams of both kinds; "jax" and "torch" take the same."""
    if request.param == "jax":
        pytest.importorskip("grain")
    else:
        pytest.importorskip("tensorflow")
    monkeypatch.setattr(keras.backend, "backend", lambda: request.param)
    return request.param


@pytest.fixture
def stream(imagenet):
    return datasets.load("imagenet2012", imagenet.data_dir)


def batches(dataset):
    return [(np.asarray(x), np.asarray(y)) for x, y in dataset]


def joined(dataset):
    x, y = zip(*batches(dataset), strict=True)
    return np.concatenate(x), np.concatenate(y)


def as_pairs(x, y):
    return sorted(zip(y.tolist(), map(bytes, x), strict=True))


def test_interface_is_that_of_arrays(stream):
    names = (
        "name num_classes image_shape num_train num_test y_train y_test "
        "pixel_statistics fit_data test_data measured_train_data select"
    )
    for name in names.split():
        assert hasattr(stream, name) and hasattr(datasets.digits(), name)
    assert (stream.name, stream.num_classes) == ("imagenet2012", 5)
    assert (stream.num_train, stream.num_test) == (18, 10)
    assert stream.image_shape == (224, 224, 3)
    assert np.bincount(stream.y_train).tolist() == [3, 5, 4, 3, 3]
    assert stream.y_test.dtype == np.int32


def test_pixel_statistics_are_the_known_constants(stream):
    mean, std = stream.pixel_statistics()
    np.testing.assert_allclose(mean, [123.675, 116.28, 103.53])
    np.testing.assert_allclose(std, [58.395, 57.12, 57.375])


def test_images_are_the_original_ones(stream, imagenet, backend):
    train, y = stream.measured_train_data(batch_size=4)
    assert y is None
    test, _ = stream.test_data(batch_size=4)
    assert as_pairs(*joined(train)) == as_pairs(*imagenet.train)
    assert as_pairs(*joined(test)) == as_pairs(*imagenet.test)


def test_batches_are_in_order_and_the_last_is_kept(stream, backend):
    dataset, _ = stream.measured_train_data(batch_size=4)
    for _ in range(2):
        received = batches(dataset)
        assert [len(y) for _, y in received] == [4, 4, 4, 4, 2]
        assert received[0][0].dtype == np.uint8
        assert received[4][0].shape == (2, 224, 224, 3)
        labels = np.concatenate([y for _, y in received])
        np.testing.assert_array_equal(labels, stream.y_train, strict=True)


@pytest.mark.parametrize(
    "data",
    [
        lambda stream: stream.measured_train_data(4),
        lambda stream: stream.test_data(3),
        lambda stream: (stream.fit_data(4, seed=7)["x"], None),
    ],
    ids=["measured", "test", "train"],
)
def test_tensorflow_and_grain_give_the_same(stream, monkeypatch, data):
    pytest.importorskip("tensorflow")
    pytest.importorskip("grain")
    received = []
    for backend in BACKENDS:
        monkeypatch.setattr(keras.backend, "backend", lambda b=backend: b)
        dataset, _ = data(stream)
        received.append([joined(dataset) for _ in range(2)])
    for (x, y), (other_x, other_y) in zip(*received, strict=True):
        np.testing.assert_array_equal(x, other_x)
        np.testing.assert_array_equal(y, other_y)


def test_every_pass_has_another_order(stream, backend):
    def passes(seed):
        data = stream.fit_data(batch_size=5, seed=seed, remainder="keep")
        dataset, y = data["x"], None
        assert y is None
        return [joined(dataset) for _ in range(3)]

    first, again, other = passes(1), passes(1), passes(2)
    for (x, y), (same_x, same_y) in zip(first, again, strict=True):
        np.testing.assert_array_equal(x, same_x)
        np.testing.assert_array_equal(y, same_y)
    orders = [x.tobytes() for x, _ in (*first, *other)]
    assert len(set(orders)) == 6
    assert len({tuple(as_pairs(x, y)) for x, y in first}) == 1


def test_incomplete_batches_of_a_stream_are_left_out(stream, backend):
    whole = stream.fit_data(4, seed=0, remainder="keep")["x"]
    dataset, seen = stream.fit_data(4, seed=0)["x"], set()
    for _ in range(8):
        x, y = joined(dataset)
        assert len(y) == len(stream.y_train) // 4 * 4 < len(stream.y_train)
        np.testing.assert_array_equal(x, joined(whole)[0][: len(x)])
        seen |= set(as_pairs(x, y))
    everything = joined(stream.measured_train_data(4)[0])
    assert seen == set(as_pairs(*everything))
    spread = joined(stream.fit_data(4, seed=0, remainder="spread")["x"])
    assert as_pairs(*spread) == as_pairs(*everything)


def test_passes_that_are_not_finished_do_not_count(stream, backend):
    dataset = stream.fit_data(batch_size=2, seed=1)["x"]
    expected = joined(stream.fit_data(batch_size=2, seed=1)["x"])[1]
    iter(dataset)
    # As Keras looks at the first batches; with threads, more are read.
    if backend == "jax":
        list(itertools.islice(dataset, 2))
    np.testing.assert_array_equal(joined(dataset)[1], expected)


def test_balanced_choice(stream, imagenet, backend, monkeypatch):
    monkeypatch.setitem(datasets.BALANCED, "imagenet2012", 3)
    balanced = datasets.balance(stream)
    assert np.bincount(balanced.y_train).tolist() == [3] * 5
    again = datasets.balance(datasets.load("imagenet2012", imagenet.data_dir))
    np.testing.assert_array_equal(
        balanced.train_positions, again.train_positions
    )
    assert (balanced.num_train, balanced.num_test) == (15, 10)
    everything = joined(stream.measured_train_data(6)[0])
    x, y = joined(balanced.measured_train_data(6)[0])
    np.testing.assert_array_equal(y, balanced.y_train)
    np.testing.assert_array_equal(x, everything[0][balanced.train_positions])
    shuffled = joined(balanced.fit_data(5, seed=0)["x"])
    assert as_pairs(*shuffled) == as_pairs(x, y)


def test_positions_of_a_subset_of_a_subset(stream):
    some = stream.select(np.array([9, 4, 2])).select(np.array([2, 0]))
    assert some.train_positions.tolist() == [2, 9]
    np.testing.assert_array_equal(some.y_train, stream.y_train[[2, 9]])


def test_batch_size_must_be_positive(stream):
    with pytest.raises(ValueError, match=r"Received: batch_size=0\.$"):
        stream.test_data(0)


def build_model():
    model = keras.Sequential(
        [
            keras.Input((224, 224, 3)),
            keras.layers.Rescaling(1 / 255),
            keras.layers.AveragePooling2D(32),
            keras.layers.Flatten(),
            keras.layers.Dense(5),
        ]
    )
    model.compile("sgd", nc_keras.losses.CE())
    return model


@pytest.mark.parametrize("kind", BACKENDS)
def test_keras_fits_and_measures(stream, imagenet, kind, monkeypatch):
    if keras.backend.backend() != "tensorflow":
        pytest.skip("tf.data needs the TensorFlow backend")
    pytest.importorskip("grain")
    with monkeypatch.context() as patch:
        patch.setattr(keras.backend, "backend", lambda: kind)
        train = stream.fit_data(4, seed=0)["x"]
        measured, _ = stream.measured_train_data(4)
        test, _ = stream.test_data(4)
    model = build_model()
    history = model.fit(
        train, epochs=3, validation_data=test, shuffle=False, verbose=0
    )
    assert np.isfinite(history.history["val_loss"]).all()
    values = nc_keras.measure(model, measured)
    x, y = joined(measured)
    expected = nc_keras.measure(model, x, y)
    np.testing.assert_allclose(values["nc1"], expected["nc1"], rtol=1e-4)


CODE = """
import sys
from importlib.machinery import PathFinder

class WithoutTensorFlow(PathFinder):
    @classmethod
    def find_spec(cls, name, *args):
        if name != "tensorflow":
            return super().find_spec(name, *args)

sys.meta_path[sys.meta_path.index(PathFinder)] = WithoutTensorFlow
import warnings
warnings.simplefilter("error", UserWarning)
import dataclasses, keras
from nc_keras.experiments import datasets
source = datasets.SOURCES["imagenet2012"]
datasets.SOURCES["imagenet2012"] = dataclasses.replace(
    source, num_train=18, num_test=10, num_classes=5
)
stream = datasets.load("imagenet2012", sys.argv[1])
model = keras.Sequential([
    keras.layers.Rescaling(1 / 255), keras.layers.AveragePooling2D(32),
    keras.layers.Flatten(), keras.layers.Dense(5),
])
model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(True))
train = stream.fit_data(4, seed=0)["x"]
test, _ = stream.test_data(4)
history = model.fit(
    train, epochs=3, validation_data=test, shuffle=False, verbose=0
)
assert len(history.history["val_loss"]) == 3
# Three passes of training were made, and no more.
print(train.order._finished, type(train).__mro__[1].__name__)
"""


@pytest.mark.parametrize("name", ["jax", "torch"])
def test_other_backends_need_no_tensorflow(stream, imagenet, name):
    for module in (name, "grain"):
        pytest.importorskip(module)
    done = subprocess.run(
        [sys.executable, "-c", CODE, imagenet.data_dir],
        cwd=ROOT,
        env={**os.environ, "KERAS_BACKEND": name},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["3", "IterDataset"]


MIRRORED = """
import dataclasses, json, sys
import keras, tensorflow as tf
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0],
    [tf.config.LogicalDeviceConfiguration()] * 2,
)
import nc_keras
from nc_keras.experiments import datasets
from nc_keras.experiments.datasets import devices

source = datasets.SOURCES["imagenet2012"]
datasets.SOURCES["imagenet2012"] = dataclasses.replace(
    source, num_train=18, num_test=10, num_classes=5
)
stream, found = datasets.load("imagenet2012", sys.argv[1]), []
for count in (1, 2):
    shared_by = devices.claim(count, 4)
    keras.utils.set_random_seed(0)
    with shared_by.scope():
        model = keras.Sequential([
            keras.layers.Rescaling(1 / 255), keras.layers.AveragePooling2D(32),
            keras.layers.Flatten(), keras.layers.Dense(5),
        ])
        model.build((None, 224, 224, 3))
        optimizer = nc_keras.optimizers.SGD(0.01, 0.9)
        model.compile(optimizer, loss=nc_keras.losses.CE())
    data = stream.fit_data(4, 0, 0, shared_by, sys.argv[2])
    history = model.fit(**data, epochs=3, verbose=0).history
    values = nc_keras.measure(model, stream.measured_train_data(4)[0])
    weights = [float(abs(w.numpy()).sum()) for w in model.trainable_weights]
    found.append([history["loss"], [values["nc1"], values["nc3"]], weights])
print(json.dumps(found))
"""


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="TensorFlow's own"
)
@pytest.mark.parametrize("remainder", ["drop", "keep"])
def test_several_devices_of_tensorflow_share_a_stream(imagenet, remainder):
    done = subprocess.run(
        [sys.executable, "-c", MIRRORED, imagenet.data_dir, remainder],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    one, two = json.loads(done.stdout.splitlines()[-1])
    np.testing.assert_allclose(two[0], one[0], rtol=1e-4)
    np.testing.assert_allclose(two[1], one[1], rtol=1e-3)
    np.testing.assert_allclose(two[2], one[2], rtol=1e-4)


class SlowRecords:
    """Counts the batches that are read at the same time."""

    def __init__(self):
        self.now, self.most = 0, 0
        self.lock = threading.Lock()

    def read(self, positions):
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        time.sleep(0.05)
        with self.lock:
            self.now -= 1
        shape = (len(positions), 224, 224, 3)
        return np.zeros(shape, np.uint8), positions.astype(np.int32)


@pytest.mark.parametrize("kind", BACKENDS)
def test_batches_are_read_in_parallel(kind, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    order, records = Order(np.arange(40)), SlowRecords()
    if kind == "jax":
        pytest.importorskip("grain")
        from nc_keras.experiments.datasets.grain_batches import batches as make
    else:
        pytest.importorskip("tensorflow")
        from nc_keras.experiments.datasets.tf_batches import batches as make

    _, labels = joined(make(records, order, 2, (224, 224, 3)))
    assert labels.tolist() == list(range(40))
    assert 2 <= records.most <= 4


def test_decoded_image_is_the_centre_of_the_resized_one():
    rng = np.random.default_rng(0)
    tiles = rng.integers(0, 256, (15, 20, 3), np.uint8)
    smooth = PIL.Image.fromarray(tiles).resize((500, 375))
    file, image = encode(np.asarray(smooth))
    # First the shorter side to 256, then the centre: half a pixel apart.
    whole = PIL.Image.fromarray(image).resize(
        (341, 256), PIL.Image.Resampling.BILINEAR
    )
    expected = np.asarray(whole.crop((58, 16, 58 + 224, 16 + 224)))
    received = decode(file)
    assert received.shape == (224, 224, 3) and received.dtype == np.uint8
    difference = np.abs(received.astype(int) - expected)
    assert difference.mean() < 3


def test_grey_image_becomes_coloured():
    grey = np.arange(256, dtype=np.uint8)[:, None].repeat(256, 1)
    file = io.BytesIO()
    PIL.Image.fromarray(grey).save(file, "JPEG")
    image = decode(file.getvalue())
    assert image.shape == (224, 224, 3)
    np.testing.assert_array_equal(image[..., 0], image[..., 2])


def test_labels_are_read_once(imagenet, monkeypatch):
    def read_again(name, data_dir):
        raise AssertionError("The labels are in the .npz.")

    path = imagenet.data_dir / "imagenet2012.npz"
    assert path.stat().st_size < 2000
    monkeypatch.setattr(
        "nc_keras.experiments.datasets.loading.read_prepared", read_again
    )
    datasets.load("imagenet2012", imagenet.data_dir)


def test_labels_without_images_are_not_enough(imagenet, tmp_path):
    path = imagenet.data_dir / "imagenet2012.npz"
    (tmp_path / path.name).write_bytes(path.read_bytes())
    with pytest.raises(FileNotFoundError) as info:
        datasets.load("imagenet2012", tmp_path)
    message = str(info.value)
    assert str(tmp_path / "imagenet2012/5.1.0") in message
    assert "ILSVRC2012_img_train.tar (" in message
    assert "need an account" in message
    assert str(tmp_path / path.name) not in message


def test_folder_without_a_split_is_refused(stream, monkeypatch):
    source = datasets.SOURCES["imagenet2012"]
    other = dataclasses.replace(source, test_split="test")
    monkeypatch.setitem(datasets.SOURCES, "imagenet2012", other)
    with pytest.raises(ValueError) as info:
        stream.test_data(4)
    assert "have the split 'test'" in str(info.value)
    assert "splits ['train', 'validation']." in str(info.value)
