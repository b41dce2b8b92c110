"""Statistics that are summed up on the device in float32."""

import numpy as np
import pytest
from keras import ops
from scenarios import assert_close

from nc_keras.metrics import CollapseMetric
from nc_keras.metrics import RunningStatistics
from nc_keras.metrics import collapse_metrics
from nc_keras.metrics import metrics_from_statistics


def features(rng, spread, scale=1.0, offset=0.0):
    y = np.arange(240) % 3
    h = rng.normal(size=(3, 8))[y] + spread * rng.normal(size=(240, 8))
    return ((h + offset) * scale).astype("float32"), y


def both(h, y, batch_size=40):
    """What the two metrics make of batches, in float64 and on the device."""
    metric, running = CollapseMetric(3), RunningStatistics(3, h.shape[1])
    for start in range(0, len(h), batch_size):
        rows = slice(start, start + batch_size)
        metric.update_state(y[rows], h[rows])
        running.update_state(y[rows], h[rows])
    on_device = metric._result_on_device(None)
    return {
        "metric": metric.result(),
        "device": {k: float(v) for k, v in on_device.items()},
        "running": metrics_from_statistics(running.statistics(False)),
    }


@pytest.mark.parametrize("spread", [1e-1, 1e-3])
@pytest.mark.parametrize(
    "scale", [1e-35, 1e-25, 1e-20, 1e-16, 1e-10, 1e10, 1e18, 1e25, 1e35]
)
def test_features_that_vanish_or_explode_are_measured_alike(spread, scale, rng):
    h, y = features(rng, spread, scale)
    expected = collapse_metrics(h, y)
    for values in both(h, y).values():
        # The means are rounded to float32, 1e-7 of which is 1e-4 of a spread.
        assert_close(values, expected, 1e-3, atol=1e-5)


def test_the_unit_grows_with_the_features(rng):
    h, y = features(rng, 1e-2)
    growing = h * np.repeat([0, 1e-30, 1e-12, 1, 1, 1e15], 40)[:, None]
    growing = growing.astype("float32")
    expected = collapse_metrics(growing, y)
    for values in both(growing, y).values():
        assert_close(values, expected, 1e-4, atol=1e-5)


def test_a_dead_network_is_not_a_collapsed_one():
    y = np.arange(240) % 3
    for values in both(np.zeros((240, 8), "float32"), y).values():
        assert np.isnan(values["nc1"]) and np.isnan(values["nc1_cdnv"])


@pytest.mark.parametrize("batch_size", [3, 40, 240])
def test_collapsed_features_need_no_earlier_epoch(batch_size, rng):
    h, y = features(rng, 1e-5, offset=3.0)
    # From the features as float32 has them: 1e-7 of 3 is 0.03 of the spread.
    expected = collapse_metrics(h, y)
    running = RunningStatistics(3, 8)
    for start in range(0, len(h), batch_size):
        rows = slice(start, start + batch_size)
        running.update_state(y[rows], h[rows])
    for without_drift in (False, True):
        values = metrics_from_statistics(running.statistics(without_drift))
        assert values["nc1"] == pytest.approx(expected["nc1"], rel=0.1)


@pytest.mark.parametrize("make", [CollapseMetric, RunningStatistics])
def test_counts_go_on_beyond_what_float32_can_count(make):
    metric = make(2) if make is CollapseMetric else make(2, 2)
    h = np.array([[0.0, 1.0], [5.0, 5.0]], "float32")
    metric.update_state([0, 1], h)
    metric._add_counts(ops.convert_to_tensor(np.float32([2.0**24, 0])))
    for _ in range(20):
        metric.update_state([0], h[:1])
    assert metric.statistics().counts.tolist() == [2**24 + 21, 1]


def test_invalid_features_are_no_overflow(rng):
    h, y = features(rng, 1e-2)
    h[7, 3] = np.inf
    running = RunningStatistics(3, 8)
    running.update_state(y, h)
    assert running.statistics() is None
    metric = CollapseMetric(3)
    metric.update_state(y, h)
    assert np.isnan(metric.result()["nc1"])
