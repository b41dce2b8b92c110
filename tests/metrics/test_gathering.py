"""How many passes a measurement makes, and what it keeps of the examples."""

import itertools
import tracemalloc

import numpy as np
import pytest
from scenarios import SCENARIOS
from scenarios import assert_close
from scenarios import draw
from scenarios import textbook

from nc_keras.measuring import passes as engine
from nc_keras.measuring.source import FeatureSource
from nc_keras.metrics import METRICS
from nc_keras.metrics import ClassStatistics
from nc_keras.metrics import collapse_metrics
from nc_keras.metrics import metric


class Passes:
    """Stands for an extractor, and counts its forward passes."""

    def __init__(self, h, y, once=False):
        self.h, self.y, self.once, self.count = h, y, once, 0

    def batches(self, *_, **__):
        self.count += 1
        assert self.count == 1 or not self.once
        for start in range(0, len(self.y), 100):
            rows = slice(start, start + 100)
            yield self.h[rows], self.y[rows]


def measured(name="imbalanced", memory=2**30, once=False, **options):
    h, y, kernel, bias = draw(name)
    passes = Passes(h, y, once)
    x = iter([]) if once else None
    source = FeatureSource(passes, x, None if once else y, 100, memory)
    kernel, bias = kernel.T.astype("float64"), bias.astype("float64")
    measurement = engine.measured(source, kernel, bias, len(kernel), **options)
    return measurement.values(), passes.count, measurement


def test_what_fits_into_memory_takes_one_forward_pass():
    values, passes, _ = measured()
    assert passes == 1
    assert values == pytest.approx(SCENARIOS["imbalanced"]["metrics"], 1e-9)


@pytest.mark.parametrize("memory", [0, 1000, 100_000])
def test_what_does_not_is_measured_alike_in_two(memory):
    values, passes, _ = measured(memory=memory)
    assert passes == 2
    assert values == pytest.approx(SCENARIOS["imbalanced"]["metrics"], 1e-9)


@pytest.mark.parametrize("memory", [0, 100_000])
def test_only_what_compares_with_final_means_takes_the_second(memory):
    expected = SCENARIOS["imbalanced"]["metrics"]
    tags = [t for t in expected if t != "nc4"]
    values, passes, measurement = measured(memory=memory, metrics=tags)
    assert passes == 1
    assert values == pytest.approx({t: expected[t] for t in tags}, 1e-9)
    assert measurement.statistics.scatter is not None
    means = measurement.class_means
    values, passes, _ = measured(memory=memory, train_means=means)
    assert passes == 1
    assert values.pop("ncc_accuracy") > 0
    assert values == pytest.approx(expected, 1e-9)


def test_streaming_forgets_the_features():
    h, y, _, _ = draw("imbalanced")
    source = FeatureSource(Passes(h, y), None, y, 100, memory=0)
    engine.measured(source, metrics=["nc1"])
    assert not source.kept and not source.release()


def test_no_scatter_is_formed_where_nothing_needs_it():
    assert measured()[2].statistics.scatter is None
    assert measured(metrics=["nc4", "nc1"], memory=0)[2].layer.scatter is None
    assert measured(metrics=["vci"])[2].layer.scatter.shape == (64, 64)


def test_a_generator_serves_as_far_as_its_features_are_kept():
    expected = SCENARIOS["imbalanced"]["metrics"]
    values, _, _ = measured(once=True)
    assert values == pytest.approx(expected, 1e-9)
    with pytest.raises(ValueError, match="can be iterated only once"):
        measured(once=True, memory=1000)
    with pytest.raises(ValueError, match="can be iterated only once"):
        measured(once=True, memory=1000, metrics=["vci", "nc4"])
    values, _, _ = measured(once=True, memory=1000, metrics="nc1")
    assert values == {"nc1": pytest.approx(expected["nc1"], 1e-9)}


def test_examples_are_counted_where_classes_are_known_only_at_the_end(
    monkeypatch,
):
    registered = dict(METRICS)
    monkeypatch.setattr("nc_keras.measuring.registry.METRICS", registered)

    @metric("first_half", over="examples", default=False)
    def first_half(examples):
        return examples.labels < 5

    h, y, _, _ = draw("balanced")
    source = FeatureSource(Passes(h, y), None, y, 100)
    measurement = engine.measured(source, metrics=["first_half"])
    assert measurement.values() == {"first_half": np.mean(y < 5)}


def test_what_overflows_is_an_error_and_no_warning(recwarn):
    h, y, kernel, bias = draw("balanced")
    h = h.copy()
    h[3] = np.inf
    with pytest.raises(ValueError, match="first in example 3"):
        collapse_metrics(h, y, 0 * kernel, bias, metrics=["accuracy", "nc1"])
    assert not recwarn.list


def test_metrics_are_chosen():
    h, y, kernel, bias = draw("balanced")
    whole = collapse_metrics(h, y, kernel, bias)
    some = collapse_metrics(h, y, kernel, bias, metrics=["accuracy", "nc1"])
    assert some == {tag: whole[tag] for tag in ("nc1", "accuracy")}
    everything = collapse_metrics(h, y, kernel, bias, metrics="all")
    assert {tag: everything[tag] for tag in whole} == pytest.approx(whole, 1e-9)
    assert everything["per_class_accuracy"].shape == (10,)
    assert "nc5" not in everything
    with pytest.raises(ValueError, match="Did you mean nc1_cdnv"):
        collapse_metrics(h, y, metrics=["nc1_cdvn"])
    with pytest.raises(ValueError, match="'nc5' needs features of out-of"):
        collapse_metrics(h, y, metrics=["nc5"])
    with pytest.raises(ValueError, match="'nc3' needs the head's weights"):
        collapse_metrics(h, y, metrics=["nc3"])
    with pytest.raises(ValueError, match="At least one"):
        collapse_metrics(h, y, metrics=[])


def test_a_metric_over_pairs_or_examples_is_one_function(monkeypatch):
    registered = dict(METRICS)
    monkeypatch.setattr("nc_keras.measuring.registry.METRICS", registered)

    @metric("closest", over="pairs", reduce="variance", default=False)
    def closest(pairs):
        return pairs.squared_distances

    @metric("per_class_norm", over="examples", reduce="classes")
    def norm(examples):
        return np.linalg.norm(examples.features, axis=1)

    h, y, _, _ = draw("balanced")
    values = collapse_metrics(h, y, metrics=["closest", "per_class_norm"])
    mu = np.array([h[y == c].mean(0, dtype="float64") for c in range(10)])
    distances = [np.sum((a - b) ** 2) for a, b in itertools.permutations(mu, 2)]
    assert values["closest"] == pytest.approx(np.var(distances), 1e-9)
    norms = np.linalg.norm(h.astype("float64"), axis=1)
    expected = [norms[y == c].mean() for c in range(10)]
    np.testing.assert_allclose(values["per_class_norm"], expected)
    with pytest.raises(ValueError, match="`over` must be one of"):
        metric("wrong", over="images")
        metric("wrong", over="images")
    with pytest.raises(ValueError, match="`reduce` of a metric 'wrong'"):
        metric("wrong", over="examples", reduce="median")
    with pytest.raises(ValueError, match="called 'per_class_...'"):
        metric("wrong", over="examples", reduce="classes")


def many(classes, dim=24, each=2, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.repeat(np.arange(classes), each))
    mu = rng.normal(size=(classes, dim))
    h = mu[y] + 0.2 * rng.normal(size=(len(y), dim))
    return h, y, mu.T + 0.1 * rng.normal(size=(dim, classes))


def test_many_classes_go_tile_by_tile():
    h, y, kernel = many(1300)
    tags = [t for t in METRICS if METRICS[t].over.endswith("pairs")]
    values = collapse_metrics(h, y, kernel, metrics=tags)
    mu = ClassStatistics.from_features(h, y).means
    m = mu - mu.mean(0)
    different = ~np.eye(1300, dtype=bool)
    for name, rows in (("means", m), ("weights", kernel.T)):
        unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        expected = np.abs(unit @ unit.T + 1 / 1299)[different].mean()
        assert values[f"nc2_max_angle_{name}"] == pytest.approx(expected, 1e-12)
    unit = m / np.linalg.norm(m, axis=1, keepdims=True)
    log = -0.5 * np.log(2 - 2 * (unit @ unit.T)[different])
    assert values["gnc2_log"] == pytest.approx(log.mean(), 1e-9)
    assert values["gnc2_log_variance"] == pytest.approx(log.var(), 1e-8)


def test_more_classes_than_dimensions_by_the_textbook():
    h, y, kernel = many(130)
    expected = textbook(h, y, kernel, np.zeros(130))
    assert_close(collapse_metrics(h, y, kernel), expected, 1e-9)


def test_close_means_keep_their_distance():
    h, y, _ = many(600)
    h[y == 7] = h[y == 3] + 1e-9
    value = collapse_metrics(h, y, metrics="nc1_cdnv")["nc1_cdnv"]
    statistics = ClassStatistics.from_features(h, y)
    v = statistics.squares / statistics.counts
    close = 2 * (v[3] + v[7]) / (2 * 24 * 1e-18) / (600 * 599)
    assert value == pytest.approx(close, 1e-5)


def test_no_array_of_all_pairs_is_made():
    h, y, kernel = many(6000, dim=8)
    tags = [t for t in METRICS if METRICS[t].default]
    tags = [t for t in tags if "train_means" not in METRICS[t].needs]
    collapse_metrics(*many(600), metrics=tags)
    tracemalloc.start()
    try:
        collapse_metrics(h, y, kernel, metrics=tags)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 6000**2 * 8 / 2


def test_empty_classes_are_left_out_of_pairs_of_means_alone():
    h, y, kernel = many(700)
    some = y < 650
    values = collapse_metrics(h[some], y[some], kernel, missing="skip")
    fewer = collapse_metrics(h[some], y[some], kernel[:, :650])
    whole = collapse_metrics(h, y, kernel)
    for tag in ("nc1_cdnv", "nc2_max_angle_means", "nc3_duality"):
        assert values[tag] == pytest.approx(fewer[tag], 1e-12)
    tag = "nc2_max_angle_weights"
    assert values[tag] == pytest.approx(whole[tag], 1e-12)
    assert values[tag] != pytest.approx(fewer[tag], 1e-6)


def test_a_sample_of_pairs_says_how_far_off_it_may_be():
    h, y, kernel = many(800)
    whole = collapse_metrics(h, y, kernel)
    few = collapse_metrics(h, y, kernel, pairs=2000)
    more = collapse_metrics(h, y, kernel, pairs=200_000)
    for tag in ("nc1_cdnv", "nc2_max_angle_means", "nc2_max_angle_weights"):
        errors = [v[f"{tag}_standard_error"] for v in (few, more)]
        assert errors[0] / errors[1] == pytest.approx(10, rel=0.2)
        for values, error in zip((few, more), errors, strict=True):
            assert 0 < abs(values[tag] - whole[tag]) < 5 * error
    assert few["nc1"] == whole["nc1"]
    assert few == collapse_metrics(h, y, kernel, pairs=2000)
