import json
import math

import keras
import numpy as np
import pytest

import nc_keras
from nc_keras import kernel
from nc_keras.callbacks import KernelAlignment
from tests.helpers import compiled
from tests.helpers import events_of
from tests.helpers import rows_of

if keras.backend.backend() == "numpy":
    pytest.skip("NumPy has no gradients", allow_module_level=True)

L = keras.layers


def network(head=None, shape=(64,)):
    keras.utils.set_random_seed(0)
    layers = [L.Dense(16, "relu"), head or L.Dense(10)]
    return keras.Sequential([keras.Input(shape), *layers])


@pytest.fixture
def data(digits):
    images, labels = digits
    return images.reshape(-1, 64)[:400], labels[:400]


def fitted(model, data, callback, epochs=2, first=0):
    return model.fit(
        *data,
        epochs=epochs,
        initial_epoch=first,
        batch_size=100,
        callbacks=[callback],
        verbose=0,
    ).history


def test_it_logs_what_the_kernel_gives(data, tmp_path):
    model = compiled(network(), nc_keras.losses.MSE("sum"), (0.005, 0.0))
    callback = KernelAlignment(*data, log_dir=tmp_path, examples=40, k=(5, 99))
    history = fitted(model, data, callback)
    x, y = callback.x, callback.y
    assert np.bincount(y).tolist() == [4] * 10
    outputs = model.predict(x, verbose=0).astype(float)
    residual = outputs - np.eye(10)[y]
    gram = kernel.gram(model, x)
    found = kernel.alignment(gram, y, outputs, residual, 5)
    last = {key: values[-1] for key, values in history.items()}
    for key, value in {
        "labels_5": found.centred_labels[0],
        "labels_10": found.centred_labels[1],
        "outputs_10": found.outputs[1],
        "residual_5": found.residual[0],
        "kta": found.kta,
        "effective_rank": found.effective_rank,
        "gamma_n": found.blocks.gamma_n,
        "block_r2": found.blocks.r2,
    }.items():
        assert last[f"kernel_{key}"] == pytest.approx(value, rel=1e-3), key
    assert "kernel_labels_99" not in last
    largest = kernel.lambda_max(model, x)
    rate = 0.005 * 2 * largest / 40
    assert last["kernel_edge"] == pytest.approx(rate, rel=1e-2)
    rows = rows_of(tmp_path, "kernel.jsonl")
    assert [row["epoch"] for row in rows] == [1, 2]
    assert rows[-1]["labels/10"] == last["kernel_labels_10"]
    top = np.linalg.eigvalsh(gram.values)[-1]
    assert rows[-1]["lambda_1"] == pytest.approx(top, rel=1e-4)
    events = events_of(tmp_path / "kernel").Tags()["tensors"]
    tags = {"labels/10", "edge", "edge_of_stability", "kernel", "eigenvalues"}
    assert tags <= set(events)


def test_a_resumed_training_is_one_series(data, tmp_path):
    model = compiled(network())
    for first, last in ((0, 3), (2, 4)):
        callback = KernelAlignment(*data, log_dir=tmp_path, examples=20)
        fitted(model, data, callback, last, first)
    rows = rows_of(tmp_path, "kernel.jsonl")
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]


def test_the_edge_of_cross_entropy_is_that_of_the_hessian(data):
    # Of a linear model, whose Hessian is the Gauss-Newton matrix.
    x, y = data[0][:20, :3], data[1][:20] % 2
    linear = keras.Sequential([keras.Input((3,)), L.Dense(2, use_bias=False)])
    compiled(linear, nc_keras.losses.CE(), (1e-9, 0.0))
    callback = KernelAlignment(x, y, examples=20, batch_size=7)
    history = fitted(linear, (x, y), callback, 1)
    p = linear.predict(callback.x, verbose=0).astype(float)
    p = np.exp(p) / np.exp(p).sum(axis=1, keepdims=True)
    hessian = sum(
        np.kron(np.outer(a, a), np.diag(q) - np.outer(q, q))
        for a, q in zip(callback.x.astype(float), p, strict=True)
    ) / len(p)
    expected = 1e-9 * np.linalg.eigvalsh(hessian)[-1]
    assert history["kernel_edge"][0] == pytest.approx(expected, rel=1e-2)


@pytest.mark.filterwarnings("ignore:The model does not have any trainable")
@pytest.mark.parametrize("head", ["etf", "frozen", "nan", "dead", "hinge"])
def test_no_network_is_an_error(data, tmp_path, head):
    etf = nc_keras.layers.ETFClassifier(10) if head == "etf" else None
    model = network(etf)
    model.trainable = head != "frozen"
    loss = "categorical_hinge" if head == "hinge" else nc_keras.losses.CE()
    compiled(model, loss, (0.0, 0.0), metrics=())
    weights = model.get_weights()
    if head == "nan":
        model.set_weights([w * np.nan for w in weights])
    if head == "dead":
        model.set_weights([w * 0 for w in weights])
    x, y = data
    callback = KernelAlignment(x, y, log_dir=tmp_path, examples=20)
    target = np.eye(10)[y] if head == "hinge" else y
    history = fitted(model, (x, target), callback, 1)
    values = {k: v[0] for k, v in history.items() if k.startswith("kernel_")}
    is_nan = {k: math.isnan(v) for k, v in values.items()}
    assert all(is_nan.values()) == (head in ("frozen", "nan"))
    assert is_nan["kernel_edge"] == (head in ("frozen", "nan", "hinge"))
    assert json.loads((tmp_path / "kernel.jsonl").read_text())["epoch"] == 1


def test_a_subclassed_model_is_measured(data):
    class Classifier(keras.Model):
        def __init__(self):
            super().__init__()
            self.body, self.head = L.Dense(16, "relu"), L.Dense(10)

        def call(self, x, training=False):
            return self.head(self.body(x))

    model = Classifier()
    model(data[0][:1])
    compiled(model, nc_keras.losses.MSE(), (0.01, 0.0))
    history = fitted(model, data, KernelAlignment(*data, examples=20), 1)
    largest = kernel.lambda_max(model, data[0][:20])
    assert largest > 0 and history["kernel_edge"][0] > 0
    assert "kernel_labels_10" in history


def test_rare_classes_give_what_they_have():
    y = np.array([0] * 50 + [1] * 2 + [2] * 50)
    callback = KernelAlignment(np.arange(102.0)[:, None], y, examples=30)
    assert np.bincount(callback.y).tolist() == [10, 2, 10]
    assert callback.x[:, 0].tolist() == [*range(10), 50, 51, *range(52, 62)]


def test_inputs_of_a_plane_show_their_eigenvectors(tmp_path, rng):
    x = rng.uniform(size=(30, 2)).astype("float32")
    y = np.sin(6 * x[:, 0])
    model = network(L.Dense(1), (2,))
    model.compile("sgd", loss="mse")
    callback = KernelAlignment(x, y, log_dir=tmp_path, outputs="trace")
    history = fitted(model, (x, y), callback, 1)
    assert history["kernel_labels_1"][0] > 0
    assert math.isnan(history["kernel_gamma_c"][0])
    tags = events_of(tmp_path / "kernel").Tags()["tensors"]
    assert {"eigenvector/1", "eigenvector/4"} <= set(tags)


@pytest.mark.parametrize(
    "change, match",
    [
        ({"outputs": "all"}, '"trace", "each" or "full"'),
        ({"k": 0}, "`k` must be positive"),
        ({"examples": 1}, "at least 2"),
        ({"y": np.arange(3)}, "one label per example"),
        ({"x": np.zeros((1, 64)), "y": [0]}, "two examples or more"),
        ({"epochs": 0}, "epochs"),
    ],
)
def test_what_is_refused(data, change, match):
    arguments = {"x": data[0], "y": data[1]} | change
    with pytest.raises(ValueError, match=match):
        KernelAlignment(**arguments)
