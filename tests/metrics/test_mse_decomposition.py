import json
import pathlib

import numpy as np
import pytest
from scenarios import draw

from nc_keras.metrics import mse_decomposition

# Of the reference that DESIGN's scenarios come from, with a decay of 5e-4.
PARTS = json.loads(
    (
        pathlib.Path(__file__).parents[1] / "data" / "mse_decomposition.json"
    ).read_text()
)


def loss(h, y, kernel, bias, decay):
    """The loss as it is written, example by example."""
    h, kernel = h.astype("float64"), kernel.astype("float64")
    misses = h @ kernel + bias - np.eye(kernel.shape[1])[y]
    data = np.mean(np.sum(misses**2, axis=1)) / 2
    return data + decay / 2 * (np.sum(kernel**2) + np.sum(bias**2))


@pytest.mark.parametrize("name", PARTS)
def test_golden_values(name):
    parts = mse_decomposition(*draw(name), 5e-4)
    for part, value in PARTS[name].items():
        assert getattr(parts, part) == pytest.approx(value, rel=1e-9), part


@pytest.mark.parametrize("name", [*PARTS, "imbalanced"])
@pytest.mark.parametrize("decay", [0.0, 5e-4, 1.0])
@pytest.mark.parametrize("with_bias", [True, False])
def test_parts_sum_to_the_loss(name, decay, with_bias):
    h, y, kernel, bias = draw(name)
    bias = bias.astype("float64") if with_bias else None
    parts = mse_decomposition(h, y, kernel, bias, decay)
    zero = np.zeros(kernel.shape[1])
    expected = loss(h, y, kernel, zero if bias is None else bias, decay)
    assert parts.total == pytest.approx(expected, rel=1e-12)
    total = parts.nc1 + parts.nc23 + parts.perp
    assert total == pytest.approx(expected, rel=1e-10)
    assert parts.perp_share == parts.perp / parts.total


@pytest.mark.parametrize("with_bias", [True, False])
def test_the_least_squares_head_has_nothing_off_the_path(with_bias):
    h, y, kernel, bias = draw("imbalanced")
    first = mse_decomposition(h, y, kernel, bias if with_bias else None, 1e-2)
    best = first.kernel, first.bias if with_bias else None
    again = mse_decomposition(h, y, *best, 1e-2)
    assert again.perp < 1e-20
    assert again.nc1 == pytest.approx(first.nc1)
    assert again.total == pytest.approx(first.nc1 + first.nc23)
    # No other head is better.
    rng = np.random.default_rng(0)
    for _ in range(5):
        shift = 1e-3 * rng.normal(size=kernel.shape)
        worse = loss(h, y, best[0] + shift, first.bias, 1e-2)
        assert worse > again.total


def test_ridge_regression_finds_the_same_head():
    linear_model = pytest.importorskip("sklearn.linear_model")
    h, y, kernel, _ = draw("imbalanced")
    parts = mse_decomposition(h, y, kernel, None, 0.1)
    ridge = linear_model.Ridge(0.1 * len(y), fit_intercept=False)
    ridge.fit(h.astype("float64"), np.eye(10)[y])
    np.testing.assert_allclose(
        parts.kernel, ridge.coef_.T, rtol=1e-7, atol=1e-12
    )


def test_bad_arguments():
    h, y, kernel, bias = draw("balanced")
    with pytest.raises(ValueError, match="`decay` must not be negative"):
        mse_decomposition(h, y, kernel, bias, -1.0)
    with pytest.raises(ValueError, match="no example of 1 of 10"):
        mse_decomposition(h[y > 0], y[y > 0], kernel, bias)
    with pytest.raises(ValueError, match="`kernel` must have the shape"):
        mse_decomposition(h, y, kernel[1:], bias)
