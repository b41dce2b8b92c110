import keras
import numpy as np
import pytest

import nc_keras


@pytest.mark.skipif(
    keras.backend.backend() == "numpy", reason="NumPy has no gradients"
)
def test_a_dead_feature_leaves_the_gradients_finite():
    layer = nc_keras.layers.UnitNormalization()
    model = keras.Sequential(
        [keras.Input((3,)), keras.layers.Dense(4, use_bias=False), layer]
    )
    x = np.array([[0, 0, 0], [1e-3, 0, 2]], "float32")
    found = model.predict(x, verbose=0)
    assert not found[0].any()
    assert np.linalg.norm(found[1]) == pytest.approx(1, rel=1e-6)
    model.compile(nc_keras.optimizers.SGD(0.1), loss="mse")
    model.fit(x, np.ones((2, 4)), verbose=0)
    assert all(np.isfinite(w).all() for w in model.get_weights())


def test_saved_and_of_any_rank(tmp_path):
    layer = nc_keras.layers.UnitNormalization()
    model = keras.Sequential([keras.Input((2, 3)), layer])
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    x = np.random.default_rng(0).normal(size=(5, 2, 3))
    found = again.predict(x, verbose=0)
    np.testing.assert_allclose(np.linalg.norm(found, axis=-1), 1, rtol=1e-6)
