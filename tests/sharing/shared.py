"""The data and the network that every process of a test has."""

import keras
import numpy as np
from sklearn.datasets import load_digits


def data():
    """All 1,797 digits."""
    digits = load_digits()
    return (digits.data / 16).astype("float32"), digits.target


def network():
    """A network with the same weights in every process."""
    model = keras.Sequential(
        [
            keras.Input((64,)),
            keras.layers.Dense(32, activation="relu"),
            keras.layers.Dense(10),
        ]
    )
    rng = np.random.default_rng(0)
    model.set_weights(
        [rng.normal(size=w.shape) / 8 for w in model.get_weights()]
    )
    return model
