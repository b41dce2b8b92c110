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
    assert panels.schedule == 5
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


def test_callbacks_have_the_options_of_measure(data):
    x, y = data
    weights = np.arange(30) % 4 > 0
    model = network()
    collapse = NeuralCollapse(
        x, y, (x, y, weights), mask=weights, pairs=2, features=model.layers[-2]
    )
    logs = model.fit(x, y, callbacks=[collapse], verbose=0).history
    expected = nc_keras.measure(model, x, y, mask=weights, pairs=2)
    assert logs["nc1"] == [pytest.approx(expected["nc1"], rel=1e-6)]
    assert logs["val_nc1"] == logs["nc1"]
    assert logs["nc1"] != [pytest.approx(nc_keras.measure(model, x, y)["nc1"])]


def test_labels_of_what_does_not_count_may_be_anything(data):
    x, y = data
    counted = np.arange(30) % 4 > 0
    padded = np.where(counted, y, -1)
    collapse = NeuralCollapse(x, padded, (x, padded, counted), mask=counted)
    model = network()
    logs = model.fit(x, y, callbacks=[collapse], verbose=0).history
    assert logs["nc1"] == logs["val_nc1"]


@pytest.mark.parametrize("widths", [(16, 8), (8, 8)])
def test_another_layer_has_the_same_keys_in_all_epochs(widths, data, tmp_path):
    model = nc_keras.models.MLP((4,), 3, widths=widths)
    model.compile(
        nc_keras.optimizers.SGD(0.1, weight_decay=1e-3),
        loss=nc_keras.losses.MSE(),
    )
    layer = model.layers[3]
    panels = nc_keras.callbacks.NCTensorBoard(
        tmp_path, *data, data, features=layer, metrics=["nc1"]
    )
    both = [NeuralCollapse(*data, data, features=layer), panels]
    for callback in both:
        logs = model.fit(
            *data, epochs=3, callbacks=[callback], verbose=0
        ).history
        assert {len(logs["nc1"]), len(logs["val_nc1"])} == {3}
        # The loss is not one of these features, and no head is their own.
        assert not {"nc3", "mse_nc1", "nc_accuracy"} & logs.keys()
    collapse = NeuralCollapse(*data, features=layer, decompose=True)
    collapse.set_model(model)
    with pytest.raises(ValueError, match="MSE loss can be decomposed"):
        collapse.measure()


def test_layers_are_measured_with_a_mask(data):
    x, y = data
    weights, model = np.arange(30) % 4 > 0, network()
    layers = nc_keras.callbacks.LayerwiseCollapse(x, y, mask=weights)
    logs = model.fit(x, y, callbacks=[layers], verbose=0).history
    expected = nc_keras.layerwise(model, x[weights], y[weights])
    (found,) = (logs[key] for key in logs if key.startswith("nc1/"))
    assert found == [pytest.approx(expected.column("nc1")[0], rel=1e-6)]


def test_features_that_no_head_takes(data, tmp_path):
    model = network()
    panels = nc_keras.callbacks.NCTensorBoard(
        tmp_path, *data, features=lambda inputs: inputs
    )
    logs = model.fit(*data, callbacks=[panels], verbose=0).history
    assert logs["nc1"] == [
        pytest.approx(nc_keras.metrics.collapse_metrics(*data)["nc1"], rel=1e-6)
    ]
    assert "nc4" not in logs


@pytest.mark.parametrize(
    "call",
    [
        lambda x, y, **o: nc_keras.measure(network(), x, y, **o),
        lambda x, y, **o: nc_keras.report(network(), (x, y), **o),
        lambda x, y, **o: nc_keras.layerwise(network(), x, y, **o),
        NeuralCollapse,
        nc_keras.callbacks.LayerwiseCollapse,
        nc_keras.callbacks.SignalToNoise,
    ],
)
def test_an_option_that_is_not_known(call, data):
    with pytest.raises(TypeError, match="Did you mean batch_size?"):
        call(*data, batchsize=3)
