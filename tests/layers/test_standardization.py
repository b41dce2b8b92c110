import keras
import numpy as np
import pytest
from keras import ops

import nc_keras


def test_each_channel_by_its_own(tmp_path):
    layer = nc_keras.layers.Standardization([10.0, 200.0], [2.0, 50.0])
    model = keras.Sequential([keras.Input((3, 2)), layer])
    x = np.arange(12, dtype="uint8").reshape(2, 3, 2) * 20
    expected = (x.astype("float64") - [10, 200]) / [2, 50]
    outputs = ops.convert_to_numpy(model(x))
    np.testing.assert_allclose(outputs, expected, rtol=1e-6)
    assert not model.weights
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(ops.convert_to_numpy(loaded(x)), outputs)


@pytest.mark.parametrize(
    "mean, deviation", [([1.0], [0.0]), ([1.0], [1.0, 2.0]), ([1.0], [-1.0])]
)
def test_bad_arguments(mean, deviation):
    with pytest.raises(ValueError, match="Received: mean="):
        nc_keras.layers.Standardization(mean, deviation)
