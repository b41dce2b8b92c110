import keras
import numpy as np
import pytest

import nc_keras


def test_it_scales_and_is_trained(rng):
    layer = nc_keras.layers.Rho(2.5)
    x = rng.normal(size=(3, 4)).astype("float32")
    outputs = keras.ops.convert_to_numpy(layer(x))
    assert np.allclose(outputs, 2.5 * x)
    assert len(layer.trainable_weights) == 1
    assert layer.losses == []


def test_its_decay_is_a_penalty_of_the_loss(rng):
    """One step of SGD on a loss of zero is that of lambda rho^2 alone."""
    model = keras.Sequential(
        [keras.Input((2,)), nc_keras.layers.Rho(3.0, decay=0.1)]
    )
    model.compile(keras.optimizers.SGD(0.5), loss="mse")
    zeros = np.zeros((4, 2), "float32")
    model.fit(zeros, zeros, verbose=0)
    value = float(keras.ops.convert_to_numpy(model.layers[0].value))
    assert np.isclose(value, 3.0 - 0.5 * 2 * 0.1 * 3.0)


def test_it_is_saved(tmp_path):
    model = keras.Sequential(
        [keras.Input((2,)), nc_keras.layers.Rho(3.0, decay=0.1)]
    )
    model.save(tmp_path / "model.keras")
    layer = keras.saving.load_model(tmp_path / "model.keras").layers[0]
    assert (layer.initial_value, layer.decay) == (3.0, 0.1)


def test_half_precision(rng):
    keras.config.set_dtype_policy("mixed_bfloat16")
    layer = nc_keras.layers.Rho(2.0)
    outputs = layer(np.ones((1, 2), "float32"))
    assert keras.backend.standardize_dtype(outputs.dtype) == "bfloat16"
    assert keras.backend.standardize_dtype(layer.value.dtype) == "float32"


@pytest.mark.parametrize(
    "arguments, said",
    [
        ({"initial_value": 0.0}, "initial_value=0.0"),
        ({"decay": -0.1}, "decay=-0.1"),
    ],
)
def test_bad_numbers_are_refused(arguments, said):
    with pytest.raises(ValueError, match=said):
        nc_keras.layers.Rho(**arguments)
