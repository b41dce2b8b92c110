import keras
import numpy as np
import pytest

import nc_keras
from nc_keras.callbacks import EvaluatedCollapse
from nc_keras.callbacks import NeuralCollapse
from nc_keras.callbacks import RunningCollapse
from tests.helpers import compiled

# Features and sums are float32's; the accuracies need the examples again.
CLOSE = 1e-4
KEYS = 14


@pytest.fixture
def data(digits):
    x, y = digits
    return x[:600].reshape(600, -1).astype("float32"), y[:600]


@pytest.fixture
def model(data):
    keras.utils.set_random_seed(0)
    model = nc_keras.models.MLP((64,), 10, widths=(48, 32))
    compiled(model, sgd=(0.1,), metrics=())
    model.fit(*data, batch_size=50, epochs=3, verbose=0)
    return model


def evaluated(model, *data, **options):
    callback = EvaluatedCollapse()
    loss = model.evaluate(*data, callbacks=[callback], verbose=0, **options)
    return callback, loss


def assert_close(values, exact):
    assert len(values) == KEYS
    for tag, value in values.items():
        assert isinstance(value, float)
        assert value == pytest.approx(exact[tag], rel=CLOSE), tag


@pytest.mark.parametrize("one_hot", [False, True])
def test_an_evaluation_is_a_measurement(model, data, one_hot):
    x, y = data
    expected = model.evaluate(x, y, verbose=0)
    exact = nc_keras.measure(model, x, y)
    metrics = len(model.metrics)
    callback, loss = evaluated(model, x, np.eye(10)[y] if one_hot else y)
    assert_close(callback.values, exact)
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
    assert len(model.metrics) == metrics
    assert model.test_function is None  # none that still gathers
    np.testing.assert_allclose(
        model.evaluate(x, y, verbose=0), expected, rtol=1e-6
    )


def test_examples_of_weight_zero_do_not_count(model, data, rng):
    x, y = data
    weights = np.where(np.arange(600) % 3, rng.uniform(0.5, 2, 600), 0.0)
    callback, _ = evaluated(model, x, y, sample_weight=weights)
    assert_close(
        callback.values, nc_keras.measure(model, x[weights > 0], y[weights > 0])
    )


def test_a_fit_has_the_values_of_each_validation(model, data):
    x, y = data
    test = x[400:], y[400:]
    collapse = NeuralCollapse(x[:400], y[:400], False)
    callback = EvaluatedCollapse()
    exact = []
    history = model.fit(
        *(x[:400], y[:400]),
        epochs=4,
        validation_data=test,
        validation_freq=2,
        callbacks=[
            callback,
            collapse,
            RunningCollapse(),
            keras.callbacks.LambdaCallback(
                on_epoch_end=lambda *_: exact.append(
                    nc_keras.measure(model, *test)
                )
            ),
        ],
        verbose=0,
    ).history
    assert len(history["nc1"]) == len(history["running_nc1"]) == 4
    for i in (0, 1):
        values = {
            key.removeprefix("val_"): history[key][i]
            for key in history
            if key.removeprefix("val_") in callback.values
            and key.startswith("val_")
        }
        assert_close(values, exact[2 * i + 1])
    again, _ = evaluated(model, *test)
    assert again.values == pytest.approx(callback.values, rel=CLOSE)


def test_the_training_is_the_same(data):
    weights = []
    for callbacks in ([], [EvaluatedCollapse()]):
        keras.utils.set_random_seed(0)
        model = compiled(nc_keras.models.MLP((64,), 10), sgd=(0.1,))
        model.fit(
            *data,
            epochs=2,
            shuffle=False,
            validation_data=data,
            callbacks=callbacks,
            verbose=0,
        )
        weights.append(model.get_weights())
    for a, b in zip(*weights, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_class_without_examples_and_a_feature_that_is_nan(model, data):
    x, y = data
    for some, labels in (
        (x[y > 0], y[y > 0]),
        (np.where(x > 0.9, np.nan, x), y),
    ):
        callback, _ = evaluated(model, some, labels)
        assert len(callback.values) == KEYS
        assert np.isnan(list(callback.values.values())).all()


@pytest.mark.parametrize("of", ["weights", "ignore_class"])
def test_examples_are_left_out_by_booleans_too(model, data, of):
    x, y = data
    kept, options = np.arange(600) % 3 > 0, {}
    if of == "weights":
        options, labels = {"sample_weight": kept}, y
    else:
        labels = np.where(kept, y, -1)
        model.compile(
            loss=keras.losses.SparseCategoricalCrossentropy(
                from_logits=True, ignore_class=-1
            )
        )
    callback, _ = evaluated(model, x, labels, **options)
    assert_close(callback.values, nc_keras.measure(model, x[kept], y[kept]))


def assert_as_before(model, before, x):
    assert not {"call", "compute_loss"} & set(vars(model))
    assert all(m.name != "evaluated_collapse" for m in model.metrics)
    np.testing.assert_array_equal(model.predict(x, verbose=0), before)


def test_what_is_refused_leaves_the_model_as_it_was(data):
    x, y = data
    inputs = keras.Input((64,))
    outputs = {k: keras.layers.Dense(10, name=k)(inputs) for k in "ab"}
    model = keras.Model(inputs, outputs)
    model.compile(loss={k: nc_keras.losses.CE() for k in "ab"})
    before = model.predict(x, verbose=0)["a"]
    callback = EvaluatedCollapse(head="a")
    labels = {"a": y, "b": y}
    for _ in range(2):
        with pytest.raises(ValueError, match="one output and its labels"):
            model.evaluate(x, labels, callbacks=[callback], verbose=0)
        np.testing.assert_array_equal(model.predict(x, verbose=0)["a"], before)
        assert len(model.evaluate(x, labels, verbose=0)) == 3
    assert not {"call", "compute_loss"} & set(vars(model))


def test_another_head_is_compiled_anew(data):
    # JAX keeps what it compiled of a method of the same model.
    x, y = data
    inputs = keras.Input((64,))
    hidden = inputs
    for name in ("a", "b"):
        hidden = keras.layers.Dense(64, "tanh", name=f"before_{name}")(hidden)
        hidden = keras.layers.Dense(10, name=name)(hidden)
        if name == "a":
            hidden = keras.layers.ReLU()(hidden)
    model = compiled(keras.Model(inputs, hidden), metrics=())
    for name in ("a", "b", "a"):
        callback = EvaluatedCollapse(head=name)
        model.evaluate(x, y, callbacks=[callback], verbose=0)
        exact = nc_keras.measure(model, x, y, head=name)
        assert_close(callback.values, exact)


def test_an_interrupted_fit_is_forgotten(model, data):
    callback = EvaluatedCollapse()

    def interrupt(*_):
        raise KeyboardInterrupt

    stop = keras.callbacks.LambdaCallback(on_epoch_end=interrupt)
    with pytest.raises(KeyboardInterrupt):
        model.fit(*data, callbacks=[callback, stop], verbose=0)
    before = model.predict(data[0], verbose=0)
    model.evaluate(*data, callbacks=[callback], verbose=0)
    assert_close(callback.values, nc_keras.measure(model, *data))
    assert_as_before(model, before, data[0])


def test_steps_that_hide_the_examples_are_refused(data):
    class Own(keras.Model):
        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None):
            return super().compute_loss(x, y, y_pred, sample_weight)

    inputs = keras.Input((64,))
    model = compiled(Own(inputs, keras.layers.Dense(10)(inputs)), metrics=())
    with pytest.raises(ValueError, match="No example reached"):
        evaluated(model, *data)


def test_a_head_that_is_not_finite_and_a_checkpoint(model, data, tmp_path):
    callback, _ = evaluated(model, *data)
    again = EvaluatedCollapse()
    again.set_state(callback.get_state())
    assert again.values == callback.values
    nc_keras.callbacks.Checkpoint(tmp_path, [again])
    kernel, bias = model.layers[-1].get_weights()
    kernel[0, 0] = np.nan
    model.layers[-1].set_weights([kernel, bias])
    callback, _ = evaluated(model, *data)
    assert np.isnan(list(callback.values.values())).all()


def test_a_label_that_names_no_class_is_refused(model, data):
    x, y = data
    model.compile(loss=keras.losses.MeanSquaredError())
    labels = np.eye(10)[y]
    labels[3] = 0.5
    before = model.predict(x, verbose=0)
    callback = EvaluatedCollapse()
    with pytest.raises(ValueError, match=r"0 \.\. 9.*names no class"):
        model.evaluate(x, labels, callbacks=[callback], verbose=0)
    assert_as_before(model, before, x)
