"""What works against collapse in an encoder, and for it behind."""

import json
import pathlib

import keras
import numpy as np
import pytest
from keras import ops

import nc_keras
from nc_keras.layers import ETFProjector
from nc_keras.layers import FeatureEntropy

DATA = json.loads(
    (pathlib.Path(__file__).parents[1] / "data/newer.json").read_text()
)
X = np.array(DATA["dcdnv"]["X"], "float32")


def test_entropy_is_that_of_the_reference():
    found = float(FeatureEntropy().loss(X))
    assert found == pytest.approx(DATA["entropy_reg"], rel=1e-5)
    assert float(FeatureEntropy().loss(5 * X)) == pytest.approx(found, rel=1e-5)


def test_pairs():
    same = np.ones((2, 3), "float32")
    found = float(FeatureEntropy().loss(same))
    assert found == pytest.approx(-np.log(1e-8), rel=1e-6)
    opposite = np.array([[1.0, 0.0], [-2.0, 0.0]], "float32")
    found = float(FeatureEntropy().loss(opposite))
    assert found == pytest.approx(-np.log(2), rel=1e-6)


@pytest.mark.skipif(
    keras.backend.backend() == "numpy", reason="NumPy has no gradients"
)
def test_it_spreads_features(digits):
    x, y = digits[0][:400], digits[1][:400]
    found = []
    for weight in (0.0, 2.0):
        keras.utils.set_random_seed(0)
        model = keras.Sequential(
            [
                keras.Input((8, 8, 1)),
                keras.layers.Flatten(),
                keras.layers.Dense(32, activation="relu"),
                FeatureEntropy(weight),
                keras.layers.Dense(10),
            ]
        )
        model.compile(
            nc_keras.optimizers.SGD(0.05, 0.9), loss=nc_keras.losses.CE()
        )
        # Two equal images have no gradient that is not a number.
        model.fit(
            np.concatenate([x, x[:1]]),
            np.append(y, y[:1]),
            batch_size=401,
            epochs=100,
            verbose=0,
        )
        found.append(nc_keras.measure(model, x, y)["nc1"])
        # The loss is one of training.
        own = model.evaluate(x, y, verbose=0)
        expected = float(nc_keras.losses.CE()(y, model.predict(x, verbose=0)))
        assert own == pytest.approx(expected, rel=1e-4)
    assert found[1] > 1.2 * found[0]


def test_projector_is_its_formula():
    layer = ETFProjector(4, hidden=10)
    h = X
    c, ones = 4, np.ones
    first = (c / (c - 1)) ** 0.5 * (np.eye(5, 10) - ones((5, 10)) / c)
    second = (c / (c - 1)) ** 0.5 * (np.eye(10, 4) - ones((10, 4)) / c)
    expected = np.maximum(h @ first, 0) @ second
    found = ops.convert_to_numpy(layer(h))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert not layer.weights and layer.compute_output_shape((3, 5)) == (3, 4)
    again = ETFProjector.from_config(layer.get_config())
    np.testing.assert_array_equal(ops.convert_to_numpy(again(h)), found)


def test_wrong_arguments():
    for units in (1, 2.5, "4"):
        with pytest.raises(ValueError, match="`units` must be an integer"):
            ETFProjector(units, hidden=8)
    with pytest.raises(ValueError, match="`hidden` must be an integer"):
        ETFProjector(4, hidden=0)
    with pytest.raises(ValueError, match="`weight` must not be negative"):
        FeatureEntropy(-0.1)
