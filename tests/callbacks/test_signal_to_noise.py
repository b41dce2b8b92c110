"""Signal-to-noise values along a training: logs, files, resuming, NaN."""

import math

import keras
import numpy as np
import pytest

import nc_keras
from nc_keras.callbacks import Checkpoint
from nc_keras.callbacks import NCTensorBoard
from nc_keras.callbacks import SignalToNoise
from nc_keras.theory import central_path
from tests.helpers import digits_mlp
from tests.helpers import events_of
from tests.helpers import rows_of


@pytest.fixture
def data(digits):
    x, y = digits
    return x[:500], y[:500]


def network(rate=0.05, widths=(24,)):
    return digits_mlp(nc_keras.losses.MSE(), (rate, 0.9, 1e-3), widths)


def fit(model, data, callbacks, first=0, last=3):
    return model.fit(
        *data,
        batch_size=100,
        initial_epoch=first,
        epochs=last,
        callbacks=callbacks,
        verbose=0,
    ).history


def rows(log_dir, name="snr.jsonl"):
    return rows_of(log_dir, name)


def expected(model, data):
    h, y = nc_keras.FeatureExtractor(model)(*data)
    statistics = nc_keras.metrics.ClassStatistics.from_features(h, y, 10)
    return central_path.snr(statistics)


def test_logs_and_arrays_before_other_callbacks(data, tmp_path):
    model = network()
    first = expected(model, data)
    snr = SignalToNoise(*data)
    panels = NCTensorBoard(tmp_path, *data)
    history = fit(model, data, [snr, panels])
    assert snr.epochs.tolist() == [0, 1, 2, 3]
    # Five steps per epoch, at the rate 0.05.
    np.testing.assert_allclose(snr.times, [0, 0.25, 0.5, 0.75], rtol=1e-6)
    assert snr.values.shape == (4, 9)
    np.testing.assert_allclose(snr.values[0], first, rtol=1e-5)
    last = expected(model, data)
    np.testing.assert_allclose(snr.values[-1], last, rtol=1e-5)
    np.testing.assert_allclose(snr.measure(), last, rtol=1e-5)
    assert history["snr_min"] == snr.values[1:, -1].tolist()
    assert history["snr_max"] == snr.values[1:, 0].tolist()
    assert history["snr_ratio"][-1] == pytest.approx(last[0] / last[-1])
    assert [row["snr_ratio"] for row in rows(tmp_path, "metrics.jsonl")] == (
        history["snr_ratio"]
    )


def test_only_the_epochs_that_are_asked_for(data):
    model = network()
    halve = keras.callbacks.LearningRateScheduler(lambda e, r: r / 2**e)
    snr = SignalToNoise(*data, epochs=[2])
    history = fit(model, data, [halve, snr])
    measured = np.isfinite(history["snr_min"])
    assert measured.tolist() == [True, True, False]
    # The first epoch always: other callbacks take their columns there.
    assert snr.epochs.tolist() == [0, 1, 2]
    # An epoch that is not measured takes its time too.
    assert snr.times.tolist() == pytest.approx([0, 0.25, 0.375])


def test_everything_is_on_the_disk(data, tmp_path):
    snr = SignalToNoise(*data, log_dir=tmp_path)
    fit(network(), data, [snr])
    written = rows(tmp_path)
    assert [row["epoch"] for row in written] == [0, 1, 2, 3]
    assert [row["time"] for row in written] == snr.times.tolist()
    for row, values in zip(written, snr.values, strict=True):
        assert [row[f"snr_{n}"] for n in range(1, 10)] == values.tolist()
    events = events_of(tmp_path / "snr")
    histograms = events.Tensors("singular_values/snr")
    assert [h.step for h in histograms] == [0, 1, 2, 3]
    (value,) = events.Tensors("snr/max")[-1].tensor_proto.float_val
    assert value == pytest.approx(snr.values[-1, 0], rel=1e-6)
    # Another training in the same place takes it over, and keeps the rows.
    again = SignalToNoise(*data, log_dir=tmp_path)
    fit(network(rate=0.01), data, [again], last=1)
    assert [row["epoch"] for row in rows(tmp_path)] == [0, 1]
    assert rows(tmp_path)[1]["time"] == pytest.approx(0.05)
    assert rows(tmp_path, "snr.1.jsonl") == written


def test_a_resumed_training_goes_on(data, tmp_path):
    whole = SignalToNoise(*data, log_dir=tmp_path / "whole")
    model = network()
    fit(model, data, [whole], last=2)
    reference = rows(tmp_path / "whole")
    # By the file alone, a new callback and an epoch that is done again.
    other = SignalToNoise(*data, log_dir=tmp_path / "whole")
    fit(model, data, [other], first=1, last=3)
    written = rows(tmp_path / "whole")
    assert [row["epoch"] for row in written] == [0, 1, 2, 3]
    assert written[:2] == reference[:2]
    assert other.epochs.tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(other.times, [0, 0.25, 0.5, 0.75], rtol=1e-6)
    # By the callback alone, which forgets what is done again.
    fit(model, data, [other], first=3, last=4)
    assert other.epochs.tolist() == [0, 1, 2, 3, 4]
    assert other.times[-1] == pytest.approx(1.0)
    events = events_of(tmp_path / "whole" / "snr")
    assert [h.step for h in events.Tensors("snr/min")] == [0, 1, 2, 3, 4]


def test_a_callback_without_files_goes_on_or_begins_anew(data):
    model, snr = network(), SignalToNoise(*data)
    fit(model, data, [snr], last=2)
    before = snr.values
    fit(model, data, [snr], first=1, last=2)
    assert snr.epochs.tolist() == [0, 1, 2]
    np.testing.assert_allclose(snr.times, [0, 0.25, 0.5], rtol=1e-6)
    np.testing.assert_array_equal(snr.values[:2], before[:2])
    assert (snr.values[2] != before[2]).any()
    fit(model, data, [snr], last=1)
    assert snr.epochs.tolist() == [0, 1]
    np.testing.assert_allclose(snr.times, [0, 0.25], rtol=1e-6)
    # What the first training had before is not what this one began with.
    assert (snr.values[0] != before[0]).all()


@pytest.mark.parametrize("with_files", [True, False])
def test_a_checkpoint_brings_it_back(data, tmp_path, with_files):
    def train(folder, last, total=3):
        snr = SignalToNoise(*data, log_dir=folder if with_files else None)
        checkpoint = Checkpoint(folder / "kept", [snr], max_cost=math.inf)
        stop = keras.callbacks.LambdaCallback(
            on_epoch_begin=lambda epoch, logs: epoch < last or halt()
        )
        try:
            fit(
                network(),
                data,
                [snr, checkpoint, stop],
                checkpoint.finished_epochs,
                total,
            )
        except InterruptedError:
            pass
        return snr

    def halt():
        raise InterruptedError

    whole = train(tmp_path / "whole", 3)
    train(tmp_path / "cut", 2)
    resumed = train(tmp_path / "cut", 3)
    assert resumed.epochs.tolist() == whole.epochs.tolist() == [0, 1, 2, 3]
    assert resumed.times.tolist() == whole.times.tolist()
    np.testing.assert_array_equal(resumed.values[:3], whole.values[:3])
    if with_files:
        assert rows(tmp_path / "cut")[:3] == rows(tmp_path / "whole")[:3]


def test_a_singular_covariance_ends_no_training(data, tmp_path, capsys):
    x, y = data
    # Constant in every class: signal without noise.
    x = np.eye(10, 64, dtype="float32")[y].reshape(-1, 8, 8, 1)
    snr = SignalToNoise(x, y, log_dir=tmp_path)
    history = fit(network(), data, [snr], last=2)
    assert np.isnan(history["snr_min"] + history["snr_ratio"]).all()
    assert snr.values.shape == (3, 9) and np.isnan(snr.values).all()
    printed = capsys.readouterr().out
    assert printed.count("no signal-to-noise values") == 1
    assert "Sigma_W must have full rank" in printed
    assert [row["snr_9"] for row in rows(tmp_path)] == [None] * 3
    # They are read again as what they are.
    fit(network(), data, [snr], first=2)
    assert np.isnan(snr.values).all()


def test_weights_that_are_not_finite_are_nan(data, capsys):
    model = network(rate=1e30)
    history = fit(model, data, [SignalToNoise(*data)], last=2)
    assert math.isnan(history["snr_max"][-1])
    assert "must be finite" in capsys.readouterr().out


def test_dead_units_are_left_out(data):
    model = network(widths=(40,))
    dense, norm = model.layers[2], model.layers[3]
    scale, shift, *moving = norm.get_weights()
    before = expected(model, data)
    scale[24:], shift[24:] = 0.0, -1.0
    norm.set_weights([scale, shift, *moving])
    snr = SignalToNoise(*data)
    snr.set_model(model)
    values = snr.measure()
    assert values.shape == before.shape and (values > 0).all()
    assert (values < before).all()
    assert dense.units == 40


def test_bad_arguments(data):
    with pytest.raises(ValueError, match="`epochs` must be"):
        SignalToNoise(*data, epochs=0)
    with pytest.raises(ValueError, match="Every class needs an example"):
        x, y = data
        fit(network(), data, [SignalToNoise(x[y > 0], y[y > 0])], last=1)
