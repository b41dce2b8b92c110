"""Ordered classes: the head by its formula, and collapse by optimisation."""

import keras
import numpy as np
import pytest
from keras.ops import convert_to_numpy
from scipy.optimize import minimize
from scipy.special import expit
from scipy.special import log_expit

import nc_keras
from nc_keras import ordinal
from nc_keras.layers import CumulativeLink

B = np.array([-2.0, 0.5, 1.5])


def probabilities(z, b=B):
    below = expit(b - np.asarray(z)[:, None])
    return np.diff(below, prepend=0.0, append=1.0, axis=1)


def head(thresholds=B, dim=1, weight=1.0):
    layer = CumulativeLink(len(thresholds) + 1, thresholds)
    layer.build((None, dim))
    layer.set_weights([np.full((dim, 1), weight)])
    return layer


def test_outputs_are_log_probabilities():
    z = np.linspace(-8, 8, 33)
    outputs = convert_to_numpy(head()(z[:, None].astype("float32")))
    np.testing.assert_allclose(np.exp(outputs).sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(np.exp(outputs), probabilities(z), 1e-4, 1e-7)


def test_far_outputs_lose_nothing():
    outputs = convert_to_numpy(head()(np.array([[60.0], [-60.0]], "float32")))
    # log(s(u) - s(l)) for z far above both: u - z + log(1 - exp(l - u)).
    expected = B[1:] - 60 + np.log(-np.expm1(-np.diff(B)))
    np.testing.assert_allclose(outputs[0, 1:3], expected, rtol=1e-6)
    assert np.isfinite(outputs).all()


def test_its_config_and_its_errors():
    layer = CumulativeLink.from_config(head().get_config())
    assert layer.thresholds.tolist() == B.tolist()
    for wrong in ([1.0, 1.0], [2.0, 1.0], [[0.0]], [], [np.nan, 1.0]):
        with pytest.raises(ValueError, match="increasing"):
            CumulativeLink(len(wrong) + 1, wrong)
    with pytest.raises(ValueError, match="num_classes=3, 3 thresholds"):
        CumulativeLink(3, B)


def minimum(decay, d=3, each=4, b=B):
    """Features and head at the minimum of the likelihood with decay."""
    labels = np.repeat(np.arange(len(b) + 1), each)

    def value(flat):
        w, h = flat[:d], flat[d:].reshape(-1, d)
        z = h @ w
        edges = np.concatenate([[-np.inf], b, [np.inf]])
        lower, upper = edges[labels] - z, edges[labels + 1] - z
        gaps = np.log(-np.expm1(lower - upper))
        log_p = log_expit(upper) + log_expit(-lower) + gaps
        back = (expit(-upper) - expit(lower)) / len(z)
        loss = -log_p.mean() + decay / 2 * (w @ w + np.sum(h**2) / len(z))
        grads = back @ h + decay * w, np.outer(back, w) + decay * h / len(z)
        return loss, np.concatenate([g.ravel() for g in grads])

    start = np.random.default_rng(0).normal(size=d + len(labels) * d)
    found = minimize(
        value,
        start,
        jac=True,
        method="L-BFGS-B",
        options={"ftol": 1e-16, "gtol": 1e-12, "maxiter": 50_000},
    )
    return found.x[d:].reshape(-1, d), labels, found.x[:d, None]


def test_at_the_minimum_features_are_ordered_on_a_line():
    found = ordinal.collapse_metrics(*minimum(1e-3), B)
    assert found["onc1"] < 1e-8
    assert abs(found["onc2"]) < 1e-8
    assert found["onc3_ordered"] == 1


def test_between_thresholds_where_decay_vanishes():
    misses = [
        ordinal.collapse_metrics(*minimum(decay), B)["onc3"]
        for decay in (1e-2, 1e-3, 1e-4)
    ]
    assert misses[0] > 3 * misses[1] > 9 * misses[2]
    assert misses[-1] < 0.01


def test_what_is_off_the_line_is_seen(rng):
    w = np.array([[1.0], [0.0]])
    features = np.array([[-3.0, 0.0], [-0.5, 0.0], [1.0, 0.0], [4.0, 0.0]])
    labels = np.arange(4)
    clean = ordinal.collapse_metrics(features, labels, w, B)
    assert clean["onc2"] == pytest.approx(0, abs=1e-15)
    middles = (B[1:] + B[:-1]) / 2
    expected = np.abs(features[1:3, 0] - middles).mean() / np.diff(B).mean()
    assert clean["onc3"] == pytest.approx(expected)
    off = features + [0.0, 2.0]
    share = 16 / (np.sum(features**2) + 16)
    assert ordinal.collapse_metrics(off, labels, w, B)["onc2"] == pytest.approx(
        share
    )
    mixed = ordinal.collapse_metrics(features[[1, 0, 2, 3]], labels, w, B)
    assert mixed["onc3_ordered"] == 0


def test_two_classes_have_no_inner_one():
    found = ordinal.collapse_metrics([[-1.0], [2.0]], [0, 1], [[1.0]], [0.0])
    assert np.isnan(found["onc3"]) and found["onc3_ordered"] == 1


def test_wrong_inputs():
    with pytest.raises(ValueError, match="of shape \\(1, 2\\)"):
        ordinal.collapse_metrics(np.eye(2), [0, 1], [[1.0, 2.0]], [0.0])
    with pytest.raises(nc_keras.errors.NonFiniteError):
        ordinal.collapse_metrics(np.eye(2) * np.nan, [0, 1], [[1.0], [0]], [0])
    other = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    with pytest.raises(ValueError, match="type Dense"):
        ordinal.measure(other, np.eye(2), [0, 1])


@pytest.mark.skipif(
    keras.backend.backend() == "numpy", reason="NumPy has no gradients"
)
def test_how_much_ink_digits_have(digits, tmp_path):
    x = digits[0][:600]
    ink = x.mean(axis=(1, 2, 3))
    y = np.searchsorted(np.quantile(ink, [0.25, 0.5, 0.75]), ink)
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Flatten(),
            keras.layers.Dense(64, activation="relu"),
            keras.layers.Dense(8),
            CumulativeLink(4),
        ]
    )
    model.compile(
        nc_keras.optimizers.SGD(0.05, 0.9, 1e-3),
        loss=nc_keras.losses.CE(),
        metrics=["accuracy"],
    )
    before = ordinal.measure(model, x, y)
    history = model.fit(x, y, batch_size=50, epochs=60, verbose=0).history
    after = ordinal.measure(model, x, y, batch_size=77)
    assert history["accuracy"][-1] > 0.8
    assert after["onc3_ordered"] == 1
    assert after["onc1"] < 0.3 * before["onc1"]
    assert after["onc2"] < 0.1 < before["onc2"]
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(
        loaded.predict(x, verbose=0), model.predict(x, verbose=0)
    )
