import csv

import keras
import numpy as np
import pytest

import nc_keras
from nc_keras.callbacks import NeuralCollapse
from tests.helpers import digits_mlp


def test_values_in_logs_are_those_of_measure(digits):
    x, y = digits
    model = digits_mlp()
    collapse = NeuralCollapse(x[:1000], y[:1000], (x[1000:], y[1000:]))
    history = model.fit(
        x[:1000], y[:1000], epochs=2, callbacks=[collapse], verbose=0
    ).history
    train = nc_keras.measure(model, x[:1000], y[:1000], batch_size=64)
    means = collapse.train_means
    test = nc_keras.measure(model, x[1000:], y[1000:], train_means=means)
    assert set(test) - set(train) == {"ncc_accuracy"}
    for prefix, values in (("", train), ("val_", test)):
        for tag, value in values.items():
            key = prefix + ("nc_accuracy" if tag == "accuracy" else tag)
            np.testing.assert_allclose(
                history[key][-1], value, rtol=1e-4, atol=1e-6, err_msg=key
            )
    assert len(history["nc1"]) == len(history["accuracy"]) == 2


def test_schedule(digits):
    x, y = digits[0][:200], digits[1][:200]
    collapse = NeuralCollapse(x, y, epochs=[2, 5])
    model = digits_mlp()
    history = model.fit(x, y, epochs=6, callbacks=[collapse], verbose=0).history
    measured = np.flatnonzero(np.isfinite(history["nc1"])) + 1
    assert measured.tolist() == [1, 2, 5]  # the first whatever is asked for
    assert len(history["nc1"]) == len(history["loss"]) == 6


def test_without_memory_a_test_set_takes_one_forward_pass(digits):
    x, y = digits[0][:200], digits[1][:200]
    seen = []

    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return 1

        def __getitem__(self, index):
            seen.append(index)
            return x, y

    collapse = NeuralCollapse(x, y, Batches(), memory=0)
    digits_mlp().fit(x, y, epochs=2, callbacks=[collapse], verbose=0)
    assert len(seen) == 2


def test_other_callbacks_see_the_values(digits, tmp_path):
    x, y = digits[0][:200], digits[1][:200]
    callbacks = [
        NeuralCollapse(x, y),
        keras.callbacks.CSVLogger(tmp_path / "log.csv"),
        keras.callbacks.EarlyStopping(
            "nc1", min_delta=1e9, patience=2, mode="min"
        ),
        keras.callbacks.ModelCheckpoint(
            tmp_path / "best.weights.h5",
            monitor="nc1",
            mode="min",
            save_best_only=True,
            save_weights_only=True,
        ),
    ]
    digits_mlp().fit(x, y, epochs=9, callbacks=callbacks, verbose=0)
    text = (tmp_path / "log.csv").read_text()
    rows = list(csv.DictReader(text.splitlines()))
    assert len(rows) == 3
    assert all(float(row["nc1"]) > 0 for row in rows)
    assert (tmp_path / "best.weights.h5").exists()


def test_measuring_does_not_change_the_training(digits):
    x, y = digits[0][:200], digits[1][:200]
    weights = []
    for callbacks in ([], [NeuralCollapse(x, y, (x, y))]):
        model = digits_mlp()
        model.fit(x, y, epochs=3, callbacks=callbacks, verbose=0)
        weights.append(model.get_weights())
    for a, b in zip(*weights, strict=True):
        # Another order of the images would differ in the second digit.
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_a_dataset_and_a_head_by_name(digits):
    x, y = digits[0][:200], digits[1][:200]

    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return 3

        def __getitem__(self, i):
            rows = slice(80 * i, 80 * (i + 1))
            return x[rows], y[rows]

    model = digits_mlp()
    arrays = NeuralCollapse(x, y, head="head")
    batches = NeuralCollapse(Batches(), validation_data=Batches())
    history = model.fit(x, y, epochs=1, callbacks=[arrays], verbose=0).history
    batches.set_model(model)
    batches.set_params({"epochs": 1})
    batches.on_train_begin()
    values = batches.measure()
    for tag in ("nc1", "nc3"):
        np.testing.assert_allclose(values[tag], history[tag][0], rtol=1e-4)
        np.testing.assert_allclose(values[f"val_{tag}"], values[tag])


def test_non_finite_features_stop_training_and_say_where(digits, capsys):
    x, y = digits[0][:200].copy(), digits[1][:200]
    broken = x.copy()
    broken[7] = np.nan
    history = (
        digits_mlp()
        .fit(
            x,
            y,
            epochs=5,
            batch_size=50,
            callbacks=[NeuralCollapse(broken, y)],
            verbose=0,
        )
        .history
    )
    assert len(history["loss"]) == 1
    printed = capsys.readouterr().out
    assert "Epoch 1, step 4: training stops." in printed
    assert "1 of 200 examples, first in example 7" in printed


@pytest.mark.parametrize(
    "x, y, message",
    [
        (slice(0, 200), slice(0, 199), "200 examples and 199 labels"),
        (slice(0, 0), slice(0, 0), "0 examples and 0 labels"),
        (slice(0, 5), slice(0, 5), "no example of 5 of 10 classes: 5, 6, 7"),
    ],
)
def test_bad_data_are_refused(digits, x, y, message):
    images, labels = digits
    with pytest.raises(ValueError, match=message):
        digits_mlp().fit(
            images[:200],
            labels[:200],
            callbacks=[NeuralCollapse(images[x], labels[y])],
            verbose=0,
        )
    with pytest.raises(ValueError, match="Received: epochs=0"):
        NeuralCollapse(images, labels, epochs=0)


def test_bad_data_are_refused_before_training_and_named(digits):
    x, y = digits[0][:200], digits[1][:200]
    bad = np.where(y == 3, 12, y)
    for data, name in (
        ((x, bad, (x, y)), "training"),
        ((x, y, (x, bad)), "validation"),
    ):
        history = keras.callbacks.History()
        with pytest.raises(ValueError, match=f"In the {name} data.*label 12"):
            digits_mlp().fit(
                x, y, callbacks=[history, NeuralCollapse(*data)], verbose=0
            )
        assert not history.epoch
    with pytest.raises(ValueError, match="None of the 3 epochs"):
        digits_mlp().fit(
            x,
            y,
            epochs=3,
            callbacks=[NeuralCollapse(x, y, epochs=[50])],
            verbose=0,
        )


def test_a_non_finite_loss_stops_between_measurements(digits, capsys):
    x, y = digits[0][:200], digits[1][:200]
    model = digits_mlp()
    history = model.fit(
        x * np.where(np.arange(200) == 9, np.inf, 1)[:, None, None, None],
        y,
        epochs=5,
        batch_size=50,
        callbacks=[NeuralCollapse(x, y, (x, y, None), epochs=[5])],
        verbose=0,
    ).history
    assert len(history["loss"]) == 1
    printed = capsys.readouterr().out
    assert "Epoch 1, step 4: training stops. The loss is nan." in printed
