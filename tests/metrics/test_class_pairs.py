import keras
import numpy as np
import pytest

import nc_keras
from nc_keras.metrics.class_pairs import class_pairs
from nc_keras.metrics.class_pairs import expected_cost


def test_shares_and_costs():
    pairs = class_pairs([0, 0, 0, 2, 2], [0, 1, 1, 2, 0], 4)
    expected = np.full((4, 4), np.nan)
    expected[0], expected[2] = [1 / 3, 2 / 3, 0, 0], [1 / 2, 0, 1 / 2, 0]
    np.testing.assert_allclose(pairs, expected)
    costs = np.ones((4, 4)) - np.eye(4)
    assert expected_cost(pairs, costs) == pytest.approx((2 / 3 + 1 / 2) / 2)


def test_deepfool_goes_to_the_nearest_boundary(rng):
    kernel = rng.normal(size=(6, 4)).astype("float32")
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(4)])
    model.set_weights([kernel, np.zeros(4)])
    x = rng.normal(size=(40, 6)).astype("float32")
    moved = nc_keras.deepfool(model, x)
    outputs = x @ kernel
    labels = outputs.argmax(axis=1)
    gaps = outputs[np.arange(40), labels][:, None] - outputs
    rows = kernel.T
    apart = np.linalg.norm(rows[labels][:, None] - rows, axis=2)
    distances = np.where(gaps > 0, gaps / np.where(apart, apart, 1), np.inf)
    expected = class_pairs(labels, distances.argmin(axis=1), 4)
    found = class_pairs(moved.labels, moved.new_labels, 4)
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_what_is_refused():
    with pytest.raises(ValueError, match="a decision for each label"):
        class_pairs([0, 1], [0, 1, 1])
    with pytest.raises(ValueError, match="one shape"):
        expected_cost(np.eye(2), np.eye(3))
    with pytest.raises(ValueError, match="without examples"):
        expected_cost(np.full((2, 2), np.nan), np.eye(2))
