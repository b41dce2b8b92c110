"""What callbacks take, in which order, and what they show of it."""

import re

import keras
import numpy as np
import pytest

import nc_keras
from nc_keras.callbacks import NeuralCollapse


@pytest.fixture
def data(rng):
    return rng.normal(size=(30, 4)).astype("float32"), np.arange(30) % 3


def network():
    model = nc_keras.models.MLP((4,), 3, widths=(8,))
    model.compile("sgd", loss=nc_keras.losses.CE(), metrics=["accuracy"])
    return model


def test_the_former_order_works_and_warns(data, tmp_path):
    with pytest.warns(DeprecationWarning, match="takes log_dir, epochs by"):
        snr = nc_keras.callbacks.SignalToNoise(*data, tmp_path, "log")
    assert (snr.log_dir, snr.schedule) == (tmp_path, "log")
    with pytest.warns(DeprecationWarning, match="NCTensorBoard takes epochs"):
        panels = nc_keras.callbacks.NCTensorBoard(tmp_path, *data, None, 5)
    assert panels.epochs == 5
    with pytest.raises(TypeError, match="multiple values"):
        with pytest.warns(DeprecationWarning):
            NeuralCollapse(*data, None, 5, epochs=2)


def test_validation_that_is_not_measured_is_warned_of(data):
    model, fit = network(), {"validation_data": data, "verbose": 0}
    with pytest.warns(UserWarning, match="`fit` validates on data"):
        model.fit(*data, callbacks=[NeuralCollapse(*data)], **fit)
    quiet = NeuralCollapse(*data, validation_data=False)
    logs = model.fit(*data, callbacks=[quiet], **fit).history
    assert "nc1" in logs and "val_nc1" not in logs
    # Outside of `fit` there is nothing to say.
    model.evaluate(*data, callbacks=[NeuralCollapse(*data)], verbose=0)


def test_the_progress_line_is_short(data, capsys):
    callbacks = [
        NeuralCollapse(*data, data, epochs=2),
        nc_keras.callbacks.ProgressLine(["nc1", "val_nc4"]),
    ]
    fit = {"validation_data": data, "epochs": 3, "verbose": 2}
    history = network().fit(*data, callbacks=callbacks, **fit).history
    keys = {"loss", "accuracy", "val_loss", "val_accuracy"}
    lines = [x for x in capsys.readouterr().out.splitlines() if "loss" in x]
    shown = [set(re.findall(r"(\w+): ", line)) for line in lines]
    # Epochs 1, 2 and 3 (the last) are measured.
    assert shown == [keys | {"nc1", "val_nc4"}] * 3
    assert "nc3" in history and len(history["nc3"]) == 3


def test_keras_adds_no_second_bar(data, capsys):
    callbacks = [nc_keras.callbacks.ProgressLine()]
    network().fit(*data, callbacks=callbacks, verbose=2)
    assert capsys.readouterr().out.count("1/1") == 1
    assert isinstance(callbacks[0], keras.callbacks.ProgbarLogger)
