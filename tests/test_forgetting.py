"""Forgetting events: of a table, of a training, and from epoch to epoch."""

import json
import pathlib

import keras
import numpy as np
import pytest
from keras import ops

import nc_keras
from nc_keras import forgetting

DATA = json.loads(
    (pathlib.Path(__file__).parent / "data/beside.json").read_text()
)["forgetting"]
CORRECT = np.array(DATA["correct"])
trains = pytest.mark.skipif(
    keras.backend.backend() == "numpy", reason="NumPy has no gradients"
)


def assert_is_the_reference(found):
    assert found.events.tolist() == DATA["forgetting_events"]
    assert (~found.learned).tolist() == DATA["never_learned"]
    assert found.unforgettable.tolist() == DATA["unforgettable"]
    assert found.order.tolist() == DATA["order"]
    never = np.array(DATA["never_learned"])
    assert found.scores[~never].tolist() == (
        np.array(DATA["score"])[~never].tolist()
    )
    assert np.isinf(found.scores[never]).all()


def test_a_table():
    assert_is_the_reference(forgetting.events_of(CORRECT))


@pytest.mark.parametrize("compiled", [False, True])
def test_the_layer_counts_as_the_table(compiled):
    labels = np.arange(6) % 3
    recorder = nc_keras.layers.ForgettingRecorder(labels)
    recorder.build((None, 3), (None,))
    order = np.random.default_rng(0)
    for row in CORRECT.T:
        decisions = np.where(row == 1, labels, (labels + 1) % 3)
        outputs = np.eye(3)[decisions].astype("float32")
        # In batches of which the last is smaller, in another order each time.
        for part in np.array_split(order.permutation(6), [4]):
            recorder(outputs[part], part, training=True)
            recorder(1 - outputs[part], part, training=False)
    assert_is_the_reference(forgetting.result(recorder))
    kept = [ops.convert_to_numpy(one) for one in recorder.weights]
    sizes = [one.dtype.itemsize for one in kept]
    assert sum(sizes) == 5


@trains
def test_a_training_counts_what_each_step_sees(digits):
    x, y = digits[0][:120], digits[1][:120]
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Flatten(),
            keras.layers.Dense(16, activation="relu"),
            keras.layers.Dense(10),
        ]
    )
    counting = forgetting.recorded(model, y)
    # A large rate forgets.
    counting.compile(nc_keras.optimizers.SGD(1.0), loss=nc_keras.losses.CE())
    inputs, table = forgetting.with_index(x), np.zeros((120, 12))
    counting.fit(inputs, y, epochs=3, verbose=0)
    found = forgetting.result(counting)
    assert found.learned.sum() > 60 and found.events.sum() > 5
    recorder = counting.get_layer("forgetting")
    for state in recorder.weights:
        state.assign(np.zeros(state.shape, state.dtype))
    for epoch in range(12):
        for rows in np.split(np.random.default_rng(epoch).permutation(120), 3):
            outputs = model.predict_on_batch(x[rows])
            table[rows, epoch] = outputs.argmax(1) == y[rows]
            batch = {name: part[rows] for name, part in inputs.items()}
            counting.train_on_batch(batch, y[rows])
    expected = forgetting.events_of(table)
    found = forgetting.result(counting)
    assert expected.events.sum() > 20
    # An example on the border may fall to either side in a compiled step.
    assert (found.events != expected.events).mean() < 0.02
    counting.evaluate(inputs, y, verbose=0)
    after = forgetting.result(counting).events
    np.testing.assert_array_equal(after, found.events)


@trains
def test_it_goes_on_after_saving(digits, tmp_path):
    x, y = digits[0][:40], digits[1][:40]
    counting = forgetting.recorded(nc_keras.models.MLP((8, 8, 1), 10, (8,)), y)
    counting.compile(nc_keras.optimizers.SGD(0.5), loss=nc_keras.losses.CE())
    counting.fit(forgetting.with_index(x), y, epochs=4, verbose=0)
    counting.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    one, other = (forgetting.result(m) for m in (counting, loaded))
    np.testing.assert_array_equal(one.events, other.events)
    np.testing.assert_array_equal(one.learned, other.learned)


@trains
def test_epoch_end(digits):
    x, y = digits[0][:80], digits[1][:80]
    keras.utils.set_random_seed(0)
    model = nc_keras.models.MLP((8, 8, 1), 10, (16,))
    model.compile(nc_keras.optimizers.SGD(1.0), loss=nc_keras.losses.CE())
    counting = nc_keras.callbacks.ForgettingEpochEnd(x, y)
    table = []
    again = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: table.append(
            model.predict(x, verbose=0).argmax(1) == y
        )
    )
    model.fit(x, y, epochs=8, callbacks=[counting, again], verbose=0)
    expected = forgetting.events_of(np.array(table).T)
    np.testing.assert_array_equal(counting.result().events, expected.events)
    other = nc_keras.callbacks.ForgettingEpochEnd(x, y)
    other.set_state(json.loads(json.dumps(counting.get_state())))
    np.testing.assert_array_equal(
        other.result().events, counting.result().events
    )


def test_what_is_refused():
    for table in ([1, 0], [[0.5]], np.zeros((0, 3))):
        with pytest.raises(ValueError, match="zeros and ones of shape"):
            forgetting.events_of(table)
    recorder = nc_keras.layers.ForgettingRecorder([0, 1])
    with pytest.raises(ValueError, match="no example"):
        forgetting.result(recorder)
    for index in (2, -1):
        recorder = nc_keras.layers.ForgettingRecorder([0, 1])
        recorder(np.eye(2), np.array([0, index]), training=True)
        with pytest.raises(ValueError, match="an index beyond the labels"):
            forgetting.result(recorder)
    model = nc_keras.models.MLP((4,), 3, widths=(8,))
    with pytest.raises(ValueError, match="Only a model of"):
        forgetting.result(model)
    with pytest.raises(ValueError, match="a label for each example"):
        nc_keras.callbacks.ForgettingEpochEnd(np.eye(4), [0, 1])
    two = keras.Model(model.inputs, [model.output, model.output])
    with pytest.raises(ValueError, match="2 outputs"):
        forgetting.recorded(two, [0, 1])
