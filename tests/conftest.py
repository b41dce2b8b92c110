import keras
import numpy as np
import pytest
from sklearn.datasets import load_digits


@pytest.fixture(autouse=True)
def fresh_state():
    keras.utils.set_random_seed(0)
    yield
    keras.config.set_dtype_policy("float32")


@pytest.fixture(scope="session")
def digits():
    """Real handwritten digits: images `[1797, 8, 8, 1]` and labels."""
    data = load_digits()
    images = ((data.images - 4.9) / 6.0).astype("float32")[..., None]
    return images, data.target.astype("int32")


@pytest.fixture
def rng():
    return np.random.default_rng(0)
