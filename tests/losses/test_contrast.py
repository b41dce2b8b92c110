"""BCE, and losses of cosines over a batch, beside reference values."""

import json
import pathlib

import keras
import numpy as np
import pytest
from keras import ops
from scipy.optimize import minimize
from scipy.special import logsumexp

import nc_keras
from nc_keras import losses
from nc_keras.theory import unconstrained_features

DATA = json.loads(
    (pathlib.Path(__file__).parents[1] / "data/newer.json").read_text()
)
X, Y = np.array(DATA["dcdnv"]["X"]), np.array(DATA["dcdnv"]["y"])
KERNEL = np.array(DATA["nci"]["W"])
COSINES = (X / np.linalg.norm(X, axis=1, keepdims=True)) @ (
    KERNEL / np.linalg.norm(KERNEL, axis=1, keepdims=True)
).T
LOSSES = {
    "normface": losses.NormFace,
    "ntce": losses.NTCE,
    "nonl": losses.NONL,
    "supcon": losses.SupCon,
}


def test_values_are_those_of_the_reference():
    expected = DATA["hypersphere"]
    for name in ("normface", "ntce", "nonl"):
        loss = LOSSES[name](expected["temperature"])
        assert float(loss(Y, COSINES)) == pytest.approx(expected[name], 1e-5)
        assert float(loss(np.eye(3)[Y], COSINES)) == pytest.approx(
            expected[name], 1e-5
        )
    loss = losses.SupCon(expected["supcon_temperature"])
    assert float(loss(Y, X)) == pytest.approx(expected["supcon"], 1e-5)
    assert float(loss(Y[:, None], 3 * X)) == pytest.approx(
        expected["supcon"], 1e-5
    )


def test_values_at_collapse():
    classes, size, temperature = 4, 12, 0.2
    frame = nc_keras.geometry.simplex_etf(classes, 6, seed=0)
    y = np.arange(size) % classes
    cosines = frame[y] @ frame.T
    gap = classes / ((classes - 1) * temperature)
    found = float(losses.NTCE(temperature)(y, cosines))
    same = size / classes
    expected = np.log(same + (size - same) * np.exp(-gap))
    assert found == pytest.approx(expected, rel=1e-5)
    found = float(losses.NONL(temperature)(y, cosines))
    assert found == pytest.approx(np.log(size - same) - gap, rel=1e-5)


def test_a_batch_of_one_class():
    found = float(losses.NONL(0.5)([1, 1], [[0.0, 0.3], [0.2, 0.5]]))
    assert found == pytest.approx(-0.8, rel=1e-5)
    assert float(losses.SupCon()([0, 1, 2], X[:3])) == 0


def test_examples_without_a_partner_do_not_count():
    labels = np.append(Y, 9)
    h = np.concatenate([X, X[:1]])
    loss = losses.SupCon(0.2, reduction=None)
    values = ops.convert_to_numpy(loss(labels, h))
    assert values[-1] == 0
    # Their mean is one over the others.
    pairs = h / np.linalg.norm(h, axis=1, keepdims=True)
    scores = pairs @ pairs.T / 0.2
    np.fill_diagonal(scores, -np.inf)
    losses_of = [
        np.mean(
            [
                logsumexp(scores[i]) - scores[i, p]
                for p in np.flatnonzero(Y == Y[i])
                if p != i
            ]
        )
        for i in range(len(Y))
    ]
    assert values.mean() == pytest.approx(np.mean(losses_of), rel=1e-5)


@pytest.mark.skipif(
    keras.backend.backend() == "numpy", reason="NumPy has no gradients"
)
@pytest.mark.parametrize("name", [*LOSSES, "bce"])
def test_trains(name, digits):
    keras.utils.set_random_seed(0)
    x, y = digits[0][:300].copy(), digits[1][:300]
    x[:3] = 0
    layers = [
        keras.Input((8, 8, 1)),
        keras.layers.Flatten(),
        keras.layers.Dense(24, use_bias=False),
        nc_keras.layers.UnitNormalization(),
    ]
    if name != "supcon":
        layers.append(nc_keras.layers.CosineClassifier(10))
    model = keras.Sequential(layers)
    loss = losses.BCE() if name == "bce" else LOSSES[name]()
    model.compile(nc_keras.optimizers.SGD(0.05, 0.9), loss=loss)
    before = model.evaluate(x, y, batch_size=100, verbose=0)
    # The last batch has five examples, and five classes or less.
    model.fit(x[:295], y[:295], batch_size=29, epochs=3, verbose=0)
    assert model.evaluate(x, y, batch_size=100, verbose=0) < before
    assert all(np.isfinite(w).all() for w in model.get_weights())


@pytest.mark.parametrize("name", LOSSES)
def test_serialisation(name):
    loss = LOSSES[name](0.3)
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert type(again) is type(loss)
    assert again.get_config() == loss.get_config()


@pytest.mark.parametrize("name", LOSSES)
def test_wrong_arguments(name):
    for temperature in (0, -1.0, np.nan, "0.1", True):
        with pytest.raises(ValueError, match="`temperature` must be positive"):
            LOSSES[name](temperature)
    if name != "normface":
        with pytest.raises(ValueError, match="has no weights"):
            LOSSES[name]()(Y, COSINES, sample_weight=np.ones(len(Y)))


def test_wrong_labels():
    for name in ("normface", "ntce", "nonl"):
        assert np.isnan(float(LOSSES[name]()(Y + 1, COSINES)))
    with pytest.raises(ValueError, match="integer labels of shape"):
        losses.SupCon()(np.eye(3)[Y], X)


def test_bce_is_the_sum_of_one_for_each_class(rng):
    f = rng.normal(size=(6, 4)).astype("float32")
    rows = rng.integers(0, 2, size=(6, 4))
    theirs = keras.losses.BinaryCrossentropy(from_logits=True)
    found = float(losses.BCE(targets="multi_hot")(rows, f))
    assert found == pytest.approx(4 * float(theirs(rows, f)), rel=1e-5)
    y = np.array([0, 1, 2, 3, 0, 1])
    found = float(losses.BCE()(y, f))
    expected = 4 * float(theirs(np.eye(4)[y], f))
    assert found == pytest.approx(expected, rel=1e-5)
    # Not one-hot, a fraction, and no class.
    assert np.isnan(float(losses.BCE()(np.ones((6, 4)), f)))
    halves = np.full((6, 4), 0.5)
    assert np.isnan(float(losses.BCE(targets="multi_hot")(halves, f)))
    assert np.isnan(float(losses.BCE()(y + 1, f)))
    huge = [[-1e4, 1e4, -np.inf, 0.0]]
    value = float(losses.BCE()([0], huge))
    assert value == pytest.approx(2e4 + np.log(2), rel=1e-6)
    with pytest.raises(ValueError, match='"labels" or "multi_hot"'):
        losses.BCE(targets="soft")


@pytest.mark.parametrize("row", DATA["bce_ufm"], ids=lambda row: row["K"])
def test_minimum_of_bce(row):
    decays = row["lambda_W"], row["lambda_H"]
    best = unconstrained_features.binary_cross_entropy(
        row["K"], row["n"], *decays
    )
    assert best.loss == pytest.approx(row["value"], rel=1e-10)
    # Their place was found by a solver.
    assert best.bias == pytest.approx(row["bias"], rel=1e-6)
    score = row["own_score_without_bias"]
    assert best.margin == pytest.approx(
        score * row["K"] / (row["K"] - 1), rel=1e-6
    )
    assert best.weight_norm**2 == pytest.approx(row["norm2_w"], rel=1e-6)
    assert best.is_simplex and not best.is_trivial


@pytest.mark.parametrize("decay", [0.02, 0.3])
def test_nothing_is_below_the_minimum_of_bce(decay, rng):
    classes, n, d = 3, 2, 3
    y = np.repeat(np.arange(classes), n)
    signs = 1 - 2 * np.eye(classes)[y]

    def value(flat):
        w, h = flat[: classes * d], flat[classes * d : -classes]
        w, h, b = w.reshape(classes, d), h.reshape(-1, d), flat[-classes:]
        data = np.logaddexp(0, signs * (h @ w.T + b)).sum() / len(y)
        return data + decay / 2 * (np.sum(w**2) + np.sum(h**2))

    start = rng.normal(size=classes * d + len(y) * d + classes)
    found = minimize(value, start, method="L-BFGS-B", options={"ftol": 1e-15})
    best = unconstrained_features.binary_cross_entropy(classes, n, decay, decay)
    assert best.is_trivial == (decay == 0.3)
    assert found.fun == pytest.approx(best.loss, rel=1e-6)
