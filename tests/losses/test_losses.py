import keras
import numpy as np
import pytest
from keras import ops
from scipy.special import logsumexp

import nc_keras
from nc_keras.losses import CE
from nc_keras.losses import MSE
from nc_keras.losses import RescaledSquare

LOSSES = {
    "ce": CE,
    "smoothed": lambda **kwargs: CE(label_smoothing=0.1, **kwargs),
    "mse": MSE,
    "mse_sum": lambda **kwargs: MSE(class_reduction="sum", **kwargs),
    "rescaled": lambda **kwargs: RescaledSquare(k=5, M=15, **kwargs),
}


def reference(name, y, f):
    """Each loss as its definition has it, one example and class at a time."""
    losses = []
    for label, outputs in zip(y, f.astype("float64"), strict=True):
        classes = len(outputs)
        log_p = outputs - logsumexp(outputs)
        true = np.arange(classes) == label
        losses.append(
            {
                "ce": -log_p[label],
                "smoothed": -0.9 * log_p[label] - 0.1 * log_p.mean(),
                "mse": np.mean((outputs - true) ** 2),
                "mse_sum": np.sum((outputs - true) ** 2),
                "rescaled": (
                    5 * (outputs[label] - 15) ** 2 + np.sum(outputs[~true] ** 2)
                )
                / classes,
            }[name]
        )
    return np.array(losses)


@pytest.fixture
def batch(rng):
    return np.array([2, 0, 4, 4, 1, 3]), rng.normal(size=(6, 5)) * 4


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("labels", ["integer", "column", "one_hot"])
def test_value(name, labels, batch):
    y, f = batch
    targets = {
        "integer": y,
        "column": y[:, None],
        "one_hot": np.eye(5)[y],
    }[labels]
    expected = reference(name, y, f)
    value = LOSSES[name]()(targets, f)
    np.testing.assert_allclose(float(value), expected.mean(), rtol=1e-5)
    values = LOSSES[name](reduction=None)(targets, f)
    np.testing.assert_allclose(
        ops.convert_to_numpy(values), expected, rtol=1e-5
    )


@pytest.mark.parametrize("name", LOSSES)
def test_sample_weights_and_sum(name, batch):
    y, f = batch
    weights = np.arange(6.0)
    expected = np.sum(weights * reference(name, y, f))
    loss = LOSSES[name](reduction="sum")
    value = float(loss(y, f, sample_weight=weights))
    np.testing.assert_allclose(value, expected, rtol=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_serialisation(name):
    loss = LOSSES[name]()
    config = keras.losses.serialize(loss)
    again = keras.losses.deserialize(config)
    assert type(again) is type(loss)
    assert again.get_config() == loss.get_config()


def test_agrees_with_keras(batch):
    y, f = batch
    one_hot = np.eye(5)[y]
    pairs = {
        keras.losses.SparseCategoricalCrossentropy(from_logits=True): CE(),
        keras.losses.MeanSquaredError(): MSE(),
    }
    for theirs, ours in pairs.items():
        labels = one_hot if isinstance(ours, MSE) else y
        np.testing.assert_allclose(
            float(ours(labels, f)), float(theirs(labels, f)), rtol=1e-5
        )
    smoothed = keras.losses.CategoricalCrossentropy(
        from_logits=True, label_smoothing=0.2
    )
    np.testing.assert_allclose(
        float(CE(label_smoothing=0.2)(y, f)),
        float(smoothed(one_hot, f)),
        rtol=1e-5,
    )


def test_cross_entropy_of_huge_outputs_is_finite():
    value = float(CE()([0], [[-1e4, 1e4]]))
    np.testing.assert_allclose(value, 2e4, rtol=1e-6)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("one_hot", [False, True])
def test_compiled_with_accuracy(name, one_hot, digits):
    x, y = digits[0][:200], digits[1][:200]
    labels = np.eye(10)[y] if one_hot else y
    model = nc_keras.models.MLP((8, 8, 1), 10, widths=(16,))
    model.compile(
        nc_keras.optimizers.SGD(0.01), loss=LOSSES[name](), metrics=["accuracy"]
    )
    model.fit(x, labels, epochs=1, verbose=0)
    loss, accuracy = model.evaluate(x, labels, verbose=0)
    outputs = model.predict(x, verbose=0)
    assert accuracy == pytest.approx(np.mean(outputs.argmax(1) == y))
    expected = reference(name, y, outputs).mean()
    np.testing.assert_allclose(loss, expected, rtol=1e-4)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("label", [5, -1, 1.5, float("nan")])
def test_a_label_that_names_no_class_gives_nan_not_a_number(name, label):
    loss = LOSSES[name]()
    assert np.isnan(float(loss(np.array([label, 0]), np.ones((2, 5)))))


COMPILED = ["ce", "smoothed", "mse", "rescaled"]


def trained(loss, labels, **options):
    """The loss that a compiled step had, and the weights it left."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    model.compile(nc_keras.optimizers.SGD(0.1), loss=loss)
    x = np.random.default_rng(0).normal(size=(len(labels), 4))
    history = model.fit(
        x, labels, batch_size=len(labels), verbose=0, **options
    ).history
    return history["loss"][0], model.get_weights()


@pytest.mark.parametrize("name", COMPILED)
@pytest.mark.parametrize("label", [-1, 3, 255, 1.5])
def test_a_wrong_label_is_not_compiled_away(name, label):
    labels = np.array([label, 0, 1, 2])
    value, weights = trained(LOSSES[name](), labels)
    assert np.isnan(value)
    # Nor does the network go on as if nothing were wrong.
    assert np.isnan(weights[0]).any()


@pytest.mark.parametrize("name", COMPILED)
@pytest.mark.parametrize("row", [[0, 0, 0], [1, 1, 0], [0.5, 0.5, 0]])
def test_a_wrong_row_is_not_compiled_away(name, row):
    labels = np.array([row, [1, 0, 0], [0, 1, 0]], "float32")
    assert np.isnan(trained(LOSSES[name](), labels)[0])


@pytest.mark.parametrize("name", COMPILED)
@pytest.mark.parametrize("form", ["integer", "column", "one_hot"])
def test_an_example_of_weight_zero_may_have_any_label(name, form):
    y = np.array([0, 1, 2, 0, 1])
    ignored = np.where(np.arange(5) < 2, -1, y)
    if form == "one_hot":
        y, ignored = (np.eye(4)[a][:, :3] for a in (y, ignored))
    elif form == "column":
        y, ignored = y[:, None], ignored[:, None]
    weights = np.array([0, 0, 1, 0.5, 2], "float32")
    expected, kept = trained(LOSSES[name](), y, sample_weight=weights)
    for given in (weights, weights[:, None]):
        value, after = trained(LOSSES[name](), ignored, sample_weight=given)
        assert value == pytest.approx(expected, rel=1e-6)
        for one, other in zip(kept, after, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", COMPILED)
@pytest.mark.parametrize("given", ["weights", "mask"])
def test_padding_of_sequences_may_have_any_label(name, given, rng):
    tokens = np.array([[1, 2, 3, 0], [4, 0, 0, 0]])
    labels = np.where(tokens, tokens % 3, -1)
    model = keras.Sequential(
        [
            keras.Input((4,), dtype="int32"),
            keras.layers.Embedding(5, 6, mask_zero=given == "mask"),
            keras.layers.Dense(3),
        ]
    )
    model.compile(nc_keras.optimizers.SGD(0.0), loss=LOSSES[name]())
    outputs = model.predict(tokens, verbose=0)[tokens > 0]
    each = reference(name, labels[tokens > 0], outputs)
    weights = {"sample_weight": (tokens > 0) * 2.0} if given != "mask" else {}
    value = model.fit(tokens, labels, verbose=0, **weights).history["loss"][0]
    # Keras divides by all positions, or by those that are not masked.
    expected = each.mean() if given == "mask" else 2 * each.sum() / 8
    assert value == pytest.approx(expected, rel=1e-5)
    assert np.isfinite(model.get_weights()[0]).all()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_leaves_an_excluded_class_out(smoothing, rng):
    kept, y = rng.normal(size=(6, 3)).astype("float32"), np.arange(6) % 3
    f = np.insert(kept, 1, -np.inf, axis=1)
    labels = np.array([0, 2, 3])[y]
    loss = CE(label_smoothing=smoothing, reduction=None)
    np.testing.assert_allclose(
        ops.convert_to_numpy(loss(labels, f)),
        ops.convert_to_numpy(loss(y, kept)),
        rtol=1e-6,
    )
    # As the true class it is impossible: log 0, and not a number that is less.
    assert np.isposinf(float(CE(label_smoothing=smoothing)([1], f[:1])))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_an_excluded_class_leaves_the_gradients_finite(smoothing):
    excluded = ops.convert_to_tensor(np.array([0, -np.inf, 0], "float32"))
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(3),
            keras.layers.Lambda(lambda f: f + excluded),
        ]
    )
    model.compile(nc_keras.optimizers.SGD(0.1), loss=CE(smoothing))
    x, y = np.ones((4, 4)), np.array([0, 2, 0, 0])
    before = model.get_weights()[0]
    losses = model.fit(x, y, epochs=20, verbose=0).history["loss"]
    after = model.get_weights()[0]
    assert losses[-1] < losses[0] and np.isfinite(after).all()
    np.testing.assert_array_equal(before[:, 1], after[:, 1])


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize(
    "row",
    [[0, 0, 0], [1, 1, 0], [2, 0, -1], [0.5, 0.5, 0], [1, float("nan"), 0]],
)
def test_a_row_that_is_not_one_hot_gives_nan_not_a_number(name, row):
    loss = LOSSES[name]()
    labels = np.array([row, [0, 1, 0]], "float32")
    assert np.isnan(float(loss(labels, np.ones((2, 3)))))
    assert np.isfinite(float(loss(labels[1:], np.ones((1, 3)))))


SOFT = [[0.7, 0.2, 0.1], [0, 1, 0], [1 / 3, 1 / 3, 1 / 3]]


@pytest.mark.parametrize("loss", [CE, MSE])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_soft_targets(loss, dtype, rng):
    targets, outputs = np.array(SOFT), rng.normal(size=(3, 3))
    given = ops.cast(targets, dtype)
    values = loss(targets="soft", reduction=None)(given, outputs)
    log_p = outputs - logsumexp(outputs, axis=1, keepdims=True)
    expected = {
        CE: -(targets * log_p).sum(axis=1),
        MSE: ((outputs - targets) ** 2).mean(axis=1),
    }[loss]
    # Targets are rounded, half a unit in the last place each.
    rtol = 2e-2 if dtype == "bfloat16" else 1e-5
    np.testing.assert_allclose(values, expected, rtol=rtol)


@pytest.mark.parametrize("loss", [CE, MSE])
@pytest.mark.parametrize(
    "row", [[0.5, 0.4, 0], [1.2, -0.2, 0], [float("nan"), 1, 0], [2, 0, 0]]
)
def test_a_row_that_is_no_distribution_gives_nan(loss, row):
    soft, outputs = loss(targets="soft", reduction=None), np.ones((2, 3))
    values = np.asarray(soft(np.array([row, [0.5, 0.5, 0]]), outputs))
    assert np.isnan(values).tolist() == [True, False]


@pytest.mark.parametrize("loss", [CE, MSE])
def test_labels_are_soft_targets_too(loss, batch):
    y, f = batch
    for labels in (y, y[:, None], np.eye(5)[y]):
        assert float(loss(targets="soft")(labels, f)) == pytest.approx(
            float(loss()(y, f))
        )
    restored = keras.losses.deserialize(
        keras.losses.serialize(loss(targets="soft"))
    )
    assert restored.targets == "soft"
    with pytest.raises(ValueError, match="Received: targets='mixup'."):
        loss(targets="mixup")


def test_the_labels_of_an_example_add_up(rng):
    loss = CE(targets="multi_hot", reduction=None)
    outputs = rng.normal(size=(2, 3)).astype("float32")
    each = [
        [float(CE()([label], [row])) for label in range(3)] for row in outputs
    ]
    values = np.asarray(loss(np.array([[1, 0, 1], [0, 0, 0]]), outputs))
    np.testing.assert_allclose(values, [each[0][0] + each[0][2], 0], rtol=1e-6)
    assert np.isnan(np.asarray(loss(np.array([[0.5, 0.5, 0]]), outputs[:1])))
    labels = np.asarray(loss(np.array([2, 0]), outputs))
    np.testing.assert_allclose(labels, [each[0][2], each[1][0]], rtol=1e-6)
    with pytest.raises(ValueError, match="not smoothed"):
        CE(targets="multi_hot", label_smoothing=0.1)


def test_training_on_mixed_up_targets_and_on_labels_alike(digits):
    x, y = digits[0][:256], np.eye(10)[digits[1][:256]]
    model = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(10)])
    model.compile("sgd", loss=CE(targets="soft", label_smoothing=0.1))
    mixed = 0.3 * x + 0.7 * x[::-1], 0.3 * y + 0.7 * y[::-1]
    losses = model.fit(*mixed, epochs=3, verbose=0).history["loss"]
    assert np.isfinite(losses).all() and losses[-1] < losses[0]
    weights = model.get_weights()
    # A row of padding has weight 0 and may hold anything.
    y[0] = np.nan
    weight = np.arange(256) > 0
    model.fit(x, y, sample_weight=weight, verbose=0)
    assert np.isfinite(model.get_weights()[0]).all()
    assert not np.array_equal(weights[0], model.get_weights()[0])


@pytest.mark.parametrize("name", LOSSES)
def test_a_dtype_that_cannot_hold_every_class_is_refused(name):
    loss = LOSSES[name](dtype="bfloat16")
    assert np.isfinite(float(loss(np.array([255]), np.ones((1, 256)))))
    with pytest.raises(ValueError, match="bfloat16 cannot tell 300 classes"):
        loss(np.array([257]), np.ones((1, 300)))


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize(
    "labels, outputs",
    [
        ((6, 4), (6, 5)),
        ((6, 5, 2), (6, 5)),
        ((6,), (6, 1)),
        ((6,), (6,)),
        ((1,), (6, 5)),
        ((1, 5), (6, 5)),
        ((5, 1), (6, 5)),
    ],
)
def test_shapes_that_do_not_fit(name, labels, outputs):
    with pytest.raises(ValueError, match="Received: labels of shape"):
        LOSSES[name]()(np.zeros(labels), np.zeros(outputs))


def network(*layers):
    return keras.Sequential([keras.Input((4,)), *layers])


def compiled(*layers):
    model = network(*layers)
    inputs = keras.Input((4,))
    return {"alone": model, "nested": keras.Model(inputs, model(inputs))}


@pytest.mark.parametrize("name", COMPILED)
@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_probabilities_are_warned_of(name, activation):
    x, y = np.ones((6, 4)), np.arange(6) % 3
    model = network(keras.layers.Dense(3, activation))
    model.compile("sgd", loss=LOSSES[name]())
    with pytest.warns(UserWarning, match="loss of raw outputs.*probabilities"):
        model.fit(x, y, verbose=0)


@pytest.mark.parametrize("form", ["alone", "nested"])
@pytest.mark.parametrize("last", ["layer", "activation", "cast", "raw"])
def test_probabilities_are_found_behind_other_layers(form, last):
    layers = {
        "layer": [keras.layers.Dense(3), keras.layers.Softmax()],
        "activation": [
            keras.layers.Dense(3),
            keras.layers.Activation("softmax"),
        ],
        "cast": [
            keras.layers.Dense(3, "softmax"),
            keras.layers.Activation("linear", dtype="float32"),
        ],
        # What is hidden may be of any kind, and warnings are errors here.
        "raw": [keras.layers.Dense(3, "sigmoid"), keras.layers.Dense(3)],
    }[last]
    model = compiled(*layers)[form]
    model.compile("sgd", loss=CE())
    x, y = np.ones((6, 4)), np.arange(6) % 3
    if last == "raw":
        model.fit(x, y, verbose=0)
        return
    with pytest.warns(UserWarning, match="probabilities"):
        model.fit(x, y, verbose=0)


def test_bad_arguments():
    for k, m in [(0, 1), (1, 0), (-1, 1), (1, -2), (float("nan"), 1)]:
        with pytest.raises(ValueError, match=f"Received: k={k}, M={m}"):
            RescaledSquare(k=k, M=m)
    for smoothing in (-0.1, 1.0):
        with pytest.raises(ValueError, match="Received: label_smoothing="):
            CE(label_smoothing=smoothing)
    with pytest.raises(ValueError, match="Received: class_reduction='max'"):
        MSE(class_reduction="max")


def test_a_models_own_outputs_are_no_graph():
    class Named(keras.Model):
        def __init__(self):
            super().__init__()
            self.outputs = ["class"]
            self.dense = keras.layers.Dense(3)

        def call(self, inputs):
            return self.dense(inputs)

    model = Named()
    model.compile("sgd", loss=nc_keras.losses.CE())
    history = model.fit(np.ones((6, 4)), np.arange(6) % 3, verbose=0).history
    assert np.isfinite(history["loss"]).all()
