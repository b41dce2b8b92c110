import keras
import numpy as np
import pytest

from nc_keras.metrics.margins import errors_of
from nc_keras.metrics.margins import normalized_margins


def test_normalized_margins():
    g = [[3.0, 1.0, 2.0], [0.0, 4.0, 6.0]]
    assert normalized_margins(g, [0, 1], 2.0).tolist() == [0.5, -1]
    hot = np.eye(3)[[0, 1]]
    assert normalized_margins(g, hot).tolist() == [1.0, -2.0]
    signs = normalized_margins([[2.0], [3.0]], [1, -1], 0.5)
    assert signs.tolist() == [4.0, -6.0]
    with pytest.raises(ValueError, match=r"\+1 and -1"):
        normalized_margins(np.ones((4, 1)), [0, 1, 0, 1])
    with pytest.raises(ValueError, match="rho=0"):
        normalized_margins(np.ones((4, 2)), [0, 1, 0, 1], 0)


def test_errors_that_cannot_be_counted():
    layer = keras.layers.Dense(2, use_bias=False)
    model = keras.Sequential([keras.Input((2,)), layer])
    with pytest.raises(ValueError, match="Received: label 2"):
        errors_of(model, (np.ones((4, 2)), [0, 1, 2, 0]))
    with pytest.raises(ValueError, match="outputs of the model must be finite"):
        errors_of(model, (np.full((4, 2), np.inf), [0] * 4))
