import keras
import numpy as np
import pytest

import nc_keras
from nc_keras.callbacks import NeuralCollapse
from nc_keras.callbacks import RunningCollapse
from nc_keras.metrics import ClassStatistics
from nc_keras.metrics import RunningStatistics
from nc_keras.metrics import metrics_from_statistics


@pytest.fixture
def data(digits):
    x, y = digits
    return x[:1000].reshape(1000, -1).astype("float32"), y[:1000]


def network(rate, batch_norm=False):
    keras.utils.set_random_seed(0)
    model = nc_keras.models.MLP(
        (64,), 10, widths=(48, 32), use_batch_norm=batch_norm
    )
    model.compile(
        nc_keras.optimizers.SGD(rate),
        loss=nc_keras.losses.CE(),
        metrics=["accuracy"],
    )
    return model


def trained(data, rate, running, before=0.1, **options):
    model = network(before)
    model.fit(*data, batch_size=50, epochs=4, verbose=0)
    model.optimizer.learning_rate = rate
    history = model.fit(
        *data,
        batch_size=64,
        callbacks=[running, NeuralCollapse(*data)],
        verbose=0,
        **options,
    ).history
    return model, history


@pytest.mark.parametrize("without_drift", [True, False])
def test_agrees_with_the_exact_values_at_small_rates(data, without_drift):
    _, history = trained(data, 1e-6, RunningCollapse(None, without_drift))
    # Without drift the last free examples are a sample of all.
    tolerance = 0.03 if without_drift else 2e-5
    running = [k for k in history if k.startswith("running_")]
    assert len(running) == 14
    for key in running:
        exact = history[key.removeprefix("running_")][0]
        assert history[key][0] == pytest.approx(exact, rel=tolerance), key
        if not without_drift:
            assert history[key][0] != exact or "weights" in key or "0" in key


def test_validation_and_epochs_do_not_mix_with_it(data):
    x, y = data
    _, alone = trained(data, 1e-6, RunningCollapse(), epochs=3)
    _, beside = trained(
        data,
        1e-6,
        RunningCollapse(),
        epochs=3,
        validation_data=(x[:64], y[:64]),
    )
    assert len(beside["running_nc1"]) == 3
    # On torch a validation draws from the numbers that order the examples.
    np.testing.assert_allclose(
        beside["running_nc1"], alone["running_nc1"], rtol=0.05
    )


def test_leaves_model_and_training_as_they_were(data):
    model = network(0.1)
    expected = network(0.1)
    before = (dict(vars(model.layers[-1])), len(model.metrics))
    keras.utils.set_random_seed(1)
    model.fit(*data, epochs=2, verbose=0, callbacks=[RunningCollapse()])
    keras.utils.set_random_seed(1)
    expected.fit(*data, epochs=2, verbose=0)
    for ours, theirs in zip(
        model.get_weights(), expected.get_weights(), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    assert "call" not in vars(model.layers[-1]).keys() - before[0].keys()
    assert "compute_loss" not in vars(model)
    assert len(model.metrics) == before[1]
    history = model.fit(*data, epochs=1, verbose=0).history
    assert not any("running" in key for key in history)


def test_an_interrupted_training_is_attached_once(data):
    class Interrupt(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            raise KeyboardInterrupt

    model, running = network(0.01), RunningCollapse()
    with pytest.raises(KeyboardInterrupt):
        model.fit(*data, verbose=0, callbacks=[running, Interrupt()])
    history = model.fit(*data, verbose=0, callbacks=[running]).history
    assert np.isfinite(history["running_nc1"]).all()
    assert "compute_loss" not in vars(model)


def test_one_hot_labels_weights_and_batch_norm(data):
    x, y = data
    model = network(0.01, batch_norm=True)
    weights = np.ones(1000)
    weights[y == 3] = 0
    history = model.fit(
        x,
        np.eye(10)[y],
        sample_weight=weights,
        verbose=0,
        callbacks=[RunningCollapse()],
    ).history
    # A class that never counted has no mean.
    assert not any("running" in key for key in history)
    weights[:] = np.where(y == 3, 0.5, 1)
    history = model.fit(
        x,
        np.eye(10)[y],
        sample_weight=weights,
        verbose=0,
        callbacks=[RunningCollapse()],
    ).history
    assert np.isfinite(history["running_nc1"]).all()


def drifting(rng, step):
    y = np.repeat(np.arange(4), 16)
    mu = np.eye(4, 6) * 3
    batches = []
    for i in range(60):
        noise = 0.1 * rng.normal(size=(64, 6))
        batches.append((mu[y] * (1 + i * step) + noise, y))
    return batches


def test_the_drift_of_means_is_no_variance(rng):
    statistics = RunningStatistics(4, 6)
    batches = drifting(rng, 0.02)
    for h, y in batches:
        statistics.update_state(y, h)
    y = np.concatenate([y for _, y in batches])
    middle = 3 * np.eye(4, 6) * (1 + 0.02 * 59 / 2)
    still = middle[y] + 0.1 * rng.normal(size=(len(y), 6))
    h = np.concatenate([h for h, _ in batches])
    expected = metrics_from_statistics(ClassStatistics.from_features(still, y))
    drifted = metrics_from_statistics(ClassStatistics.from_features(h, y))
    without = metrics_from_statistics(statistics.statistics())
    plain = metrics_from_statistics(statistics.statistics(False))
    for tag in ("nc1", "nc1_trace_ratio", "nc1_cdnv"):
        assert plain[tag] == pytest.approx(drifted[tag], rel=1e-4)
        assert without[tag] == pytest.approx(expected[tag], rel=0.05)
        assert plain[tag] > 10 * expected[tag]


def test_sums_of_two_devices_add_up(rng):
    one, whole = RunningStatistics(4, 6), RunningStatistics(4, 6)
    batches = drifting(rng, 0.02)
    for h, y in batches:
        whole.update_state(y, h)
    other = RunningStatistics(4, 6)
    for metric, part in ((one, batches[::2]), (other, batches[1::2])):
        for h, y in part:
            metric.update_state(y, h)
    for mine, others, both in zip(
        one.variables, other.variables, whole.variables, strict=True
    ):
        total = keras.ops.convert_to_numpy(mine) + keras.ops.convert_to_numpy(
            others
        )
        np.testing.assert_allclose(
            total, keras.ops.convert_to_numpy(both), rtol=1e-5
        )


def test_references_stay_and_make_collapsed_features_exact(rng):
    y = np.repeat(np.arange(4), 16)
    h = 100 * np.eye(4, 6)[y] + 50 + 1e-3 * rng.normal(size=(64, 6))
    h = h.astype("float32")
    statistics = RunningStatistics(4, 6)
    statistics.update_state(y, h)
    statistics.references.assign(statistics.statistics().means)
    statistics.reset_state()
    assert statistics.statistics() is None or not (
        statistics.statistics().counts.any()
    )
    statistics.update_state(y, h)
    exact = ClassStatistics.from_features(h, y)
    np.testing.assert_allclose(
        statistics.statistics(False).squares, exact.squares, rtol=1e-3
    )


def test_invalid_features_give_no_statistics():
    statistics = RunningStatistics(2, 3)
    statistics.update_state([0, 1], np.full((2, 3), np.nan))
    assert statistics.statistics() is None
