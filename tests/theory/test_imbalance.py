"""Minimisers for classes of unequal sizes, beside values of other solvers."""

import json
import math
import pathlib

import numpy as np
import pytest
from scipy.optimize import minimize

from nc_keras import theory
from nc_keras.theory.unconstrained_features import cross_entropy
from nc_keras.theory.unconstrained_features import mean_squared_error

DATA = pathlib.Path(__file__).parents[1] / "data/imbalance.json"
REFERENCE = json.loads(DATA.read_text())


def counts_of(row):
    scale = 1 if row["R"] == int(row["R"]) else 100
    majority = [round(row["R"] * scale)] * row["K_A"]
    return majority + [scale] * row["K_B"]


@pytest.mark.parametrize(
    "row",
    REFERENCE["layer_peeled"],
    ids=lambda r: f"{r['K_A']}-{r['K_B']}-{r['E_H']}-{r['R']}",
)
def test_layer_peeled_model_of_the_reference(row):
    best = theory.layer_peeled(counts_of(row), row["E_W"], row["E_H"])
    heads = np.sum(best.weights**2, axis=1)
    means = np.sum(best.features**2, axis=1)
    found = {
        "loss": best.loss,
        "cos_w_minority": best.weight_cosines[-1, -1],
        "cos_w_majority": best.weight_cosines[0, 0],
        "cos_h_minority": best.feature_cosines[-1, -1],
        "norm2_w_majority": heads[0],
        "norm2_w_minority": heads[-1],
        "norm2_h_majority": means[0],
        "norm2_h_minority": means[-1],
        "logit_AA": best.logits[0, 0],
        "logit_AA2": best.logits[0, 1],
        "logit_AB": best.logits[0, -1],
        "logit_BB": best.logits[-1, -1],
        "logit_BB2": best.logits[-1, -2],
        "logit_BA": best.logits[-1, 0],
    }
    for name, value in found.items():
        expected = row[name]
        if expected is None:
            assert math.isnan(value)
        else:
            assert value == pytest.approx(expected, abs=1e-6), name
    assert best.collapsed[-1] == (row["R"] >= row["threshold_if_collapsed"])


def test_minorities_collapse_at_the_threshold_and_not_before():
    # Fang et al. saw it; the numbers are those of the semidefinite program.
    for many, few, e_h, expected in (
        (3, 7, 5.0, 245.5),
        (5, 5, 5.0, 12.19),
        (5, 5, 10.0, 81.10),
        (7, 3, 5.0, 4.00),
        (7, 3, 10.0, 13.67),
    ):
        found = theory.minority_threshold(many, few, 1.0, e_h).coincide
        assert found == pytest.approx(expected, rel=1e-3)
        for factor in (0.999, 1.001):
            ratio = round(found * factor * 1e6)
            counts = [ratio] * many + [10**6] * few
            best = theory.layer_peeled(counts, 1.0, e_h)
            assert best.collapsed[-1] == (factor > 1)
            assert not best.collapsed[0]


def test_minority_classifiers_vanish_at_the_second_threshold():
    found = theory.minority_threshold(7, 3, 1.0, 5.0)
    assert 5.0 < found.vanish < 6.0
    for factor in (0.99, 1.01):
        ratio = round(found.vanish * factor * 1e6)
        best = theory.layer_peeled([ratio] * 7 + [10**6] * 3, 1.0, 5.0)
        assert math.isnan(best.weight_cosines[1, 1]) == (factor > 1)
    # With a large majority alone something is left to say of others.
    assert theory.minority_threshold(5, 5, 1.0, 5.0).vanish == math.inf
    assert math.isnan(theory.minority_threshold(9, 1, 1.0, 5.0).coincide)
    assert math.isnan(theory.minority_threshold(1, 9, 1.0, 5.0).vanish)


def test_layer_peeled_model_of_equal_classes_is_a_simplex():
    best = theory.layer_peeled([7] * 4, 1.0, 5.0)
    expected = math.log1p(3 * math.exp(-4 / 3 * math.sqrt(5.0)))
    assert best.loss == pytest.approx(expected, abs=1e-12)
    assert best.weight_cosines == pytest.approx(-1 / 3)


def test_what_the_layer_peeled_model_does_not_depend_on():
    counts = np.array([50, 7, 50, 3, 7])
    best = theory.layer_peeled(counts, 2.0, 3.0)
    # The order of the classes, and their common factor.
    order = np.array([3, 0, 4, 2, 1])
    other = theory.layer_peeled(4 * counts[order], 2.0, 3.0)
    assert other.loss == pytest.approx(best.loss, abs=1e-12)
    expected = best.weight_gram[np.ix_(order, order)]
    np.testing.assert_allclose(other.weight_gram, expected, atol=1e-6)
    # How the squares are shared out, but for the scale.
    other = theory.layer_peeled(counts, 6.0, 1.0)
    np.testing.assert_allclose(other.logits, best.logits, atol=1e-6)
    assert np.sum(best.weights**2) == pytest.approx(5 * 2.0)
    assert np.sum(best.features**2) == pytest.approx(5 * 3.0)
    # Groups that differ by next to nothing are no longer exact, and close.
    close = theory.layer_peeled([1001, 1000, 1000, 1000], 1.0, 5.0)
    equal = theory.layer_peeled([1000] * 4, 1.0, 5.0)
    assert close.loss == pytest.approx(equal.loss, abs=1e-3)
    np.testing.assert_allclose(close.logits, equal.logits, atol=1e-2)


@pytest.mark.parametrize("row", REFERENCE["ufm_ce"])
def test_cross_entropy_of_the_reference(row):
    counts, decays = row["counts"], (row["lambda_W"], row["lambda_H"])
    best = cross_entropy(len(counts), counts, *decays)
    assert best.loss == pytest.approx(row["value"], abs=1e-9)
    np.testing.assert_allclose(best.weight_gram, row["gram_W"], atol=1e-6)
    np.testing.assert_allclose(best.feature_gram, row["gram_H"], atol=1e-6)


@pytest.mark.parametrize("row", REFERENCE["ufm_relu_ce"])
def test_rectified_features_of_the_reference(row):
    counts, decays = row["counts"], (row["lambda_W"], row["lambda_H"])
    best = cross_entropy(len(counts), counts, *decays, relu=True)
    assert best.loss == pytest.approx(row["value"], rel=1e-9)
    norms = np.diag(best.feature_gram)
    np.testing.assert_allclose(norms, row["norm2_h"], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(best.weight_gram, row["gram_W"], atol=1e-9)
    others = np.roll(best.logits, 1, axis=1).diagonal()
    margins = np.diag(best.logits) - others
    np.testing.assert_allclose(margins, row["margin"], rtol=1e-9, atol=1e-9)
    is_below = np.array(counts) <= row["threshold_count"]
    assert (best.collapsed == is_below).all()


@pytest.mark.parametrize("row", REFERENCE["ufm_mse"])
def test_squared_error_of_the_reference(row):
    counts, decays = row["counts"], (row["lambda_W"], row["lambda_H"])
    best = mean_squared_error(len(counts), counts, *decays, bias_decay=None)
    assert best.loss == pytest.approx(row["value"], rel=1e-9)
    for found, name in (
        (best.weight_gram, "norm2_w"),
        (best.feature_gram, "norm2_h"),
    ):
        np.testing.assert_allclose(np.diag(found), row[name], rtol=1e-9)
        assert np.allclose(found, np.diag(np.diag(found)))


def test_classes_coincide_from_the_root_of_their_size_on():
    # Exact: sqrt(n) <= l N, whatever the other classes do.
    for many in (3, 5):
        counts = [500] * many + [100] * (10 - many)
        threshold = math.sqrt(100) / sum(counts)
        cosines = []
        for factor in (0.999, 1.001):
            decay = factor * threshold
            best = cross_entropy(10, counts, decay, decay)
            assert best.collapsed[-1] == (factor > 1)
            cosines.append(best.weight_cosines[1, 1])
        assert 0.9 < cosines[0] < 0.99
        assert cosines[1] == pytest.approx(1, abs=1e-12)


def objective(flat, counts, dim, decays, loss):
    labels = np.repeat(np.arange(len(counts)), counts)
    weights = flat[: len(counts) * dim].reshape(len(counts), dim)
    features = flat[len(counts) * dim :].reshape(-1, dim)
    z = features @ weights.T
    y = np.eye(len(counts))[labels]
    if loss == "ce":
        z = z - z.max(axis=1, keepdims=True)
        p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
        value = -np.log(p[np.arange(len(y)), labels]).mean()
        slope = (p - y) / len(y)
    else:  # The sum over classes.
        value = np.sum((z - 2 * y) ** 2) / len(y)
        slope = 2 * (z - 2 * y) / len(y)
    value += decays[0] / 2 * np.sum(weights**2)
    value += decays[1] / 2 * np.sum(features**2)
    of_weights = slope.T @ features + decays[0] * weights
    of_features = slope @ weights + decays[1] * features
    return value, np.concatenate([of_weights.ravel(), of_features.ravel()])


@pytest.mark.parametrize("loss", ["ce", "mse"])
def test_descent_on_features_ends_there(loss):
    counts, dim, decays = [9, 5, 5, 2], 6, (0.03, 0.002)
    start = np.random.default_rng(0).normal(size=(4 + 21) * dim)
    found = minimize(
        objective,
        start,
        (counts, dim, decays, loss),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": 20_000, "ftol": 1e-16, "gtol": 1e-10},
    )
    if loss == "ce":
        best = cross_entropy(4, counts, *decays)
    else:
        best = mean_squared_error(
            *(4, counts, *decays),
            bias_decay=None,
            target=2.0,
            class_reduction="sum",
        )
    assert found.fun == pytest.approx(best.loss, abs=1e-9)
    weights = found.x[: 4 * dim].reshape(4, dim)
    np.testing.assert_allclose(weights @ weights.T, best.weight_gram, atol=1e-4)
    features = found.x[4 * dim :].reshape(-1, dim)
    first = np.cumsum([0, *counts[:-1]])
    gram = features[first] @ features[first].T
    np.testing.assert_allclose(gram, best.feature_gram, atol=1e-4)


def test_equal_counts_are_one_number():
    for smoothing in (0.0, 0.1):
        one = cross_entropy(4, 20, 5e-3, 1e-3, smoothing)
        several = cross_entropy(4, [20] * 4, 5e-3, 1e-3, smoothing)
        assert several.loss == pytest.approx(one.loss, abs=1e-12)
        norms = np.linalg.norm(several.weights, axis=1)
        np.testing.assert_allclose(norms, one.weight_norm, rtol=1e-7)
    one = mean_squared_error(4, 20, 5e-3, 1e-3, bias_decay=None)
    several = mean_squared_error(4, [20] * 4, 5e-3, 1e-3, bias_decay=None)
    assert several.loss == pytest.approx(one.loss, abs=1e-12)
    one = cross_entropy(3, 50, 5e-3, 1e-4, relu=True)
    assert one.loss > cross_entropy(3, 50, 5e-3, 1e-4).loss


@pytest.mark.parametrize("row", REFERENCE["seli"])
def test_interpolation_of_the_reference(row):
    found = theory.seli(row["counts"])
    np.testing.assert_allclose(found.weight_gram, row["gram_W"], atol=1e-6)
    np.testing.assert_allclose(found.mean_gram, row["gram_M"], atol=1e-6)


def test_interpolation_has_a_closed_form_for_two_halves():
    for classes, ratio in ((4, 10), (10, 100)):
        half = classes // 2
        gram = theory.seli([ratio] * half + [1] * half).weight_gram
        a = math.sqrt((ratio + 1) / 2)
        few = 1 - 2 / classes
        assert gram[0, 0] == pytest.approx(
            math.sqrt(ratio) * few + a / classes, rel=1e-12
        )
        assert gram[-1, -1] == pytest.approx(few + a / classes, rel=1e-12)
        cosine = gram[-1, -2] / gram[-1, -1]
        expected = (a - 2) / (classes - 2 + a)
        assert cosine == pytest.approx(expected, abs=1e-12)


def test_the_decay_leads_to_the_interpolation():
    counts, expected = [20, 20, 2, 2], theory.seli([20, 20, 2, 2]).weight_gram
    off = []
    for decay in (1e-2, 1e-3, 1e-4):
        gram = cross_entropy(4, counts, decay, decay).weight_gram
        gram = gram / np.linalg.norm(gram)
        off.append(np.linalg.norm(gram - expected / np.linalg.norm(expected)))
    # As slow as the logarithm.
    np.testing.assert_allclose(off, [0.181, 0.109, 0.080], atol=1e-3)


def test_nearest_simplex_of_the_reference():
    row = REFERENCE["nearest_etf"]
    means = np.array(row["H"]).T
    found = theory.nearest_etf(means)
    assert found.distance == pytest.approx(row["objective"], abs=1e-9)
    np.testing.assert_allclose(found.weights, row["W"], atol=1e-9)
    # Neither the scale, a shift, nor a rotation moves it away.
    turned = np.linalg.qr(np.random.default_rng(0).normal(size=(12, 12)))[0]
    moved = theory.nearest_etf(3 * means @ turned + 5)
    assert moved.distance == pytest.approx(row["objective"], abs=1e-9)
    np.testing.assert_allclose(moved.weights, found.weights @ turned, atol=1e-9)


@pytest.mark.parametrize("dim", [3, 4, 9])
def test_a_simplex_is_its_own_nearest_one(dim):
    simplex = theory.nearest_etf(np.random.default_rng(1).normal(size=(4, dim)))
    gram = simplex.weights @ simplex.weights.T
    np.testing.assert_allclose(gram, (4 * np.eye(4) - 1) / 3, atol=1e-12)
    again = theory.nearest_etf(simplex.weights)
    assert again.distance == pytest.approx(0, abs=1e-12)
    np.testing.assert_allclose(again.weights, simplex.weights, atol=1e-12)


def test_losses_that_are_next_to_zero_keep_their_digits():
    # The margin of a simplex, K / (K - 1) sqrt(e_w e_h), is 150 here.
    best = theory.layer_peeled([4, 4, 4], 1e4, 1.0)
    assert best.loss == pytest.approx(2 * math.exp(-150), rel=1e-9)
    best = theory.layer_peeled([4, 2, 2], 1e4, 1.0)
    assert best.weight_cosines[0, 1] == pytest.approx(-0.5, abs=2e-3)


def test_a_thousand_classes():
    best = theory.layer_peeled([1000] * 500 + [10] * 500, 1.0, 5.0)
    assert np.sum(best.weights**2) == pytest.approx(1000)


@pytest.mark.parametrize(
    "call, match",
    [
        (lambda: theory.layer_peeled([5], 1.0, 5.0), "two classes or more"),
        (lambda: theory.layer_peeled([5, 0], 1.0, 5.0), "must be positive"),
        (lambda: theory.layer_peeled([5, -1], 1.0, 5.0), "must be positive"),
        (lambda: theory.layer_peeled([5, 2.5], 1.0, 5.0), "integers"),
        (lambda: theory.layer_peeled([5, np.nan], 1.0, 5.0), "positive"),
        (lambda: theory.layer_peeled([[5, 1]], 1.0, 5.0), "one number per"),
        (lambda: theory.layer_peeled([5, 1], 0.0, 5.0), "must be positive"),
        (lambda: theory.layer_peeled([5, 1], 1.0, -5.0), "must be positive"),
        (lambda: theory.layer_peeled([5, 1], 1e5, 1e5), "zero in doubles"),
        (lambda: theory.minority_threshold(0, 9, 1.0, 5.0), "one class or"),
        (lambda: theory.seli([3]), "two classes or more"),
        (lambda: cross_entropy(3, [5, 5], 1e-3, 1e-3), "one for each class"),
        (lambda: cross_entropy(2, [5, 5], 0.0, 1e-3), "no minimiser"),
        (lambda: cross_entropy(2, 5, 1e-3, 1e-3, 0.1, True), "`relu`"),
        (lambda: mean_squared_error(2, [5, 5], 1e-3, 1e-3), "bias_decay=None"),
        (lambda: theory.nearest_etf(np.eye(5)[:, :3]), "K - 1 or more"),
        (lambda: theory.nearest_etf(np.ones((3, 4))), "all the same"),
        (lambda: theory.nearest_etf(np.full((3, 4), np.nan)), "finite"),
    ],
)
def test_what_is_refused(call, match):
    with pytest.raises(ValueError, match=match):
        call()
