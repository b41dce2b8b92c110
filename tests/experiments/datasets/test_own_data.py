"""Data of one's own: arrays, folders of images, sources of batches."""

import dataclasses

import keras
import numpy as np
import pytest
from PIL import Image

from nc_keras.experiments import Settings
from nc_keras.experiments.datasets import image_folder
from nc_keras.experiments.datasets.loading import prepare
from nc_keras.experiments.datasets.own import own_dataset
from nc_keras.experiments.training.networks import build_model
from nc_keras.experiments.training.robustness import some_test_images

Y = np.arange(12) % 3


def images(dtype="uint8", count=12, shape=(8, 8, 3)):
    draw = np.random.default_rng(0)
    return draw.integers(0, 255, (count, *shape)).astype(dtype)


def arrays(x=None, y=Y, x_test=None, y_test=Y):
    x = images() if x is None else x
    return own_dataset(
        "own", ((x, y), (x if x_test is None else x_test, y_test))
    )


def test_arrays_of_every_form():
    assert arrays().image_shape == (8, 8, 3)
    assert arrays().is_uint8
    grey = arrays(images(shape=(8, 8)), Y[:, None])
    assert grey.image_shape == (8, 8, 1)
    vectors = arrays(images("float64", shape=(5,)), Y.astype("float32"))
    assert vectors.image_shape == (5,)
    assert (
        vectors.x_train.dtype == "float32" and vectors.y_train.dtype == "int32"
    )
    assert not vectors.is_uint8
    lists = own_dataset("own", [[[[0, 1]] * 2, [0, 1]], [[[0, 1]] * 2, [0, 1]]])
    assert lists.num_classes == 2
    assert arrays().digest != arrays(y=(Y + 1) % 3).digest


def test_pixels_are_standardised_and_floats_only_if_asked():
    def layers(data, **changes):
        one = Settings(
            dataset=data, network="mlp", widths=(4,), batch_size=4, **changes
        )
        return build_model(one, "linear", prepare(one)).layers

    pixels = (images(), Y), (images(), Y)
    floats = (images("float32") + 500, Y), (images("float32"), Y)
    assert len(layers(pixels)) == 2
    assert len(layers(floats)) == 1
    (asked, _) = layers(floats, standardize=True)
    assert np.allclose(asked.mean, floats[0][0].mean((0, 1, 2)), rtol=1e-5)
    assert np.allclose(asked.deviation, floats[0][0].std((0, 1, 2)), rtol=1e-5)
    # Integers are still cast.
    (cast, _) = layers(pixels, standardize=False)
    assert (cast.mean, cast.deviation) == ([0.0], [1.0])
    constant = (np.full((12, 4), 0.1), Y), (np.zeros((12, 4)), Y)
    assert layers(constant, standardize=True)[0].deviation == [1.0] * 4


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"y": Y - 1}, "must be 0 to C - 1"),
        ({"y": Y * 2}, r"none of \[1, 3\]"),
        ({"y": Y * 0}, "two classes or more"),
        ({"y_test": Y + 1}, "Test labels must be 0 to 2"),
        ({"y": np.eye(3)[Y]}, "argmax"),
        ({"y": Y + 0.5}, "must be integers"),
        ({"y": Y[:5]}, "as many labels as examples"),
        ({"x_test": images(shape=(4, 4, 3))}, "must be alike"),
        ({"x": np.full((12, 4), np.nan)}, "Not all numbers are finite"),
        ({"x": np.array(["cat"] * 12)}, "must be numbers"),
        ({"x": np.zeros((0, 4)), "y": Y[:0]}, "one or more"),
    ],
)
def test_arrays_that_do_not_fit_are_told(changes, message):
    with pytest.raises(ValueError, match=message):
        arrays(**changes)


@pytest.mark.parametrize("data", [3, (1,), ("a", "b"), None, np.zeros(3)])
def test_what_is_no_data_is_told(data):
    with pytest.raises(ValueError, match="Received"):
        own_dataset("own", data)


def test_examples_beside_their_labels_are_no_training_and_test_data():
    with pytest.raises(ValueError, match=r"must be arrays \(\(x, y\), .*of"):
        own_dataset("own", (images(), Y))


def test_a_folder_without_a_slash_is_pointed_at(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "photos")
    with pytest.raises(ValueError, match="is meant by 'photos/'"):
        prepare(Settings(dataset="photos", network="mlp"))


def write(folder, count=10, size=(6, 8), names=("cats", "dogs"), mode="L"):
    for name in names:
        (folder / name).mkdir(parents=True)
        for index in range(count):
            Image.new(mode, size[::-1], index).save(
                folder / name / f"{index}.png"
            )


def test_a_fifth_of_each_class_is_held_out(tmp_path):
    write(tmp_path)
    data = image_folder(tmp_path)
    assert data.x_train.shape == (16, 6, 8, 1)
    assert np.bincount(data.y_test).tolist() == [2, 2]
    assert "4 images, a fifth of each class" in data.note
    shades = [*data.x_train[:8, 0, 0, 0], *data.x_test[:2, 0, 0, 0]]
    assert sorted(shades) == list(range(10))
    assert image_folder(tmp_path).digest == data.digest
    assert image_folder(tmp_path, size=(4, 5)).image_shape == (4, 5, 1)
    Image.new("RGB", (8, 6), "red").save(tmp_path / "dogs" / "z.png")
    assert image_folder(tmp_path).image_shape == (6, 8, 3)


def test_folders_that_do_not_fit_are_named(tmp_path):
    with pytest.raises(ValueError, match="no such folder"):
        image_folder(tmp_path / "none")
    with pytest.raises(ValueError, match="a folder for each class"):
        image_folder(tmp_path)
    write(tmp_path)
    Image.new("L", (9, 9)).save(tmp_path / "dogs" / "large.png")
    with pytest.raises(ValueError, match="large.png of \\(9, 9\\)"):
        image_folder(tmp_path)
    (tmp_path / "dogs" / "large.png").write_bytes(b"GIF89a")
    with pytest.raises(ValueError, match="large.png cannot be read"):
        image_folder(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="There are no images .*empty"):
        image_folder(tmp_path)
    write(tmp_path / "halves" / "train")
    write(tmp_path / "halves" / "test", names=("cats", "cows"))
    with pytest.raises(ValueError, match="cows"):
        image_folder(tmp_path / "halves")


class Batches(keras.utils.PyDataset):
    """Batches of four, in the order of the arrays."""

    def __init__(self, x, y):
        super().__init__()
        self.x, self.y = x, y

    def __len__(self):
        return len(self.x) // 4

    def __getitem__(self, index):
        rows = slice(4 * index, 4 * index + 4)
        return self.x[rows], self.y[rows]


def of_keras(x, y):
    return Batches(x, y)


def of_tf(x, y):
    tf = pytest.importorskip("tensorflow")
    return tf.data.Dataset.from_tensor_slices((x, y)).batch(4)


def of_torch(x, y):
    data = pytest.importorskip("torch.utils.data")
    pairs = [(one, int(label)) for one, label in zip(x, y, strict=True)]
    return data.DataLoader(pairs, batch_size=4)


def of_grain(x, y):
    grain = pytest.importorskip("grain")
    pairs = list(zip(x, y, strict=True))
    return grain.MapDataset.source(pairs).to_iter_dataset().batch(4)


@pytest.mark.parametrize("source", [of_keras, of_tf, of_torch, of_grain])
def test_sources_train_and_are_measured(source, tmp_path, monkeypatch):
    from nc_keras.experiments.training import one_run

    monkeypatch.setattr(one_run, "make_deterministic", lambda: None)
    x = images()

    def data():
        return source(x, Y), source(x, Y)

    one = Settings(
        dataset=data, network="mlp", widths=(8,), heads="linear", epochs=2,
        deepfool=6, progress=False, output=tmp_path,
    )  # fmt: skip
    found = prepare(one)
    assert (found.num_train, found.num_test, found.num_classes) == (12, 12, 3)
    assert found.image_shape == (8, 8, 3) and found.is_uint8
    assert len(some_test_images(found, 6)) == 6
    mean, deviation = found.pixel_statistics()
    whole = arrays().pixel_statistics()
    assert np.allclose([mean, deviation], whole)
    one_run.train(one, one.runs[0], found)
    text = (tmp_path / "ce-linear-0" / "metrics.jsonl").read_text()
    assert len(text.splitlines()) == 2 and '"nc1"' in text
    with pytest.raises(ValueError, match="--per-class"):
        prepare(dataclasses.replace(one, per_class=1))


def test_the_order_of_a_source_is_not_its_identity():
    x, order = images(), np.random.default_rng(0).permutation(12)
    same = own_dataset("own", (Batches(x, Y), Batches(x[order], Y[order])))
    whole = own_dataset("own", (Batches(x, Y), Batches(x, Y)))
    other = own_dataset("own", (Batches(x, Y), Batches(x // 2, Y)))
    assert same.digest == whole.digest != other.digest


def test_sources_that_do_not_fit_are_told():
    x = images()
    source = Batches(x, Y)
    for train, message in (
        (iter([(x, Y)]), "begins anew"),
        ((pair for pair in [(x, Y)]), "begins anew"),
        (Batches(x[:0], Y[:0]), "There are no batches"),
        (Batches(x, Y - 1), "must be 0 to C - 1"),
        (Batches(x[:, :4], Y), "must be alike"),
        ([x, Y, x], "must be a pair"),
    ):
        with pytest.raises(ValueError, match=message):
            own_dataset("own", (train, source))
