"""Out-of-distribution scores beside reference values and by hand."""

import json
import pathlib

import numpy as np
import pytest
import sklearn.metrics

import nc_keras
from nc_keras.metrics import ClassStatistics
from nc_keras.metrics import neco
from nc_keras.metrics import ood_scores
from nc_keras.metrics import roc

DATA = json.loads(
    (pathlib.Path(__file__).parents[1] / "data/newer.json").read_text()
)
X, Y = np.array(DATA["dcdnv"]["X"]), np.array(DATA["dcdnv"]["y"])
KERNEL, BIAS = np.array(DATA["nci"]["W"]).T, np.array(DATA["nci"]["b"])
LOGITS = X @ KERNEL + BIAS
STATISTICS = ClassStatistics.from_features(X, Y)


def test_values_are_those_of_the_reference():
    found = {
        "msp": ood_scores.msp(LOGITS),
        "max_logit": ood_scores.max_logit(LOGITS),
        "energy": ood_scores.energy(LOGITS),
        "mahalanobis": ood_scores.Mahalanobis(STATISTICS)(X),
    }
    for name, values in found.items():
        expected = DATA["ood"][name]
        np.testing.assert_allclose(values, expected, rtol=1e-9, atol=1e-10)
    expected = DATA["nci"]
    found = ood_scores.nci(
        X, KERNEL, BIAS, mean=expected["mu_G"], alpha=expected["alpha"]
    )
    np.testing.assert_allclose(found, expected["score"], rtol=1e-9)
    expected = DATA["ood"]["vim"]
    vim = ood_scores.ViM(STATISTICS, KERNEL, BIAS, expected["principal_dim"])
    for rows in np.split(np.arange(len(X)), 3):
        vim.calibrate(X[rows], LOGITS[rows])
    np.testing.assert_allclose(vim(X, LOGITS), expected["score"], rtol=1e-9)
    alpha = vim.sums[0] / vim.sums[1]
    assert alpha == pytest.approx(expected["alpha"], rel=1e-9)


def test_mahalanobis_takes_the_nearest_of_all_means(rng):
    h = rng.normal(size=(50, 5))
    inverse = np.linalg.inv(STATISTICS.scatter / len(X))
    differences = h[:, None] - STATISTICS.means
    expected = -np.einsum("ncd,de,nce->nc", differences, inverse, differences)
    found = ood_scores.Mahalanobis(STATISTICS)(h)
    np.testing.assert_allclose(found, expected.max(axis=1), rtol=1e-9)


def test_collapsed_features_are_told_from_their_global_mean():
    frame = nc_keras.geometry.simplex_etf(4, 6, seed=0)
    h, y = np.repeat(frame, 5, axis=0), np.repeat(range(4), 5)
    others = np.zeros((7, 6))
    statistics = ClassStatistics.from_features(h, y)
    scores = {
        "energy": [ood_scores.energy(a @ frame.T) for a in (h, others)],
        "nci": [
            ood_scores.nci(a, frame.T, mean=np.zeros(6)) for a in (h, others)
        ],
        "neco": [neco.neco_scores(a, statistics) for a in (h, others)],
    }
    for pair in scores.values():
        assert roc.auroc(*pair) == 1
        assert roc.false_positive_rate(*pair) == 0
        assert roc.average_precision(*pair) == 1
    # Nothing varies within classes: there is no distance of that kind.
    assert not ood_scores.Mahalanobis(statistics)(others).any()


def test_they_do_not_depend_on_a_rotation(rng):
    turn, _ = np.linalg.qr(rng.normal(size=(5, 5)))
    turned = ClassStatistics.from_features(X @ turn, Y)
    vims = [
        ood_scores.ViM(STATISTICS, KERNEL, BIAS),
        ood_scores.ViM(turned, turn.T @ KERNEL, BIAS),
    ]
    for vim, h in zip(vims, (X, X @ turn), strict=True):
        vim.calibrate(h, LOGITS)
    np.testing.assert_allclose(
        vims[0](X, LOGITS), vims[1](X @ turn, LOGITS), rtol=1e-9
    )
    np.testing.assert_allclose(
        ood_scores.Mahalanobis(STATISTICS)(X),
        ood_scores.Mahalanobis(turned)(X @ turn),
        rtol=1e-9,
    )


@pytest.mark.parametrize("decimals", [1, 8])
def test_areas_are_those_of_scikit_learn(rng, decimals):
    known = rng.normal(1, 1, 300).round(decimals)
    others = rng.normal(0, 1, 200).round(decimals)
    truth = np.repeat([1, 0], [300, 200])
    scores = np.concatenate([known, others])
    expected = sklearn.metrics.average_precision_score(truth, scores)
    assert roc.average_precision(known, others) == pytest.approx(expected)
    false_rates, recalls = roc.curve(known, others)
    expected = sklearn.metrics.roc_curve(truth, scores, drop_intermediate=False)
    np.testing.assert_allclose(false_rates, expected[0], atol=1e-12)
    np.testing.assert_allclose(recalls, expected[1], atol=1e-12)
    area = np.trapezoid if hasattr(np, "trapezoid") else np.trapz
    assert area(recalls, false_rates) == pytest.approx(roc.auroc(known, others))


def test_the_mean_itself_has_no_direction():
    mean = X.mean(axis=0)
    (found,) = ood_scores.nci([mean], KERNEL, mean=mean, alpha=0)
    assert found == 0


def test_wrong_arguments():
    vim = ood_scores.ViM(STATISTICS, KERNEL, BIAS)
    with pytest.raises(ValueError, match="call `calibrate`"):
        vim(X, LOGITS)
    for dim in (5, -1, 1.5):
        with pytest.raises(ValueError, match="`dim` must be in 0 .. 4"):
            ood_scores.ViM(STATISTICS, KERNEL, BIAS, dim)
    with pytest.raises(ValueError, match=r"shape \(5, C\)"):
        ood_scores.ViM(STATISTICS, KERNEL.T, BIAS)
    vim.calibrate(X, LOGITS)
    for score in (vim, lambda h, z: ood_scores.Mahalanobis(STATISTICS)(h)):
        with pytest.raises(ValueError, match=r"\(N, 5\)"):
            score(X[:, :3], LOGITS)
    with pytest.raises(ValueError, match="a row for each example"):
        ood_scores.energy(LOGITS[0])
    without = ClassStatistics.from_features(X, Y, scatter=False)
    with pytest.raises(ValueError, match="scatter"):
        ood_scores.Mahalanobis(without)
