import keras
import numpy as np
import pytest
from gradients import gradients
from keras import ops
from keras.ops import convert_to_numpy as to_numpy

from nc_keras.layers import WeightNormDense


def test_starts_as_dense_with_the_same_kernel(rng):
    x = rng.normal(size=(5, 12)).astype("float32")
    layer, dense = WeightNormDense(7), keras.layers.Dense(7)
    outputs = to_numpy(layer(x))
    dense.build(x.shape)
    dense.set_weights([to_numpy(layer.v), to_numpy(layer.bias)])
    np.testing.assert_allclose(outputs, to_numpy(dense(x)), atol=1e-6)


def test_kernel_is_length_times_direction(rng):
    layer = WeightNormDense(3, use_bias=False)
    layer.build((None, 4))
    v, g = rng.normal(size=(4, 3)), np.array([1.0, 2.0, -3.0])
    layer.set_weights([v, g])
    expected = g * v / np.linalg.norm(v, axis=0)
    np.testing.assert_allclose(to_numpy(layer.kernel), expected, rtol=1e-6)
    x = rng.normal(size=(2, 4)).astype("float32")
    np.testing.assert_allclose(to_numpy(layer(x)), x @ expected, rtol=1e-4)


def test_gradient_of_a_direction_is_orthogonal_to_it(rng):
    x = rng.normal(size=(5, 12)).astype("float32")
    layer = WeightNormDense(7)
    layer(x)
    dv, dg, _ = gradients(layer, x, lambda f: ops.sum(f**2))
    v = to_numpy(layer.v)
    cosines = np.sum(dv * v, 0) / np.linalg.norm(dv, axis=0)
    np.testing.assert_allclose(
        cosines / np.linalg.norm(v, axis=0), 0, atol=1e-5
    )
    assert np.abs(dg).min() > 0


def test_save_load_and_config(tmp_path, rng):
    model = keras.Sequential(
        [keras.Input((6,)), WeightNormDense(4, activation="relu")]
    )
    x = rng.normal(size=(3, 6))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(to_numpy(loaded(x)), to_numpy(model(x)))
    layer = model.layers[-1]
    assert (
        WeightNormDense.from_config(layer.get_config()).get_config()
        == layer.get_config()
    )


def test_mixed_precision_normalises_at_full_precision():
    layer = WeightNormDense(4, dtype="mixed_bfloat16")
    outputs = layer(np.ones((2, 8), "float32"))
    assert keras.backend.standardize_dtype(outputs.dtype) == "bfloat16"
    assert keras.backend.standardize_dtype(layer.kernel.dtype) == "float32"


@pytest.mark.parametrize("units", [0, -2, 2.5])
def test_bad_units(units):
    with pytest.raises(ValueError, match="Received: units="):
        WeightNormDense(units)
