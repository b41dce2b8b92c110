"""How pairs of classes are computed: strips, threads, float32."""

import dataclasses
import threading

import numpy as np
import pytest

from nc_keras.measuring import pair_means
from nc_keras.measuring import pairs
from nc_keras.measuring.evaluation import evaluate
from nc_keras.measuring.last_layer import LastLayer
from nc_keras.measuring.lazy import lazy
from nc_keras.measuring.pair_means import reduce_pairs
from nc_keras.metrics import METRICS
from nc_keras.metrics import collapse_metrics

TAGS = [
    "nc1_cdnv",
    "nc2_max_angle_means",
    "nc2_max_angle_weights",
    "gnc2_log",
    "gnc2_log_variance",
    "gnc2_riesz",
]


def spread(rng, classes=30, dim=8):
    """Features of classes, and a head."""
    y = np.arange(4 * classes) % classes
    means = rng.normal(size=(classes, dim))
    h = means[y] + 0.1 * rng.normal(size=(len(y), dim))
    return h, y, means.T + 0.3 * rng.normal(size=(dim, classes))


@pytest.mark.parametrize(("tile", "strip"), [(512, 1), (7, 64), (7, 1000)])
def test_strips_of_tiles_change_nothing(tile, strip, rng, monkeypatch):
    data = spread(rng)
    whole = collapse_metrics(*data, metrics=TAGS)
    for module in (pairs, pair_means):
        monkeypatch.setattr(module, "TILE", tile)
    monkeypatch.setattr(pairs, "_STRIP", strip)
    parts = collapse_metrics(*data, metrics=TAGS)
    for tag in TAGS:
        np.testing.assert_allclose(parts[tag], whole[tag], 1e-12, err_msg=tag)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", "float16"])
def test_values_that_are_no_floats_are_counted(dtype, rng, monkeypatch):
    monkeypatch.setattr(pairs, "TILE", 7)
    monkeypatch.setattr(pair_means, "TILE", 7)
    layer = LastLayer(rng.normal(size=(700, 5)), np.ones(700), np.ones(700))
    metric = dataclasses.replace(
        METRICS["nc1_cdnv"],
        function=lambda pairs: (pairs.cosines_means > -2).astype(dtype),
    )
    assert reduce_pairs(layer, [metric])["nc1_cdnv"] == 1


@pytest.mark.parametrize("size", [1e-20, 1e-6, 1.0, 1e6, 1e20])
def test_many_classes_are_as_good_as_exact(size, rng, monkeypatch):
    h, y, kernel = spread(rng)
    h[y == 0] = h[y == 1] + 1e-6  # a distance that float32 would lose
    exact = collapse_metrics(size * h, y, kernel, metrics=TAGS)
    monkeypatch.setattr(pair_means, "MANY", 2)
    single = collapse_metrics(size * h, y, kernel, metrics=TAGS)
    for tag in TAGS:
        np.testing.assert_allclose(single[tag], exact[tag], 1e-5, err_msg=tag)
    # Of these float32 has no squares: they stay in float64.
    assert (single == exact) == (size in (1e-20, 1e20))


def test_squares_that_float32_cannot_hold(rng, monkeypatch):
    means = 1e10 * rng.normal(size=(30, 8))
    layer = LastLayer(means, np.ones(30), np.ones(30))
    metric = dataclasses.replace(
        METRICS["gnc2_log_variance"],
        function=lambda pairs: pairs.squared_distances,
    )
    exact = reduce_pairs(layer, [metric])
    monkeypatch.setattr(pair_means, "MANY", 2)
    assert reduce_pairs(layer, [metric]) == pytest.approx(exact, rel=1e-5)


def test_spread_that_float32_cannot_hold(rng, monkeypatch):
    monkeypatch.setattr(pair_means, "MANY", 2)
    layer = LastLayer(rng.normal(size=(5, 3)), np.full(5, 1e60), np.ones(5))
    found = pair_means.reduce_pairs(layer, [METRICS["nc1_cdnv"]])
    assert np.isfinite(found["nc1_cdnv"])


def test_a_mean_whose_square_is_no_float(monkeypatch):
    monkeypatch.setattr(pairs, "_STRIP", 1)  # so that means are merged
    means = np.array([[1.0], [0.0], [1e-110], [-1.0]])
    layer = LastLayer(means, np.ones(4), np.ones(4))
    found = evaluate(layer, [METRICS["nc1_cdnv"]])
    assert found["nc1_cdnv"] == pytest.approx(1e220 / 6)


def test_the_means_of_two_threads_are_computed_at_once():
    both = threading.Barrier(2)

    class Tile:
        @lazy
        def value(self):
            """What takes long."""
            return both.wait(timeout=10)

    found = []
    tiles = [Tile(), Tile()]
    threads = [
        threading.Thread(target=lambda tile=tile: found.append(tile.value))
        for tile in tiles
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [0, 1]
    assert sorted(tile.value for tile in tiles) == [0, 1]  # computed once
