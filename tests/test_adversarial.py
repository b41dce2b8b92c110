"""Perturbed examples: a linear classifier's by its formula, and collapse."""

import keras
import numpy as np
import pytest

import nc_keras
from nc_keras.adversarial import collapse_of_perturbed
from nc_keras.adversarial import measure
from nc_keras.adversarial import pgd


@pytest.fixture
def linear(rng):
    """A classifier of two classes, and the direction from one to the other."""
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(2)])
    kernel = rng.normal(size=(5, 2))
    model.set_weights([kernel, np.array([0.1, -0.1])])
    return model, kernel[:, 1] - kernel[:, 0]


@pytest.mark.parametrize("seed", [None, 0])
@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("targeted", [False, True])
def test_of_a_linear_classifier_it_is_known(linear, rng, seed, norm, targeted):
    model, away = linear
    x, y = rng.normal(size=(7, 5)), np.arange(7) % 2
    options = {"norm": norm, "seed": seed, "targeted": targeted}
    # Along the boundary a point of the ball comes back as slowly as 1 / steps.
    moved = pgd(model, x, y, 0.3, steps=100, rate=0.3, batch_size=3, **options)
    unit = np.sign(away) if norm == "linf" else away / np.linalg.norm(away)
    step = np.where(y[:, None] == 0, unit, -unit) * (-1 if targeted else 1)
    np.testing.assert_allclose(moved, x + 0.3 * step, atol=1e-4)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_it_stays_in_the_ball_and_within_bounds(digits, norm):
    x, y = digits[0][:20], digits[1][:20]
    model = nc_keras.models.MLP((8, 8, 1), 10, widths=(16,))
    low, high = float(x.min()), float(x.max())
    moved = pgd(model, x, y, 0.5, norm=norm, bounds=(low, high))
    assert moved.shape == x.shape and moved.dtype == "float32"
    shift = (moved - x).reshape(20, -1)
    size = (
        np.abs(shift).max(1)
        if norm == "linf"
        else np.linalg.norm(shift, axis=1)
    )
    assert size.max() <= 0.5 * (1 + 1e-5) and size.min() > 0.1
    assert moved.min() >= low and moved.max() <= high
    again = pgd(model, x, y, 0.5, norm=norm, bounds=(low, high))
    np.testing.assert_array_equal(again, moved)


def test_it_finds_errors_that_noise_does_not(digits):
    x, y = digits[0][:500], digits[1][:500]
    keras.utils.set_random_seed(0)
    model = nc_keras.models.MLP((8, 8, 1), 10, widths=(64,))
    model.compile(
        nc_keras.optimizers.SGD(0.05, 0.9, 1e-3), loss=nc_keras.losses.CE()
    )
    model.fit(x, y, batch_size=50, epochs=15, verbose=0)
    noise = np.random.default_rng(0).uniform(-0.3, 0.3, x.shape)
    moved = pgd(model, x, y, 0.3)
    clean = nc_keras.measure(model, x, y)
    noisy, worst = (measure(model, x, z, y) for z in (x + noise, moved))
    assert clean["accuracy"] == 1 and noisy["accuracy"] > 0.95
    assert worst["accuracy"] < 0.5 and worst["ncc_accuracy"] < 0.5
    assert clean["nc1"] < noisy["nc1"] < 0.5 * worst["nc1"]


@pytest.fixture
def features(rng):
    labels = np.arange(60) % 3
    h = rng.normal(size=(3, 5))[labels] + 0.3 * rng.normal(size=(60, 5))
    return h, h + 0.2 * rng.normal(size=(60, 5)) + 0.1, labels


def test_without_a_perturbation_nothing_is_new(features, rng):
    h, _, labels = features
    head = rng.normal(size=(5, 3)), rng.normal(size=3)
    found = collapse_of_perturbed(h, h, labels, *head)
    expected = nc_keras.metrics.collapse_metrics(h, labels, *head)
    expected["ncc_accuracy"] = np.mean(
        labels
        == np.linalg.norm(
            h[:, None] - [h[labels == c].mean(0) for c in range(3)], axis=2
        ).argmin(1)
    )
    assert set(found) == {
        *("nc1", "nc1_trace_ratio", "nc1_cdnv"),
        *("nc4", "accuracy", "ncc_accuracy"),
    }
    for tag, value in found.items():
        assert value == pytest.approx(expected[tag], rel=1e-9), tag


def test_means_are_clean_and_covariances_perturbed(features):
    h, moved, labels = features
    means = np.stack([h[labels == c].mean(0) for c in range(3)])
    z = moved - means[labels]
    within, centred = z.T @ z / len(z), means - means.mean(0)
    between = centred.T @ centred / 3
    found = collapse_of_perturbed(h, moved, labels)
    nc1 = np.trace(within @ np.linalg.pinv(between, rcond=1e-8)) / 3
    assert found["nc1"] == pytest.approx(nc1, rel=1e-9)
    ratio = np.trace(within) / np.trace(between)
    assert found["nc1_trace_ratio"] == pytest.approx(ratio, rel=1e-9)
    # Around means of their own they would look collapsed.
    own = nc_keras.metrics.collapse_metrics(moved, labels)["nc1"]
    assert found["nc1"] > 1.1 * own


def test_wrong_inputs(linear, features, rng):
    model, _ = linear
    x, y = rng.normal(size=(4, 5)), np.array([0, 1, 0, 1])
    for wrong in (
        {"epsilon": 0},
        {"steps": 0},
        {"rate": -1.0},
        {"batch_size": 0},
    ):
        with pytest.raises(ValueError, match="must be positive"):
            pgd(model, x, y, **({"epsilon": 1.0} | wrong))
    for bounds in ((9.0, -9.0), (0.0, 9.0), (np.nan, 9.0)):
        with pytest.raises(ValueError, match="lie within `bounds`"):
            pgd(model, x, y, 1.0, bounds=bounds)
    with pytest.raises(ValueError, match="Received: norm='l1'"):
        pgd(model, x, y, 1.0, norm="l1")
    with pytest.raises(ValueError, match="4 examples, 2 labels"):
        pgd(model, x, y[:2], 1.0)
    ends = keras.Sequential([model, keras.layers.Softmax()])
    with pytest.raises(ValueError, match="raw outputs"):
        pgd(ends, x, y, 1.0)
    h, moved, labels = features
    with pytest.raises(ValueError, match="5 and 4"):
        collapse_of_perturbed(h, moved[:, :4], labels)
    with pytest.raises(nc_keras.errors.NonFiniteError):
        collapse_of_perturbed(h, moved * np.nan, labels)
