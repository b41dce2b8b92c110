import numpy as np
import pytest

from nc_keras.metrics import ClassStatistics
from nc_keras.metrics import collapse_metrics
from nc_keras.theory import central_path


def draw(classes, dim, each, seed=0):
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(classes), each)
    noise = rng.normal(size=(len(y), dim)) * (1 + np.arange(dim))
    return rng.normal(size=(classes, dim))[y] + noise + 3, y


@pytest.mark.parametrize(
    ("classes", "dim", "each"), [(2, 1, 5), (3, 4, 10), (4, 8, 12), (5, 3, 6)]
)
def test_the_closed_form_is_the_integrated_flow(classes, dim, each):
    h, y = draw(classes, dim, each)
    times = [0.0, 1.0, 10.0, 1e3, 1e5]
    flow = central_path.renormalized_flow(h, y, times)
    closed = central_path.predicted_snr(flow[0], times, classes, len(y))
    np.testing.assert_allclose(flow, closed, rtol=1e-6)
    assert (np.diff(flow, axis=0) > 0).all()


def test_the_closed_form_solves_its_equation():
    w0, times = np.array([1e-3, 0.1, 1.0, 30.0]), np.logspace(-3, 12, 40)
    w = central_path.predicted_snr(w0, times, 10, 5000)

    def left(w):
        return 5000 * (100 * np.log(w) + 10 * w**2 + w**4 / 4)

    gained = left(w) - left(w0)
    np.testing.assert_allclose(
        gained, np.broadcast_to(times[:, None], w.shape), rtol=1e-6, atol=1e-5
    )
    last = central_path.predicted_snr(w0, [1e14], 10, 5000)[0]
    assert last.max() / last.min() < 1.01
    np.testing.assert_allclose(last, (4e14 / 5000) ** 0.25, rtol=0.01)


def test_snr_is_free_of_linear_maps_and_gives_nc1(rng):
    h, y = draw(4, 6, 30)
    w = central_path.snr(ClassStatistics.from_features(h, y))
    turned = h @ rng.normal(size=(6, 6)) + 5
    again = central_path.snr(ClassStatistics.from_features(turned, y))
    np.testing.assert_allclose(w, again, rtol=1e-8)
    # NC1 = tr(Sigma_W Sigma_B^+) / C where Sigma_W is the identity.
    statistics = ClassStatistics.from_features(h, y)
    root = np.linalg.cholesky(np.linalg.inv(statistics.scatter / len(y)))
    white = h @ root
    nc1 = collapse_metrics(white, y)["nc1"]
    assert nc1 == pytest.approx(np.sum(1 / w**2), rel=1e-9)


def test_bad_input():
    h, y = draw(3, 4, 10)
    singular = np.c_[h, h[:, :1]]
    with pytest.raises(ValueError, match="Sigma_W must have full rank"):
        central_path.renormalized_flow(singular, y, [0.0, 1.0])
    with pytest.raises(ValueError, match="needs the scatter matrix"):
        central_path.snr(ClassStatistics.from_features(h, y, scatter=False))
    with pytest.raises(ValueError, match="must be positive"):
        central_path.predicted_snr([0.0, 1.0], [0.0], 3, 30)
    with pytest.raises(ValueError, match="times not negative"):
        central_path.predicted_snr([1.0], [-1.0], 3, 30)
