"""What stands between finite and infinite networks."""

import json
import pathlib

import keras
import numpy as np
import pytest

import nc_keras
from nc_keras.kernel import zca
from nc_keras.layers import TangentDense

DATA = json.loads(
    (pathlib.Path(__file__).parents[1] / "data/beside.json").read_text()
)


def test_whitening_is_that_of_the_reference():
    reference = DATA["zca"]
    x = np.array(reference["x"])
    found = zca(x, reference["eps"])
    np.testing.assert_allclose(found.matrix, reference["whitening"], 1e-8)
    after = np.cov(found(x).T, bias=True)
    np.testing.assert_allclose(after, reference["cov_after"], 1e-8, 1e-10)


def test_infinite_kernels_are_those_of_the_reference():
    reference = DATA["infinite_ntk"]
    network = nc_keras.kernel.infinite(
        reference["hidden_layers"],
        reference["sigma_w2"] ** 0.5,
        reference["sigma_b2"] ** 0.5,
    )
    x = np.array(reference["X"])
    # Its diagonal has an arc cosine of 1, which loses half of the digits.
    np.testing.assert_allclose(network.covariance(x), reference["nngp"], 1e-8)
    np.testing.assert_allclose(network.tangent(x), reference["ntk"], 1e-8)


def test_images_are_whitened_in_their_shape(digits, rng):
    x = digits[0]
    with pytest.raises(ValueError, match="choose a positive `epsilon`"):
        zca(x)  # some pixels are always white
    found = zca(x, 1e-2)
    assert found(x[:7]).shape == (7, 8, 8, 1)
    turn, _ = np.linalg.qr(rng.normal(size=(64, 64)))
    turned = zca(x.reshape(-1, 64) @ turn, 1e-2)(x[:7].reshape(7, 64) @ turn)
    expected = found(x[:7]).reshape(7, 64) @ turn
    np.testing.assert_allclose(turned, expected, atol=1e-9)
    with pytest.raises(ValueError, match="of 64 features"):
        found(np.ones((2, 5)))


def test_tangent_dense_is_its_formula(rng, tmp_path):
    layer = TangentDense(3, sigma_w=1.5, sigma_b=0.5, activation="relu")
    x = rng.normal(size=(4, 6)).astype("float32")
    model = keras.Sequential([keras.Input((6,)), layer])
    w, b = (np.array(v) for v in model.get_weights())
    expected = np.maximum(1.5 / 6**0.5 * x @ w + 0.5 * b, 0)
    np.testing.assert_allclose(
        model.predict(x, verbose=0), expected, 1e-5, 1e-6
    )
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(
        loaded.predict(x, verbose=0), model.predict(x, verbose=0)
    )
    with pytest.raises(ValueError, match="sigma_w=0"):
        TangentDense(3, sigma_w=0)


def test_a_centred_model_is_what_training_changes(digits):
    x, y = digits[0][:100], np.eye(10)[digits[1][:100]]
    model = nc_keras.models.MLP((8, 8, 1), 10, widths=(16,))
    before = model.predict(x, verbose=0)
    change = nc_keras.models.centered(model)
    assert not np.any(change.predict(x, verbose=0))
    # One step after the other, as the network itself takes them.
    alone = keras.models.clone_model(model)
    alone.set_weights(model.get_weights())
    for one, targets in ((change, y), (alone, y + before)):
        one.compile("sgd", loss="mse")
        one.fit(x, targets, batch_size=100, epochs=5, verbose=0)
    for new, old in zip(model.get_weights(), alone.get_weights(), strict=True):
        np.testing.assert_allclose(new, old, rtol=0, atol=1e-5)
    after = model.predict(x, verbose=0)
    assert np.abs(after - before).max() > 1e-3
    np.testing.assert_allclose(
        change.predict(x, verbose=0), after - before, atol=1e-5
    )
    with pytest.raises(ValueError, match="type str"):
        nc_keras.models.centered("model")


def test_wide_networks_predict_what_the_infinite_one_does(digits):
    """The mean over initialisations of networks that are trained on."""
    x = digits[0].reshape(-1, 64).astype("float64")
    y = np.where(digits[1] < 5, 1.0, -1.0)
    train, test = slice(0, 30), slice(30, 60)
    expected = nc_keras.kernel.infinite(1).predict(x[train], y[train], x[test])

    def distance(width):
        found = []
        for seed in range(4):
            keras.utils.set_random_seed(seed)
            model = keras.Sequential(
                [
                    keras.Input((64,)),
                    TangentDense(width, activation="relu"),
                    TangentDense(1),
                ]
            )
            model = nc_keras.models.centered(model)
            model.compile(nc_keras.optimizers.SGD(0.5, 0.9), loss="mse")
            model.fit(x[train], y[train], batch_size=30, epochs=300, verbose=0)
            found.append(model.predict(x[test], verbose=0)[:, 0])
        return np.sqrt(np.mean((np.mean(found, axis=0) - expected) ** 2))

    far, near = distance(16), distance(1024)
    assert near < 0.5 * far
