import numpy as np
import pytest

from nc_keras import geometry


@pytest.mark.parametrize(
    "num_classes, dim", [(2, 1), (2, 7), (10, 9), (10, 10), (10, 64), (100, 99)]
)
def test_gram_of_frame_is_the_simplex_to_float64(num_classes, dim):
    frame = geometry.simplex_etf(num_classes, dim, seed=1)
    assert frame.shape == (num_classes, dim)
    assert frame.dtype == np.float64
    np.testing.assert_allclose(
        frame @ frame.T, geometry.simplex_gram(num_classes), atol=3e-15
    )


def test_seed_repeats_the_frame_and_none_does_not():
    first = geometry.simplex_etf(5, 8, seed=3)
    np.testing.assert_array_equal(first, geometry.simplex_etf(5, 8, seed=3))
    assert np.abs(first - geometry.simplex_etf(5, 8, seed=4)).max() > 0.1
    assert np.abs(first - geometry.simplex_etf(5, 8)).max() > 0.01


def test_frames_are_haar_distributed():
    # The first row is uniform on the sphere: zero mean, covariance I / D.
    rows = np.array([geometry.simplex_etf(4, 3, s)[0] for s in range(4000)])
    np.testing.assert_allclose(rows.mean(0), 0, atol=0.04)
    np.testing.assert_allclose(rows.T @ rows / 4000, np.eye(3) / 3, atol=0.03)


@pytest.mark.parametrize("num_classes", [1, 0, -3, 2.5, "ten", None])
def test_refuses_a_number_of_classes_without_geometry(num_classes):
    with pytest.raises(ValueError, match="Received: num_classes="):
        geometry.simplex_etf(num_classes, 8)


def test_refuses_too_few_dimensions_and_says_what_to_use():
    with pytest.raises(ValueError, match="WeightNormDense.*dim=8"):
        geometry.simplex_etf(10, 8)


def test_cosines():
    cosines = geometry.cosines([[2, 0], [3, 3], [0, 0]])
    np.testing.assert_allclose(cosines[0, 1], 0.5**0.5, rtol=1e-15)
    assert np.isnan(cosines[2]).all() and np.isnan(cosines[:, 2]).all()


def test_canonical_frame():
    frame = geometry.simplex_etf(4, 6, rotate=False)
    np.testing.assert_allclose(
        frame @ frame.T, geometry.simplex_gram(4), atol=1e-15
    )
    assert not frame[:, 4:].any()
    # Nearest to the unit vectors, which no feature after a ReLU can pass.
    assert (frame.argmax(axis=1) == range(4)).all()
    with pytest.raises(ValueError, match="canonical.* at least 4 dimensions"):
        geometry.simplex_etf(4, 3, rotate=False)
