import keras
import numpy as np
import pytest

import nc_keras
from nc_keras.callbacks import NeuralCollapse
from nc_keras.callbacks import RunningCollapse
from nc_keras.metrics import ClassStatistics
from nc_keras.metrics import RunningStatistics
from nc_keras.metrics import metrics_from_statistics
from tests.helpers import compiled


@pytest.fixture
def data(digits):
    x, y = digits
    return x[:1000].reshape(1000, -1).astype("float32"), y[:1000]


def network(rate, batch_norm=False):
    keras.utils.set_random_seed(0)
    model = nc_keras.models.MLP(
        (64,), 10, widths=(48, 32), use_batch_norm=batch_norm
    )
    return compiled(model, sgd=(rate,))


def trained(data, rate, running, before=0.1, **options):
    model = network(before)
    model.fit(*data, batch_size=50, epochs=4, verbose=0)
    model.optimizer.learning_rate = rate
    history = model.fit(
        *data,
        batch_size=64,
        callbacks=[running, NeuralCollapse(*data, False)],
        verbose=0,
        **options,
    ).history
    return model, history


@pytest.mark.parametrize("without_drift", [True, False])
def test_agrees_with_the_exact_values_at_small_rates(data, without_drift):
    _, history = trained(data, 1e-6, RunningCollapse(None, without_drift))
    # Without drift 840 of 1,000 examples stand for all, which errs by about
    # 1%; for one forgotten in each of 160 groups it would be 16%.
    tolerance = 0.05 if without_drift else 2e-5
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
    assert not {"call", "compute_loss"} & vars(model).keys()
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


def test_two_on_one_model_end_in_any_order(data):
    model = network(0.01)
    callbacks = [RunningCollapse(), RunningCollapse(without_drift=False)]
    history = model.fit(*data, verbose=0, callbacks=callbacks).history
    assert np.isfinite(history["running_nc1"]).all()
    assert not {"call", "compute_loss"} & vars(model).keys()
    assert "call" not in vars(model.layers[-1])
    assert not any("running" in key for key in model.fit(*data).history)


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
    running = [v for k, v in history.items() if k.startswith("running_")]
    assert running and np.isnan(running).all()
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


def test_the_first_epoch_of_a_collapsed_network(rng):
    y = np.arange(300) % 3
    centers, noise = rng.normal(size=(3, 8)), rng.normal(size=(300, 8))
    x = (centers[y] + 1e-4 * noise).astype("float32")
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(3)])
    model.compile(keras.optimizers.SGD(1e-6), loss=nc_keras.losses.CE())
    history = model.fit(
        x, y, batch_size=60, verbose=0, callbacks=[RunningCollapse()]
    ).history
    expected = nc_keras.measure(model, x, y)["nc1"]
    # Without drift 3 * 5 of 300 examples stand for none: a few percent.
    assert history["running_nc1"][0] == pytest.approx(expected, rel=0.1)


def fitted(loss, labels, weights=None, x=None, running=None):
    keras.utils.set_random_seed(0)
    model = nc_keras.models.MLP((4,), 3, widths=(8,))
    model.compile(nc_keras.optimizers.SGD(0.0), loss=loss)
    if x is None:
        x = np.random.default_rng(0).normal(size=(60, 4))
    return model.fit(
        x,
        labels,
        sample_weight=weights,
        shuffle=False,
        verbose=0,
        callbacks=[running or RunningCollapse()],
    ).history


@pytest.mark.parametrize("column", [False, True])
def test_ignored_labels_do_not_count(column):
    x, y = np.random.default_rng(0).normal(size=(60, 4)), np.arange(60) % 3
    ignored = np.where(np.arange(60) % 10 < 1, -1, y)
    weights = (ignored >= 0) * 1.0
    shape = (-1, 1) if column else (-1,)
    ignoring = keras.losses.SparseCategoricalCrossentropy(
        from_logits=True, ignore_class=-1
    )
    expected = fitted(nc_keras.losses.CE(), y, weights)["running_nc1"]
    for loss, given in (
        (ignoring, None),
        ([ignoring], None),
        ({"head": ignoring}, None),
        (ignoring, weights),
        (nc_keras.losses.CE(), weights),
        (nc_keras.losses.CE(), weights.reshape(shape)),
    ):
        history = fitted(loss, ignored.reshape(shape), given, x)
        np.testing.assert_allclose(history["running_nc1"], expected, rtol=1e-5)


def test_labels_that_name_no_class_are_refused():
    y = np.arange(60) % 3
    for labels in (
        np.where(np.arange(60) == 7, -1, y),
        np.where(np.arange(60) == 7, 3, y),
        np.maximum(np.eye(3)[y], [1, 0, 0]),
    ):
        with pytest.raises(ValueError, match=r"0 \.\. 2.*names no class"):
            fitted("mse" if labels.ndim == 2 else nc_keras.losses.CE(), labels)


def test_a_model_whose_labels_were_refused_is_as_before(rng):
    model = nc_keras.models.MLP((4,), 3, widths=(8,))
    model.compile("sgd", loss=nc_keras.losses.CE())
    x, before = rng.normal(size=(60, 4)), dict(vars(model)).keys()
    with pytest.raises(ValueError, match="names no class"):
        model.fit(
            *(x, np.arange(60) % 3 + 7),
            callbacks=[RunningCollapse()],
            verbose=0,
        )
    added = set(vars(model)) - before
    assert not {name for name in added if not name.startswith("_")} - {
        "history"
    }
    assert all(m.name != "running_statistics" for m in model.metrics)


def test_labels_of_several_outputs_are_refused():
    inputs = keras.Input((4,))
    hidden = keras.layers.Dense(8)(inputs)
    head = keras.layers.Dense(3, name="a")
    model = keras.Model(
        inputs,
        {"a": head(hidden), "b": keras.layers.Dense(2, name="b")(hidden)},
    )
    model.compile("sgd", loss=dict.fromkeys("ab", nc_keras.losses.CE()))
    x, labels = np.ones((60, 4)), {"a": np.arange(60) % 3, "b": np.zeros(60)}
    before = model.predict(x, verbose=0)["b"]
    callbacks = [RunningCollapse(head), RunningCollapse("b")]
    with pytest.raises(ValueError, match="labels in a dict of 2"):
        model.fit(x, labels, verbose=0, callbacks=callbacks)
    np.testing.assert_array_equal(model.predict(x, verbose=0)["b"], before)
    assert not {"call", "compute_loss", "make_train_function"} & set(
        vars(model)
    )
    model.fit(x, labels, verbose=0)


def test_a_head_that_is_called_twice_is_refused():
    inputs = [keras.Input((4,)), keras.Input((4,))]
    branch = keras.Sequential(
        [keras.layers.Dense(8), keras.layers.Dense(3, name="head")]
    )
    model = keras.Model(
        inputs, keras.layers.Average()([branch(one) for one in inputs])
    )
    model.compile("sgd", loss=nc_keras.losses.CE())
    x = np.random.default_rng(0).normal(size=(60, 4))
    callbacks = [RunningCollapse("head")]
    with pytest.raises(ValueError, match="'head' more than once"):
        model.fit([x, -x], np.arange(60) % 3, verbose=0, callbacks=callbacks)


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


@pytest.mark.parametrize("factor", [1e-3, 1e-7, 1e-12])
def test_features_that_shrink_between_epochs(rng, factor):
    y = np.tile(np.arange(4), 16)
    h = (np.eye(4, 6)[y] + 0.1 * rng.normal(size=(64, 6))).astype("float32")
    statistics = RunningStatistics(4, 6)
    statistics.set_references(np.eye(4, 6))
    small = h * np.float32(factor)
    for rows in np.split(np.arange(64), 4):
        statistics.update_state(y[rows], small[rows])
    exact = ClassStatistics.from_features(small, y)
    # References that are 1000 times as large cost so many digits.
    for name in ("means", "squares", "scatter"):
        expected = getattr(exact, name)
        np.testing.assert_allclose(
            getattr(statistics.statistics(False), name),
            expected,
            atol=1e-3 * np.abs(expected).max(),
        )


def test_a_classifier_in_a_lambda_is_refused():
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(6, "relu"),
            keras.layers.Lambda(lambda h: h[:, :3]),
        ]
    )
    model.compile("sgd", loss=nc_keras.losses.CE())
    with pytest.raises(ValueError, match="may compute others"):
        model.fit(
            np.zeros((6, 4)),
            np.arange(6) % 3,
            verbose=0,
            callbacks=[RunningCollapse()],
        )
