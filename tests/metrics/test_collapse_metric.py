import keras
import numpy as np
import pytest
from keras import ops
from scenarios import SCENARIOS
from scenarios import TOLERANCES
from scenarios import assert_close
from scenarios import draw

import nc_keras
from nc_keras.metrics import CollapseMetric

NEED_EXAMPLES = {"nc4", "accuracy"}


@pytest.mark.parametrize("name", SCENARIOS)
@pytest.mark.parametrize("batch_size", [1000, 37])
def test_batches_give_the_golden_values(name, batch_size):
    h, y, kernel, _ = draw(name)
    metric = CollapseMetric(kernel.shape[1])
    for start in range(0, len(h), batch_size):
        rows = slice(start, start + batch_size)
        metric.update_state(y[rows], h[rows])
    expected = {
        tag: value
        for tag, value in SCENARIOS[name]["metrics"].items()
        if tag not in NEED_EXAMPLES
    }
    values = metric.result(kernel)
    assert set(values) == set(expected)
    rtol = TOLERANCES.get(name, 1e-6)
    assert_close(values, expected, rtol, atol=1e-7)
    assert set(metric.result()) == set(nc_keras.metrics.collapse_metrics(h, y))


@pytest.mark.parametrize("name", ["imbalanced", "terminal", "two_classes"])
def test_what_a_compiled_function_computes(name):
    h, y, kernel, _ = draw(name)
    metric = CollapseMetric(kernel.shape[1])
    for start in range(0, len(h), 400):
        rows = slice(start, start + 400)
        metric.update_state(y[rows], h[rows])
    exact = metric.result(kernel)
    kernel = ops.convert_to_tensor(kernel)
    on_device = {
        tag: float(value)
        for tag, value in metric._result_on_device(kernel).items()
    }
    assert set(on_device) == set(exact)
    assert_close(on_device, exact, rtol=1e-5, atol=1e-6)


def test_weights_one_hot_and_reset():
    h, y, _, _ = draw("balanced")
    twice = CollapseMetric(10)
    twice.update_state(np.eye(10)[y], h, sample_weight=np.where(y == 0, 3, 1))
    h3, y3 = (np.concatenate([a, a[y == 0], a[y == 0]]) for a in (h, y))
    expected = nc_keras.metrics.collapse_metrics(h3, y3)
    assert_close(twice.result(), expected, 1e-6)
    # Only ratios of weights count, also where they sum to less than one.
    small = CollapseMetric(10)
    for rows in (slice(0, 300), slice(300, None)):
        weights = np.where(y[rows] == 0, 3, 1) * 1e-3
        small.update_state(y[rows], h[rows], sample_weight=weights)
    assert_close(small.result(), expected, 1e-5)
    on_device = small._result_on_device(None)
    assert_close({t: float(v) for t, v in on_device.items()}, expected, 1e-4)
    halves = []
    for rows in (slice(0, 300), slice(300, None)):
        half = CollapseMetric(10)
        weights = np.where(y[rows] == 0, 3, 1) * 1e-3
        half.update_state(y[rows], h[rows], sample_weight=weights)
        halves.append(half.statistics())
    merged = nc_keras.metrics.metrics_from_statistics(
        halves[0].merge(halves[1])
    )
    assert_close(merged, expected, 1e-5)
    twice.reset_state()
    twice.update_state(y, h)
    assert_close(twice.result(), nc_keras.metrics.collapse_metrics(h, y), 1e-6)


def test_nan_until_every_class_was_seen_and_after_bad_input():
    h, y, _, _ = draw("balanced")
    metric = CollapseMetric(10)
    assert metric.result() == {}
    metric.update_state(y[y < 9], h[y < 9])
    assert np.isnan(metric.result()["nc1"])
    kernel = np.ones((h.shape[1], metric.num_classes))
    before = metric.result(kernel)
    metric.update_state(y, h)
    assert metric.result()["nc1"] > 0
    assert before.keys() == metric.result(kernel).keys()
    label, feature = "names no class", "feature was NaN"
    for bad_y, bad_h, said in (
        ([10], h[:1], label),
        ([0], h[:1] * np.nan, feature),
        ([-1], h[:1], label),
        (np.ones((1, 10)), h[:1], label),
        (np.zeros((1, 10)), h[:1], label),
    ):
        metric.reset_state()
        metric.update_state(y, h)
        metric.update_state(np.array(bad_y), bad_h)
        assert np.isnan(metric.result()["nc1"])
        with pytest.raises(ValueError, match=said):
            metric.statistics()


def test_statistics_merge_with_those_of_others():
    h, y, _, _ = draw("terminal")
    halves = []
    for rows in (slice(0, 500), slice(500, None)):
        metric = CollapseMetric(10)
        metric.update_state(y[rows], h[rows])
        halves.append(metric.statistics())
    values = nc_keras.metrics.metrics_from_statistics(
        halves[0].merge(halves[1])
    )
    expected = nc_keras.metrics.collapse_metrics(h, y)
    assert_close(values, expected, 1e-4, atol=1e-9)


def two_headed(num_features=16):
    """A model that returns its features beside its outputs."""
    model = nc_keras.models.MLP((8, 8, 1), 10, widths=(num_features,))
    identity = keras.layers.Identity
    outputs = {
        "features": identity(name="features")(model.layers[-1].input),
        "outputs": identity(name="outputs")(model.output),
    }
    return model, keras.Model(model.inputs, outputs)


def test_compiled_in_a_model(digits):
    x, y = digits
    model, both = two_headed()
    both.compile(
        nc_keras.optimizers.SGD(0.05, 0.9),
        loss={"outputs": nc_keras.losses.CE(), "features": None},
        metrics={"features": [CollapseMetric(10)], "outputs": ["accuracy"]},
    )
    labels = {"features": y, "outputs": y}
    history = both.fit(x, labels, epochs=2, verbose=0).history
    assert all(np.isfinite(history["nc1"]))
    logs = both.evaluate(x, labels, batch_size=100, return_dict=True, verbose=0)
    expected = nc_keras.measure(model, x, y)
    for tag in ("nc1", "nc1_cdnv", "nc2_equinorm_means", "nc2_etf_means"):
        np.testing.assert_allclose(logs[tag], expected[tag], rtol=1e-4)


@pytest.mark.parametrize("label", [-1, 1.5])
def test_a_wrong_label_is_not_compiled_away(label, digits):
    x, y = digits[0][:100], digits[1][:100]
    model, _ = two_headed()
    features = keras.Model(model.inputs, model.layers[-1].input)
    features.compile(
        loss=lambda y, h: ops.mean(h) * 0,
        weighted_metrics=[CollapseMetric(10)],
    )
    logs = features.evaluate(x, y, return_dict=True, verbose=0)
    assert np.isfinite(logs["nc1"])
    wrong = np.where(np.arange(100) == 3, label, y)
    logs = features.evaluate(x, wrong, return_dict=True, verbose=0)
    assert all(np.isnan(v) for k, v in logs.items() if k != "loss")
    weights = (np.arange(100) != 3) * 1.0
    logs = features.evaluate(
        x, wrong, sample_weight=weights, return_dict=True, verbose=0
    )
    kept = np.arange(100) != 3
    expected = nc_keras.measure(model, x[kept], y[kept])
    assert logs["nc1"] == pytest.approx(expected["nc1"], rel=1e-3)


@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
def test_weights_may_be_a_column(shape, rng):
    h, y = rng.normal(size=(60, 4)), np.arange(60) % 3
    weights = np.arange(60) % 2
    metric = CollapseMetric(3)
    # Of an example of weight 0 the label does not matter.
    metric.update_state(np.where(weights, y, -1), h, weights.reshape(shape))
    expected = nc_keras.metrics.collapse_metrics(h[1::2], y[1::2])
    assert_close(metric.result(), expected, 1e-5)


def test_config_and_shapes():
    metric = CollapseMetric(4, name="nc")
    again = CollapseMetric.from_config(metric.get_config())
    assert (again.num_classes, again.name) == (4, "nc")
    with pytest.raises(ValueError, match="Received: num_classes=1"):
        CollapseMetric(1)
    with pytest.raises(ValueError, match=r"labels of shape \(5, 3\)"):
        metric.update_state(np.zeros((5, 3)), np.zeros((5, 2)))
    with pytest.raises(ValueError, match=r"features of shape \(5, 2, 2\)"):
        metric.update_state(np.zeros(5), np.zeros((5, 2, 2)))
    with pytest.raises(ValueError, match=r"labels of shape \(4,\)"):
        metric.update_state(np.zeros(4), np.zeros((5, 2)))
    with pytest.raises(ValueError, match="No example"):
        metric.statistics()
    metric.update_state(np.arange(4), np.ones((4, 2)))
    with pytest.raises(ValueError, match=r"\(batch_size, 2\).*\(4, 3\)"):
        metric.update_state(np.arange(4), np.ones((4, 3)))


def test_state_does_not_grow_with_the_examples():
    h, y, _, _ = draw("balanced")
    metric = CollapseMetric(10)
    metric.update_state(y, h)
    sizes = [tuple(ops.shape(v)) for v in metric.variables]
    metric.update_state(y, h)
    assert sizes == [tuple(ops.shape(v)) for v in metric.variables]
