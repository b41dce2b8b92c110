"""Neural regression collapse, beside reference values and optimisation."""

import json
import pathlib

import keras
import numpy as np
import pytest
from scipy.optimize import minimize

import nc_keras
from nc_keras import regression
from nc_keras import theory

DATA = json.loads(
    (pathlib.Path(__file__).parent / "data/newer.json").read_text()
)["nrc"]
H, W, Y = (np.array(DATA[name]) for name in "HWY")


def test_values_are_those_of_the_reference():
    found = regression.collapse_metrics(H, W.T, Y)
    assert found["nrc1"] == pytest.approx(DATA["nrc1"], rel=1e-9)
    assert found["nrc2"] == pytest.approx(DATA["nrc2"], rel=1e-9)
    assert found["nrc3"] == pytest.approx(DATA["nrc3_min"], rel=1e-6)
    assert found["nrc3_gamma"] == pytest.approx(DATA["nrc3_argmin"], rel=1e-4)
    assert found["nrc_noise"] == pytest.approx(DATA["noise_component"])


def minimum(decays=(0.05, 0.1), d=5):
    """Head and features at the minimum, by optimisation."""
    y = Y[:, :2]
    n, m = y.shape[1], len(y)

    def value(flat):
        w, h = flat[: n * d].reshape(n, d), flat[n * d : -n].reshape(m, d)
        misses = h @ w.T + flat[-n:] - y
        error = np.sum(misses**2) / (2 * m)
        decay = decays[1] / (2 * m) * np.sum(h**2) + decays[0] / 2 * np.sum(
            w**2
        )
        back = misses / m
        grad_w = back.T @ h + decays[0] * w
        grad_h = back @ w + decays[1] / m * h
        grads = grad_w.ravel(), grad_h.ravel(), back.sum(axis=0)
        return error + decay, np.concatenate(grads)

    start = np.random.default_rng(0).normal(size=n * d + m * d + n)
    found = minimize(
        value,
        start,
        jac=True,
        method="L-BFGS-B",
        options={"ftol": 1e-16, "gtol": 1e-10, "maxiter": 20_000},
    )
    w = found.x[: n * d].reshape(n, d)
    h = found.x[n * d : -n].reshape(m, d)
    return found.fun, w, h, y, decays


@pytest.mark.parametrize("decays", [(0.05, 0.1), (4.0, 3.0)])
def test_nothing_is_below_the_closed_form(decays):
    value, w, h, y, decays = minimum(decays)
    best = theory.regression(y, *decays)
    assert value == pytest.approx(best.loss, rel=1e-8)
    np.testing.assert_allclose(w @ w.T, best.gram, atol=1e-4)
    if decays == (0.05, 0.1):
        found = regression.collapse_metrics(h, w.T, y)
        for tag in ("nrc1", "nrc2", "nrc3", "nrc_noise"):
            assert abs(found[tag]) < 1e-6, tag
        gamma = decays[0] * decays[1]
        assert found["nrc3_gamma"] == pytest.approx(gamma, rel=0.02)


def test_directions_that_vary_too_little_are_not_fitted():
    deviations = np.sqrt(np.linalg.eigvalsh(np.cov(Y.T, bias=True)))
    decay = deviations.mean()  # between the two
    assert theory.regression(Y, decay, decay).rank == 1
    assert theory.regression(Y, 1e3, 1e3).rank == 0
    assert theory.regression(Y, 1e-3, 1e-3).rank == 2
    none = theory.regression(Y, 1e3, 1e3)
    assert none.loss == pytest.approx(np.var(Y, axis=0).sum() / 2)


def test_invariances(rng):
    turn, _ = np.linalg.qr(rng.normal(size=(6, 6)))
    found = regression.collapse_metrics(H, W.T, Y)
    turned = regression.collapse_metrics(3 * H @ turn, turn.T @ W.T, Y + 7)
    for tag, value in found.items():
        assert turned[tag] == pytest.approx(value, rel=1e-6), tag


@pytest.mark.skipif(
    keras.backend.backend() == "numpy", reason="NumPy has no gradients"
)
def test_a_network_that_collapses(digits):
    # Two numbers of digits: of the left half, and of the upper half.
    x = digits[0][:400]
    y = np.stack([x[:, :, :4].mean((1, 2, 3)), x[:, :4].mean((1, 2, 3))], 1)
    y = (y - y.mean(0)) / y.std(0)
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Flatten(),
            keras.layers.Dense(64, activation="relu"),
            keras.layers.Dense(24),
            keras.layers.Dense(2, name="head"),
        ]
    )
    model.compile(nc_keras.optimizers.SGD(0.02, 0.9, 1e-2), loss="mse")
    measured = regression.RegressionCollapse(x, y)
    history = model.fit(
        x, y, epochs=120, batch_size=50, callbacks=[measured], verbose=0
    ).history
    for tag in ("nrc1", "nrc2", "nrc_noise"):
        assert history[tag][-1] < 0.5 * history[tag][0]
    found = regression.measure(model, x, y, head="head", batch_size=77)
    assert found["nrc1"] == pytest.approx(history["nrc1"][-1], rel=1e-3)


def test_what_is_refused():
    with pytest.raises(ValueError, match="Received: shapes"):
        regression.collapse_metrics(H, W, Y)
    with pytest.raises(ValueError, match="`targets` must be a matrix"):
        regression.collapse_metrics(H, W.T, Y[:, 0])
    with pytest.raises(ValueError, match="finite"):
        regression.collapse_metrics(H * np.nan, W.T, Y)
    constant = regression.collapse_metrics(H, W.T, np.ones_like(Y))
    assert np.isnan(constant["nrc3"]) and np.isfinite(constant["nrc1"])
    with pytest.raises(ValueError, match="no minimiser"):
        theory.regression(Y, 0.0, 1.0)
    layers = [keras.Input((4,)), keras.layers.Dense(3), keras.layers.ReLU()]
    with pytest.raises(ValueError, match="Pass `head`"):
        regression.measure(keras.Sequential(layers), np.eye(4), np.eye(4))


def regressor():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(90, 4)), rng.normal(size=(90, 2))
    layers = [
        keras.layers.Dense(8, activation="relu"),
        keras.layers.Dense(2, bias_initializer="ones"),
    ]
    return keras.Sequential([keras.Input((4,)), *layers]), x, y


def test_a_report_has_both_sets_and_the_error_of_the_outputs():
    model, x, y = regressor()
    printed = []
    found = regression.report(
        model, (x[:60], y[:60]), (x[60:], y[60:]), print_fn=printed.append
    )
    for name, part in (("train", slice(60)), ("test", slice(60, 90))):
        error = np.mean((model.predict(x[part], verbose=0) - y[part]) ** 2)
        values = dict(found[name])
        assert values.pop("mse") == pytest.approx(error, rel=1e-5)
        assert values == regression.measure(model, x[part], y[part])
    assert printed == [str(found)] and "test" in printed[0]
    assert found.to_csv().splitlines()[0] == "metric,goes to,train,test"


def test_a_report_says_what_it_takes():
    model, x, y = regressor()
    with pytest.raises(ValueError, match="a tuple .*Received: train of type"):
        regression.report(model, x)
    with pytest.raises(ValueError, match="are for `nc_keras.regression`"):
        nc_keras.report(model, (x, y))
