"""Max-pooling, beside that of Keras."""

import keras
import numpy as np
import pytest

import nc_keras
from nc_keras.layers import MaxPooling2D


def trained(pooling, x):
    """Weights below a pooling after one step, and the outputs before."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input(x.shape[1:]),
            keras.layers.Conv2D(3, 3, padding="same", activation="relu"),
            pooling,
            keras.layers.Flatten(),
            keras.layers.Dense(2),
        ]
    )
    model.compile(nc_keras.optimizers.SGD(0.1), loss="mse")
    outputs = model.predict(x, verbose=0)
    model.fit(x, np.zeros((len(x), 2)), batch_size=len(x), verbose=0)
    return [outputs, *model.get_weights()]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"pool_size": (2, 3)},
        {"pool_size": 3, "strides": 2},
        {"padding": "same"},
    ],
    ids=str,
)
def test_values_and_gradients_are_those_of_keras(rng, options):
    x = rng.normal(size=(4, 7, 9, 2)).astype("float32")
    found = trained(MaxPooling2D(**options), x)
    expected = trained(keras.layers.MaxPooling2D(**options), x)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_it_is_saved(tmp_path, rng):
    model = keras.Sequential([keras.Input((5, 6, 1)), MaxPooling2D((2, 3))])
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    x = rng.normal(size=(2, 5, 6, 1))
    np.testing.assert_array_equal(
        loaded.predict(x, verbose=0), model.predict(x, verbose=0)
    )
    assert loaded.output_shape == (None, 2, 2, 1)


@pytest.mark.skipif(
    keras.backend.backend() == "tensorflow",
    reason="TensorFlow's own pooling passes over NaN",
)
def test_a_window_with_nan_is_nan():
    x = np.zeros((4, 2, 2, 1), "float32")
    x.reshape(4, 4)[range(4), range(4)] = np.nan
    found = keras.ops.convert_to_numpy(MaxPooling2D()(x))
    assert np.isnan(found).all()
