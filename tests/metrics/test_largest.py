"""Decisions that are float64's, at half of its cost."""

import numpy as np
import pytest

from nc_keras.measuring.largest import Largest
from nc_keras.metrics import collapse_metrics


def decide(features, rows, offsets=0.0):
    features = np.asarray(features, "float64")
    norms = np.linalg.norm(features, axis=1)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        single = features.astype("float32")
        return Largest(rows, offsets)(features, single, norms)


def exact(features, rows, offsets=0.0):
    return np.argmax(features @ rows.T + offsets, axis=1)


@pytest.mark.parametrize("power", [-150, -45, -40, -20, 0, 20, 38, 150])
@pytest.mark.parametrize("of", ["features", "rows", "both"])
def test_sizes_beyond_float32_are_decided_in_float64(power, of, rng):
    h, w = rng.normal(size=(50, 6)), rng.normal(size=(9, 6))
    if of != "rows":
        h = h * 10.0**power
    if of != "features":
        w = w * 10.0 ** (power / 2)
    np.testing.assert_array_equal(decide(h, w), exact(h, w))


@pytest.mark.parametrize("gap", [1e-4, 1e-6, 1e-8, 1e-12, 1e-15])
def test_gaps_that_float32_does_not_see(gap, rng):
    w = np.tile(rng.normal(size=(1, 5)), (8, 1))
    h, offsets = rng.normal(size=(40, 5)), gap * rng.permutation(8)
    assert set(decide(h, w, offsets)) == {int(np.argmax(offsets))}
    w = w * (1 + gap * np.arange(8))[:, None]
    np.testing.assert_array_equal(decide(h, w), exact(h, w))


def test_of_equals_the_first_is_taken():
    w = np.ones((4, 3))
    np.testing.assert_array_equal(decide(np.ones((2, 3)), w), [0, 0])


def test_one_row_is_the_largest(rng):
    assert set(decide(rng.normal(size=(5, 3)), np.ones((1, 3)))) == {0}


def test_a_common_offset_swamps_no_nearest_mean(rng):
    # More rows than one product of float64 takes: float32 is at work.
    y = np.arange(400) % 80
    means = rng.normal(size=(80, 12))
    h = means[y] + rng.normal(size=(400, 12))
    for offset in (0.0, 1e3, 1e6):
        moved = h + offset
        values = collapse_metrics(moved, y, rng.normal(size=(12, 80)))
        center = np.stack([moved[y == c].mean(0) for c in range(80)])
        distances = np.linalg.norm(moved[:, None] - center, axis=2)
        nearest = np.argmin(distances, axis=1)
        right = collapse_metrics(
            moved, y, metrics=["ncc_accuracy"], train_means=center
        )
        assert right["ncc_accuracy"] == np.mean(nearest == y)
        assert 0 < values["nc4"] < 1
