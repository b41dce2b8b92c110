"""Directional CDNV, and the size and rank of features."""

import json
import pathlib

import numpy as np
import pytest

import nc_keras
from nc_keras.metrics import collapse_metrics

DATA = json.loads(
    (pathlib.Path(__file__).parents[1] / "data/newer.json").read_text()
)
X = np.array(DATA["dcdnv"]["X"])
Y = np.array(DATA["dcdnv"]["y"])
SIZES = ["feature_norm", "feature_drift", "feature_rankme"]
SIZES += ["feature_stable_rank"]


def of(h, y, *tags, **options):
    return collapse_metrics(h, y, metrics=tags, **options)


def test_values_are_those_of_the_reference():
    found = of(X, Y, "nc1_cdnv", "nc1_cdnv_directional", *SIZES)
    expected = DATA["dcdnv"]
    assert found["nc1_cdnv"] == pytest.approx(expected["cdnv"], rel=1e-11)
    directional = expected["directional_cdnv"]
    assert found["nc1_cdnv_directional"] == pytest.approx(directional, rel=1e-9)
    assert found["feature_rankme"] == pytest.approx(DATA["rankme"], rel=1e-9)
    assert found["feature_norm"] == pytest.approx(
        np.linalg.norm(X, axis=1).mean()
    )
    assert found["feature_drift"] == pytest.approx(np.linalg.norm(X.mean(0)))
    values = np.linalg.svd(X, compute_uv=False)
    stable = (values**2).sum() / values[0] ** 2
    assert found["feature_stable_rank"] == pytest.approx(stable)


def pairs(h, y):
    """Directional CDNV by its formula, pair by pair."""
    classes = np.unique(y)
    means = {c: h[y == c].mean(0) for c in classes}
    values = []
    for a in classes:
        for b in classes[classes != a]:
            d = means[a] - means[b]
            along = [np.mean(((h[y == c] - means[c]) @ d) ** 2) for c in (a, b)]
            values.append(sum(along) / (2 * (d @ d) ** 2))
    return np.mean(values)


@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_digits_pair_by_pair(digits, offset):
    x, y = digits
    h = x.reshape(len(x), -1).astype("float64") + offset
    found = of(h, y, "nc1_cdnv", "nc1_cdnv_directional")
    assert found["nc1_cdnv_directional"] == pytest.approx(pairs(h, y), rel=1e-9)
    assert found["nc1_cdnv_directional"] < found["nc1_cdnv"]


def test_spread_along_and_across_the_line_of_two_means():
    y = np.repeat([0, 1], 4)
    center = np.where(y == 0, -3.0, 3.0)
    spread = np.tile([-1.0, 1.0, -1.0, 1.0], 2)
    tags = "nc1_cdnv", "nc1_cdnv_directional"
    along = of(np.stack([center + spread, 0 * spread], 1), y, *tags)
    assert along["nc1_cdnv_directional"] == along["nc1_cdnv"] == 1 / 36
    across = of(np.stack([center, spread], 1), y, *tags)
    assert across["nc1_cdnv_directional"] == 0
    assert across["nc1_cdnv"] == 1 / 36


def test_it_does_not_depend_on_scale_or_rotation(rng):
    turn, _ = np.linalg.qr(rng.normal(size=(5, 5)))
    (found,) = of(7 * X @ turn + 3, Y, "nc1_cdnv_directional").values()
    directional = DATA["dcdnv"]["directional_cdnv"]
    assert found == pytest.approx(directional, rel=1e-9)


def test_collapsed_features():
    h = np.repeat(nc_keras.geometry.simplex_etf(4, 6, seed=0), 5, axis=0)
    found = of(h, np.repeat(range(4), 5), "nc1_cdnv_directional", *SIZES)
    assert found["nc1_cdnv_directional"] < 1e-30
    assert found["feature_norm"] == pytest.approx(1)
    assert found["feature_drift"] < 1e-15
    assert found["feature_rankme"] == pytest.approx(3, abs=1e-4)
    assert found["feature_stable_rank"] == pytest.approx(3)


def test_two_equal_means_have_no_line():
    h = np.array([[0.0, 1], [0, -1], [1, 0], [-1, 0], [5, 5], [7, 7]])
    (found,) = of(h, np.arange(6) // 2, "nc1_cdnv_directional").values()
    assert np.isnan(found)


def test_a_class_without_examples():
    labels = np.where(Y == 2, 5, Y)
    found = of(X, labels, "nc1_cdnv_directional", missing="skip")
    directional = DATA["dcdnv"]["directional_cdnv"]
    assert found["nc1_cdnv_directional"] == pytest.approx(directional, rel=1e-9)


def test_it_is_of_the_training_set(digits):
    x, y = digits
    h = x.reshape(len(x), -1)
    with pytest.raises(ValueError, match="not another one beside it"):
        of(h, y, "nc1_cdnv_directional", train_means=h[:10])
