"""Losses for unequal classes, beside values of other code."""

import json
import pathlib

import keras
import numpy as np
import pytest
from keras import ops

import nc_keras
from nc_keras import losses

DATA = pathlib.Path(__file__).parents[1] / "data/imbalance.json"
REFERENCE = json.loads(DATA.read_text())
COUNTS = [int(n) for n in REFERENCE["losses"]["counts"]]
LOSSES = {
    "balanced_softmax_tau1": lambda **k: losses.LogitAdjusted(COUNTS, **k),
    "logit_adjust_tau2": lambda **k: losses.LogitAdjusted(COUNTS, 2.0, **k),
    "cdt_gamma03": lambda **k: losses.VS(COUNTS, tau=0.0, **k),
    "vs_gamma03_tau1": lambda **k: losses.VS(COUNTS, **k),
    "ldam_s30": lambda **k: losses.LDAM(COUNTS, **k),
    "ce": lambda **k: losses.Focal(0.0, **k),
    "focal": lambda **k: losses.Focal(2.0, **k),
    "dot": losses.DotRegression,
    "dot_balanced": lambda **k: losses.DotRegression(balanced=True, **k),
}


def test_class_weights_of_the_reference():
    found = losses.class_balanced_weights(COUNTS)
    expected = REFERENCE["losses"]["cb_weights_beta09999"]
    assert list(found) == [0, 1, 2, 3]
    np.testing.assert_allclose(list(found.values()), expected, rtol=1e-9)
    equal = losses.class_balanced_weights(COUNTS, beta=0.0)
    assert list(equal.values()) == [1.0] * 4


@pytest.mark.parametrize(
    "name", [name for name in LOSSES if name in REFERENCE["losses"]]
)
@pytest.mark.parametrize("form", ["integer", "one_hot"])
def test_values_of_the_reference(name, form):
    row = REFERENCE["losses"]
    y = np.array(row["labels"])
    labels = np.eye(4)[y] if form == "one_hot" else y
    values = LOSSES[name](reduction=None)(labels, np.array(row["logits"]))
    found = ops.convert_to_numpy(values)
    np.testing.assert_allclose(found, row[name], rtol=1e-5, atol=2e-5)


def test_dot_regression_of_the_reference():
    row = REFERENCE["dot_regression"]
    y, features = np.array(row["labels"]), np.array(row["features"])
    units = nc_keras.layers.UnitNormalization()(features.astype("float32"))
    outputs = ops.matmul(units, np.array(row["frame"], "float32").T)
    values = losses.DotRegression(reduction=None)(y, outputs)
    found = ops.convert_to_numpy(values)
    np.testing.assert_allclose(found, row["dr"], rtol=1e-5, atol=1e-6)
    value = float(losses.DotRegression()(y, outputs))
    assert value == pytest.approx(row["mean"], rel=1e-5)
    value = float(losses.DotRegression(balanced=True)(y, outputs))
    assert value == pytest.approx(row["balanced_in_batch_mean"], rel=1e-5)


def test_focal_is_its_formula_and_finite(rng):
    y, z = np.array([0, 1, 2, 0]), rng.normal(size=(4, 3)) * 3
    p = np.exp(z[np.arange(4), y]) / np.exp(z).sum(axis=1)
    for gamma in (0.0, 0.5, 2.0):
        values = losses.Focal(gamma, reduction=None)(y, z)
        expected = -((1 - p) ** gamma) * np.log(p)
        found = ops.convert_to_numpy(values)
        np.testing.assert_allclose(found, expected, rtol=1e-5)
    sure = float(losses.Focal(0.5)([0], [[60.0, -60.0, -np.inf]]))
    assert sure == pytest.approx(0.0, abs=1e-6)


@pytest.mark.skipif(
    keras.backend.backend() == "numpy", reason="NumPy has no gradients"
)
@pytest.mark.parametrize("name", LOSSES)
def test_trains_where_one_class_is_learned_and_a_feature_is_dead(name):
    # A network of which some outputs are certain, and some features zero.
    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).normal(size=(32, 6)).astype("float32")
    x[:4] = 0
    y = np.arange(32) % 4
    model = keras.Sequential(
        [
            keras.Input((6,)),
            keras.layers.Dense(5, use_bias=False),
            nc_keras.layers.UnitNormalization(),
            nc_keras.layers.ETFClassifier(4),
        ]
    )
    model.compile(nc_keras.optimizers.SGD(0.1), loss=LOSSES[name]())
    model.fit(x, y, epochs=3, batch_size=16, verbose=0)
    assert all(np.isfinite(w).all() for w in model.get_weights())
    first = model.evaluate(x, y, verbose=0)
    assert np.isfinite(first)
    # A label that is no class makes it NaN.
    assert np.isnan(model.evaluate(x, y + 1, verbose=0))


@pytest.mark.parametrize("name", LOSSES)
def test_serialisation(name):
    loss = LOSSES[name]()
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert type(again) is type(loss)
    assert again.get_config() == loss.get_config()
    json.dumps(loss.get_config())


def test_equal_counts_change_nothing(rng):
    y, z = np.array([0, 1, 2, 0]), rng.normal(size=(4, 3))
    expected = float(losses.CE()(y, z))
    for loss in (losses.VS([7, 7, 7]), losses.LogitAdjusted([7, 7, 7], 3.0)):
        assert float(loss(y, z)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    "call, match",
    [
        (lambda: losses.VS([5, 0]), "must be positive"),
        (lambda: losses.VS([5]), "two classes or more"),
        (lambda: losses.VS([5, 1], gamma=-1.0), "must not be negative"),
        (lambda: losses.LogitAdjusted([5, 1], tau=np.nan), "not be negative"),
        (lambda: losses.LDAM([5, 1], scale=0.0), "must be positive"),
        (lambda: losses.Focal(-1.0), "must not be negative"),
        (lambda: losses.class_balanced_weights([5, 1], beta=1.0), "in .0, 1."),
        (lambda: losses.VS([5, 1])([0], np.zeros((1, 3))), "2 counts, and"),
        (lambda: losses.LDAM([5, 1])([0], np.zeros((1, 3))), "2 counts, and"),
    ],
)
def test_what_is_refused(call, match):
    with pytest.raises(ValueError, match=match):
        call()
