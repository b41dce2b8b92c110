"""Data as people hand them over: endless, unbatched, to be prepared."""

import itertools

import keras
import numpy as np
import pytest
from keras import layers

import nc_keras


class Task(keras.Model):
    """A task as KerasHub's: raw samples in `fit` and `predict` only."""

    words = ("apple", "pear", "plum", "sea", "lake", "river", "red", "blue")

    def __init__(self, preprocessor=True):
        inputs = {
            "token_ids": keras.Input((4,), dtype="int32", name="token_ids"),
            "padding_mask": keras.Input((4,), name="padding_mask"),
        }
        mask = inputs["padding_mask"][..., None]
        hidden = (
            layers.Embedding(9, 8, name="embedding")(inputs["token_ids"]) * mask
        )
        pooled = layers.GlobalAveragePooling1D()(hidden)
        super().__init__(inputs, layers.Dense(3, name="head")(pooled))
        self.preprocessor = self.prepare if preprocessor else None

    def prepare(self, x):
        assert isinstance(x, list) and all(isinstance(s, str) for s in x)
        ids = [[self.words.index(word) + 1 for word in s.split()] for s in x]
        ids = np.array([row + [0] * (4 - len(row)) for row in ids], "int32")
        return {"token_ids": ids, "padding_mask": (ids > 0).astype("float32")}

    def preprocess_samples(self, x, y=None, sample_weight=None):
        if self.preprocessor is not None:
            x = self.preprocessor(x)
        return keras.utils.pack_x_y_sample_weight(x, y, sample_weight)


TEXTS = ["apple pear", "plum", "sea", "lake river sea", "red", "blue red"] * 4
CLASSES = np.array([0, 0, 1, 1, 2, 2] * 4)


def test_a_task_prepares_its_samples():
    task = Task()
    prepared = task.prepare(TEXTS)
    task.preprocessor = None
    expected = nc_keras.measure(task, prepared, CLASSES)
    task.preprocessor = task.prepare
    texts = np.array(TEXTS, dtype=object)
    halves = [(texts[:12], CLASSES[:12]), (texts[12:], CLASSES[12:])]
    coded = np.array([text.encode() for text in TEXTS])
    for data in (
        (TEXTS, CLASSES),
        (texts, CLASSES),
        (coded, tuple(CLASSES.tolist())),
        (halves, None),
    ):
        values = nc_keras.measure(task, *data, batch_size=12)
        for tag, value in expected.items():
            np.testing.assert_allclose(
                values[tag], value, rtol=1e-5, err_msg=tag
            )
    report = nc_keras.report(task, (TEXTS, CLASSES), print_fn=lambda text: None)
    assert np.isclose(report["train"]["nc1"], expected["nc1"], rtol=1e-5)
    layer = nc_keras.layerwise(task, TEXTS, CLASSES, layers=["embedding"])
    assert len(layer) == 1


def test_a_task_in_training(tmp_path):
    task = Task()
    task.compile(
        keras.optimizers.Adam(0.1), loss=nc_keras.losses.CE(), metrics=["acc"]
    )
    panels = nc_keras.callbacks.NCTensorBoard(
        tmp_path, TEXTS, CLASSES, (TEXTS, CLASSES)
    )
    prepared = task.prepare(TEXTS)
    logs = task.fit(
        prepared, CLASSES, epochs=20, verbose=0, callbacks=[panels]
    ).history
    assert logs["nc_accuracy"][-1] == logs["val_nc_accuracy"][-1] == 1
    assert logs["nc1"][-1] < logs["nc1"][0]


def test_weights_of_the_preprocessor_leave_examples_out(rng):
    class Weighted(keras.Sequential):
        def preprocess_samples(self, x, y=None, sample_weight=None):
            return x / 2, y, (x[:, 0] > 0).astype("float32")

    model = Weighted([keras.Input((4,)), layers.Dense(3)])
    plain = keras.Sequential([keras.Input((4,)), *model.layers])
    x, y = rng.normal(size=(60, 4)).astype("float32"), np.arange(60) % 3
    mask = np.arange(60) < 50
    keep = mask & (x[:, 0] > 0)
    expected = nc_keras.measure(plain, x[keep] / 2, y[keep])
    values = nc_keras.measure(model, x, y, mask=mask)
    np.testing.assert_allclose(values["nc1"], expected["nc1"], rtol=1e-5)


@pytest.fixture
def few(rng):
    return rng.normal(size=(30, 4)).astype("float32"), np.arange(30) % 3


def model_of(shape=(4,)):
    return nc_keras.models.MLP(shape, 3, widths=(8,))


class Long(list):
    """A dataset that repeats says that it is as long as integers are."""

    def __len__(self):
        return 2**62


def endless(kind, few):
    if kind == "tf.data":
        tf = pytest.importorskip("tensorflow")
        return tf.data.Dataset.from_tensor_slices(few).repeat().batch(5)
    return itertools.cycle([few]) if kind == "cycle" else Long([few])


@pytest.mark.parametrize("kind", ["tf.data", "cycle", "long"])
def test_endless_data_are_refused(kind, few, tmp_path):
    model = model_of()
    for measured in (
        lambda: nc_keras.measure(model, endless(kind, few)),
        lambda: nc_keras.report(model, endless(kind, few)),
        lambda: nc_keras.layerwise(model, endless(kind, few)),
        lambda: nc_keras.measure(model, *few, ood=endless(kind, few)),
    ):
        with pytest.raises(ValueError, match="must have an end.*take.*islice"):
            measured()
    model.compile("sgd", loss=nc_keras.losses.CE())
    if kind != "cycle":
        panels = nc_keras.callbacks.NeuralCollapse(endless(kind, few))
        with pytest.raises(ValueError, match="must have an end"):
            model.fit(*few, callbacks=[panels], verbose=0)
    some = itertools.islice(itertools.cycle([few]), 3)
    values, expected = (nc_keras.measure(model, *d) for d in ([some], few))
    np.testing.assert_allclose(values["nc1"], expected["nc1"], rtol=1e-5)


def test_callbacks_need_data_that_start_anew(few):
    model = model_of()
    model.compile("sgd", loss=nc_keras.losses.CE())
    batches = (batch for batch in [few])
    collapse = nc_keras.callbacks.NeuralCollapse(batches)
    with pytest.raises(ValueError, match="training data .* only once"):
        model.fit(*few, callbacks=[collapse], verbose=0)


def test_single_examples_are_no_batches(few):
    x, y = few
    for data in (
        [(a, b) for a, b in zip(x, y, strict=True)],
        [(a, b) for a, b in zip(x, np.eye(3)[y], strict=True)],
    ):
        with pytest.raises(ValueError, match="yield single examples.*batch"):
            nc_keras.measure(model_of(), data)
    tf = pytest.importorskip("tensorflow")
    with pytest.raises(ValueError, match="single examples"):
        nc_keras.measure(model_of(), tf.data.Dataset.from_tensor_slices((x, y)))
