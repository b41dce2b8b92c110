import gc
import signal

import keras
import numpy as np
import pytest

from nc_keras.experiments.training.interrupts import Interrupts


@pytest.fixture(autouse=True)
def pythons_own_handler():
    """What other tests of this process have left."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class LostInAFinalizer:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)


class Action(keras.callbacks.Callback):
    """Does something at the end of the second epoch, and counts epochs."""

    def __init__(self, act):
        super().__init__()
        self._act, self.epochs = act, 0

    def on_epoch_end(self, epoch, logs=None):
        self.epochs += 1
        if self.epochs == 2:
            self._act()


def fit(act, epochs=5):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", loss="mse")
    x, action = np.zeros((4, 2), "float32"), Action(act)
    before = signal.getsignal(signal.SIGINT)
    try:
        with Interrupts() as interrupts:
            callbacks = [action, interrupts]
            model.fit(x, x, epochs=epochs, callbacks=callbacks, verbose=0)
    finally:
        assert signal.getsignal(signal.SIGINT) is before
    return action.epochs


def lose():
    made = LostInAFinalizer()
    del made
    gc.collect()


def twice():
    signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("act", [lose, twice])
def test_an_interrupt_ends_the_training_at_the_next_batch(act, capfd):
    epochs = []
    with pytest.raises(KeyboardInterrupt):
        epochs.append(fit(act))
    assert not epochs
    assert "Stops after this batch" in capfd.readouterr().err


def test_an_interrupt_after_the_last_batch_is_not_lost():
    with pytest.raises(KeyboardInterrupt):
        fit(lose, epochs=2)


def test_without_one_nothing_changes():
    assert fit(lambda: None) == 5


def test_who_has_a_handler_keeps_it():
    taken = []

    def take(number, frame):
        taken.append(number)

    before = signal.signal(signal.SIGINT, take)
    try:
        assert fit(lose) == 5
    finally:
        signal.signal(signal.SIGINT, before)
    assert taken == [signal.SIGINT]
