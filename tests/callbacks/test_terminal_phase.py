import pytest

from nc_keras.callbacks import NeuralCollapse
from nc_keras.callbacks import TerminalPhase
from tests.helpers import digits_mlp


class FakeModel:
    stop_training = False


def feed(callback, accuracies, key="accuracy"):
    callback.set_model(FakeModel())
    callback.on_train_begin()
    logs = []
    for epoch, accuracy in enumerate(accuracies):
        logs.append({key: accuracy})
        callback.on_epoch_end(epoch, logs[-1])
        if callback.model.stop_training:
            break
    return logs


def test_the_first_epoch_counts_even_if_the_error_comes_back():
    terminal = TerminalPhase()
    logs = feed(terminal, [0.9, 0.9989, 0.999, 0.99, 1.0])
    assert terminal.epoch == 3
    assert [row["terminal_phase"] for row in logs] == [0, 0, 1, 1, 1]
    assert [row["terminal_epochs"] for row in logs] == [0, 0, 0, 1, 2]


def test_threshold_and_stop():
    terminal = TerminalPhase(threshold=0.5, stop_after=2)
    logs = feed(terminal, [0.4, 0.6, 0.7, 0.8, 0.9])
    assert (terminal.epoch, len(logs)) == (2, 4)
    assert len(feed(TerminalPhase(0.5, stop_after=0), [0.4, 0.6, 0.7])) == 2


def test_never():
    terminal = TerminalPhase(stop_after=1)
    assert len(feed(terminal, [0.5] * 4)) == 4
    assert terminal.epoch is None


def test_a_second_training_starts_anew():
    terminal = TerminalPhase()
    feed(terminal, [1.0])
    feed(terminal, [0.5, 1.0])
    assert terminal.epoch == 2


def test_the_measured_accuracy_is_preferred(digits):
    x, y = digits[0][:300], digits[1][:300]
    model = digits_mlp(sgd=(0.1, 0.9), widths=(64,))
    terminal = TerminalPhase(0.8, stop_after=2)
    history = model.fit(
        x,
        y,
        epochs=20,
        callbacks=[NeuralCollapse(x, y), terminal],
        verbose=0,
    ).history
    first = next(
        i + 1 for i, a in enumerate(history["nc_accuracy"]) if a >= 0.8
    )
    assert terminal.epoch == first
    assert len(history["loss"]) == first + 2
    # The running mean of Keras lags behind what the network can do: by
    # tens of percent in the first epoch, of which no rounding makes up.
    assert history["accuracy"][first - 1] < 0.8


def test_between_measurements_nothing_is_judged():
    terminal = TerminalPhase()
    terminal.set_model(FakeModel())
    terminal.on_train_begin()
    epochs = [
        {"nc_accuracy": 0.5, "accuracy": 0.4},
        {"accuracy": 1.0},
        {"nc_accuracy": 0.99, "accuracy": 1.0},
        {"nc_accuracy": 0.9995, "accuracy": 1.0},
    ]
    for epoch, logs in enumerate(epochs):
        terminal.on_epoch_end(epoch, logs)
    assert terminal.epoch == 4


def test_a_measurement_that_never_comes_is_told():
    terminal = TerminalPhase(monitor="nc_accuracy")
    feed(terminal, [1.0, 1.0])
    assert terminal.epoch is None
    with pytest.warns(UserWarning, match="No epoch had 'nc_accuracy'"):
        terminal.on_train_end()


def test_monitor_and_errors():
    terminal = TerminalPhase(monitor="my_accuracy")
    feed(terminal, [1.0], key="my_accuracy")
    assert terminal.epoch == 1
    with pytest.raises(ValueError, match=r"logs with \['loss'\]"):
        feed(TerminalPhase(), [0.1], key="loss")
    for threshold in (0, 1.1, -1):
        with pytest.raises(ValueError, match="Received: threshold="):
            TerminalPhase(threshold)
    with pytest.raises(ValueError, match="Received: stop_after=-1"):
        TerminalPhase(stop_after=-1)
