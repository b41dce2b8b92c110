import dataclasses
import functools

import numpy as np
import pytest
from scenarios import SCENARIOS
from scenarios import TOLERANCES
from scenarios import assert_close
from scenarios import draw

import nc_keras
from nc_keras.metrics import ClassStatistics
from nc_keras.metrics import metrics_from_statistics

NEED_EXAMPLES = {"nc4", "accuracy"}


def parts(name, sizes):
    h, y, kernel, _ = draw(name)
    edges = np.cumsum(sizes)
    chunks = zip(np.split(h, edges), np.split(y, edges), strict=True)
    statistics = [
        ClassStatistics.from_features(a, b, kernel.shape[1])
        for a, b in chunks
        if len(b)
    ]
    return statistics, kernel


@pytest.mark.parametrize("name", SCENARIOS)
@pytest.mark.parametrize("sizes", [[7] * 10, [1, 2, 3, 60], [40]])
def test_any_splitting_and_merging_gives_the_golden_values(name, sizes, rng):
    statistics, kernel = parts(name, sizes)
    expected = {
        tag: value
        for tag, value in SCENARIOS[name]["metrics"].items()
        if tag not in NEED_EXAMPLES
    }
    for order in (range(len(statistics)), rng.permutation(len(statistics))):
        merged = functools.reduce(
            ClassStatistics.merge, [statistics[i] for i in order]
        )
        values = metrics_from_statistics(merged, kernel)
        assert set(values) == set(expected)
        assert_close(values, expected, TOLERANCES.get(name, 1e-9), atol=1e-12)


def test_merge_is_associative_and_empty_is_neutral():
    (a, b, c, *_), _ = parts("terminal", [300, 300])
    left, right = a.merge(b).merge(c), a.merge(b.merge(c))
    empty = ClassStatistics.empty(10, 128)
    for one, other in ((left, right), (a, empty.merge(a)), (a, a.merge(empty))):
        np.testing.assert_array_equal(one.counts, other.counts)
        np.testing.assert_allclose(one.means, other.means, rtol=1e-14)
        np.testing.assert_allclose(one.squares, other.squares, rtol=1e-9)
        np.testing.assert_allclose(
            one.scatter, other.scatter, rtol=1e-6, atol=1e-13
        )


def test_a_class_may_be_missing_in_a_part():
    h, y, _, _ = draw("balanced")
    first = ClassStatistics.from_features(h[y < 5], y[y < 5], 10)
    second = ClassStatistics.from_features(h[y >= 5], y[y >= 5], 10)
    assert first.counts[7] == 0 and second.counts[7] == 100
    whole = ClassStatistics.from_features(h, y, 10)
    np.testing.assert_allclose(
        first.merge(second).means, whole.means, rtol=1e-12
    )
    with pytest.raises(ValueError, match="no example of 5 of 10 classes"):
        metrics_from_statistics(first)


def test_float32_one_pass_formulas_would_fail_here():
    # What the centring is for: E[xx'] - mm' in float32 is lost at this spread.
    h, y, _, _ = draw("terminal")
    exact = ClassStatistics.from_features(h, y)
    naive = np.mean(h**2, 0) - np.mean(
        [h[y == c].mean(0) ** 2 for c in range(10)], 0
    )
    trace = exact.squares.sum() / len(h)
    assert abs(naive.sum() - trace) > 10 * trace
    np.testing.assert_allclose(np.trace(exact.scatter) / len(h), trace)


def test_refuses_what_cannot_be_merged_or_measured():
    h, y, _, _ = draw("balanced")
    whole = ClassStatistics.from_features(h, y)
    with pytest.raises(ValueError, match=r"\(10, 64\) and \(3, 2\)"):
        whole.merge(ClassStatistics.empty(3, 2))
    without = ClassStatistics.from_features(h, y, scatter=False)
    with pytest.raises(ValueError, match="scatter=True"):
        metrics_from_statistics(without)
    with pytest.raises(ValueError, match="no example of 3 of 3"):
        metrics_from_statistics(ClassStatistics.empty(3, 2))


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"counts": np.array([3, -1, 2])}, "counts. must not be negative"),
        ({"squares": np.array([1.0, -0.1, 2])}, "squares. must not be neg"),
        ({"squares": np.ones(4)}, r"'squares': \(4,\)"),
        ({"counts": np.ones((3, 1))}, r"'counts': \(3, 1\)"),
        ({"scatter": np.eye(3)}, r"'scatter': \(3, 3\)"),
        ({"means": np.ones(3)}, r"'means': \(3,\)"),
        ({"means": [[0.0, 1.0]] * 3}, "means. must be a NumPy array.*list"),
        ({"means": np.full((3, 2), "a")}, "means. must be an array of real"),
        ({"means": np.full((3, 2), np.nan)}, r"infinity in \['means'\]"),
        ({"scatter": None}, "no scatter"),
    ],
)
def test_statistics_that_cannot_be_are_refused(changes, message, rng):
    whole = ClassStatistics.from_features(
        rng.normal(size=(6, 2)), np.arange(6) % 3
    )
    wrong = dataclasses.replace(whole, **changes)
    with pytest.raises(ValueError, match=message):
        metrics_from_statistics(wrong)


def test_masked_arrays_are_refused_wherever_arrays_enter(rng):
    h, y = rng.normal(size=(12, 4)).astype("float32"), np.arange(12) % 3
    mask = np.arange(12) < 3
    rows = np.ma.masked_array(h, np.broadcast_to(mask[:, None], h.shape))
    labels, kernel = (
        np.ma.masked_array(y, mask),
        np.ma.masked_less(h[:4, :3], 0),
    )
    model = nc_keras.models.MLP((4,), 3, widths=(5,))
    metrics = nc_keras.metrics
    for call in (
        lambda: metrics.collapse_metrics(rows, y),
        lambda: metrics.collapse_metrics(h, labels),
        lambda: metrics.collapse_metrics(h, y, kernel),
        lambda: metrics.collapse_metrics(h, y, ood=rows, metrics="all"),
        lambda: metrics.collapse_metrics(h, y, train_means=rows[:3]),
        lambda: ClassStatistics.from_features(list(rows), y),
        lambda: metrics.CollapseMetric(3).update_state(labels, h),
        lambda: metrics.CollapseMetric(3).update_state(y, rows),
        lambda: metrics.RunningStatistics(3, 4).update_state(labels, h),
        lambda: metrics.RunningStatistics(3, 4).update_state(y, rows),
        lambda: nc_keras.measure(model, rows, y),
        lambda: nc_keras.measure(model, h, labels),
        lambda: nc_keras.measure(model, [(rows, y)]),
        lambda: nc_keras.deepfool(model, rows),
        lambda: nc_keras.losses.CE()(labels, h[:, :3]),
        lambda: nc_keras.geometry.cosines(rows),
    ):
        with pytest.raises(ValueError, match="masked"):
            call()
    whole = np.ma.masked_array(h, False)
    assert metrics.collapse_metrics(whole, y) == metrics.collapse_metrics(h, y)
