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


def balanced_whitened(classes, dim, each):
    """Centred features with `Sigma_W = I`, and their labels."""
    h, y = draw(classes, dim, each)
    statistics = ClassStatistics.from_features(h, y)
    root = np.linalg.cholesky(np.linalg.inv(statistics.scatter / len(y)))
    return (h - h.mean(axis=0)) @ root, y


def test_what_no_feature_uses_changes_nothing(rng):
    h, y = draw(4, 6, 30)
    statistics = ClassStatistics.from_features
    w = central_path.snr(statistics(h, y))
    # Dead and constant units, a copy, and a sum of two others.
    more = np.c_[
        h, np.zeros(120), np.full(120, 0.3), h[:, 0], h[:, 1] + h[:, 2]
    ]
    np.testing.assert_allclose(
        central_path.snr(statistics(more, y)), w, rtol=1e-8
    )
    turned = more @ np.linalg.qr(rng.normal(size=(more.shape[1],) * 2))[0]
    np.testing.assert_allclose(
        central_path.snr(statistics(turned, y)), w, rtol=1e-6
    )
    # What a unit is measured in does not matter either.
    scaled = h * 10.0 ** np.arange(-9, 9, 3)
    np.testing.assert_allclose(
        central_path.snr(statistics(scaled, y)), w, rtol=1e-8
    )
    flow = central_path.renormalized_flow(more, y, [0.0, 5.0])
    np.testing.assert_allclose(
        flow, central_path.renormalized_flow(h, y, [0.0, 5.0]), rtol=1e-6
    )


def test_collapsed_features_keep_what_varies_within_classes_alone():
    h, y = draw(3, 6, 30)
    mixed = h + 2 * h[:, ::-1]  # noise that the means have no part in
    means = np.array([mixed[y == c].mean(axis=0) for c in range(3)])[y]
    w = central_path.snr(ClassStatistics.from_features(mixed, y))
    collapsed = means + 1e-7 * (mixed - means)
    np.testing.assert_allclose(
        central_path.snr(ClassStatistics.from_features(collapsed, y)),
        1e7 * w,
        rtol=1e-6,
    )


def test_fewer_directions_than_class_means_have_zeros_in_their_place():
    h, y = draw(4, 2, 30)
    line = np.c_[h[:, :1], np.zeros(120), 2 * h[:, :1]]
    w = central_path.snr(ClassStatistics.from_features(line, y))
    assert w.shape == (3,)
    alone = central_path.snr(ClassStatistics.from_features(h[:, :1], y))
    np.testing.assert_allclose(w, [alone[0], 0, 0], rtol=1e-12)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_a_signal_without_noise_is_singular(scale, rng):
    h, y = draw(3, 4, 10)
    signal = np.array([0.0, 1.0, -1.0])[y][:, None] * scale
    turn = np.linalg.qr(rng.normal(size=(5, 5)))[0]
    for features in (np.c_[h, signal], np.c_[h, signal] @ turn):
        with pytest.raises(ValueError, match="Sigma_W must have full rank"):
            central_path.snr(ClassStatistics.from_features(features, y))
    tiny = np.c_[h, 1e-6 * signal]
    for features in (tiny, signal, np.zeros((30, 2)), h[::5].repeat(5, 0)):
        with pytest.raises(ValueError, match="Sigma_W must have full rank"):
            central_path.snr(ClassStatistics.from_features(features, y))


def least_squares_loss(h, y):
    """The loss of the best head without bias, by its normal equations."""
    targets = np.eye(y.max() + 1)[y]
    head = np.linalg.solve(h.T @ h, h.T @ targets)
    return np.sum((h @ head - targets) ** 2) / (2 * targets.size)


def test_the_plain_flow_descends_the_loss():
    h, y = draw(3, 4, 10)
    step = 1e-4
    flow = central_path.gradient_flow(h, y, [0.0, step, 10.0, 100.0])
    np.testing.assert_allclose(
        flow.loss, [least_squares_loss(x, y) for x in flow.features]
    )
    assert (np.diff(flow.loss) < 0).all()
    # The first step is along finite differences of the loss.
    start, epsilon = flow.features[0], 1e-5
    gradient = np.zeros_like(start)
    for index in np.ndindex(start.shape):
        shift = np.zeros_like(start)
        shift[index] = epsilon
        up, down = (
            least_squares_loss(start + sign * shift, y) for sign in (1, -1)
        )
        gradient[index] = (up - down) / (2 * epsilon)
    velocity = (flow.features[1] - start) / step
    np.testing.assert_allclose(
        velocity, -gradient, atol=1e-4 * np.abs(gradient).max()
    )
    # As much as it descends: dL/dt is minus the squared gradient.
    slope = (flow.loss[1] - flow.loss[0]) / step
    assert slope == pytest.approx(-np.sum(gradient**2), rel=1e-3)


def test_the_plain_flow_keeps_the_second_moments_and_the_mean():
    h, y = draw(4, 5, 12)
    flow = central_path.gradient_flow(h, y, [0.0, 10.0, 1e3])
    assert flow.loss[2] < 0.9 * flow.loss[0]
    moments = flow.features.transpose(0, 2, 1) @ flow.features
    for moment in moments[1:]:
        np.testing.assert_allclose(
            moment, moments[0], atol=1e-7 * np.abs(moment).max()
        )
    np.testing.assert_allclose(flow.features.mean(axis=1), 0, atol=1e-9)
    expected = 1 + np.sum(4 / (4 + flow.snr**2), axis=1)
    np.testing.assert_allclose(flow.loss, expected / 32, rtol=1e-8)


def test_the_plain_flow_of_whitened_features():
    classes, count = 4, 48
    h, y = balanced_whitened(classes, 5, 12)
    step, times = 1e-3, np.array([0.0, 1e-3, 100.0, 2000.0])
    flow = central_path.gradient_flow(h, y, times)
    w = flow.snr[0]
    # All the way, in each direction for itself.
    rates = 1 / (classes * count * (classes + w**2))
    expected = np.sort(w * np.exp(np.outer(times, rates)))[:, ::-1]
    np.testing.assert_allclose(flow.snr, expected, rtol=1e-6)
    # They cross: the one that was the largest is not.
    assert np.argmax(w * np.exp(times[-1] * rates)) != np.argmax(w)
    # At first, so many times as fast as the renormalised flow.
    other = central_path.renormalized_flow(h, y, times[:2])
    np.testing.assert_allclose(other[0], w, rtol=1e-9)
    plain, renormalized = (
        np.log(values[1] / values[0]) / step for values in (flow.snr, other)
    )
    np.testing.assert_allclose(
        plain / renormalized, (classes + w**2) / classes, rtol=1e-4
    )


@pytest.mark.parametrize("scale", [1e-12, 3.7, 2e15])
@pytest.mark.parametrize("start", [0.0, 40.0])
def test_a_time_scale_is_found_again(scale, start):
    times = start + np.array([0.0, 0.5, 2.0, 9.0, 30.0, 31.0])
    w0 = [5.0, 1.0, 0.2]
    w = central_path.predicted_snr(w0, scale * (times - start), 3, 600)
    fit = central_path.fit_time_scale(times, w, 3, 600)
    if scale > 1:
        assert fit.scale == pytest.approx(scale, rel=1e-6)
    assert fit.residual < 1e-8
    np.testing.assert_allclose(fit.predicted, w, rtol=1e-6)


def test_a_time_scale_is_the_nearest_one(rng):
    times = np.linspace(0, 10, 12)
    w = central_path.predicted_snr([3.0, 0.1], 2e4 * times, 10, 500)
    w[1:] *= np.exp(0.3 * rng.normal(size=w[1:].shape))
    fit = central_path.fit_time_scale(times, w, 10, 500)

    def residual(scale):
        closed = central_path.predicted_snr(w[0], scale * times, 10, 500)
        return np.sqrt(np.mean(np.log(closed / w)[1:] ** 2))

    assert fit.residual == pytest.approx(residual(fit.scale), rel=1e-9)
    scales = np.geomspace(1e-6, 1e12, 2000)
    least = min(map(residual, scales))
    assert fit.residual <= least < 1.001 * fit.residual
    assert residual(fit.scale * 1.01) > fit.residual
    assert residual(fit.scale / 1.01) > fit.residual
    assert 0.2 < fit.residual < 0.4
    # Values that fall are nearest to a flow that stands still.
    falling = w[:1] * np.exp(-times)[:, None]
    still = central_path.fit_time_scale(times, falling, 10, 500)
    assert still.scale == 0
    assert still.residual == pytest.approx(np.sqrt(np.mean(times[1:] ** 2)))


def test_a_value_that_falls_may_want_less_than_the_others():
    grown = central_path.predicted_snr([1.0], [1000.0], 3, 30)[0, 0]
    fit = central_path.fit_time_scale([0, 1], [[1, 1], [grown, 0.99]], 3, 30)

    def residual(scale):
        closed = central_path.predicted_snr([1.0], [scale], 3, 30)[0, 0]
        return np.hypot(np.log(closed / grown), np.log(closed / 0.99))

    least = min(np.geomspace(100, 1e3, 1001), key=residual)
    assert fit.scale == pytest.approx(least, rel=3e-3) and least < 500


def test_bad_measurements():
    def fit(times, snr):
        central_path.fit_time_scale(times, snr, 3, 30)

    good = [[1.0, 2.0], [2.0, 3.0]]
    for times, snr in (([0.0], [[1.0]]), ([0, 1], [1, 2]), ([0, 1, 2], good)):
        with pytest.raises(ValueError, match=r"must have the shape \(T, r\)"):
            fit(times, snr)
    for snr in ([[1.0], [0.0]], [[1.0], [np.nan]], np.ones((2, 0))):
        with pytest.raises(ValueError, match="positive and finite|not empty"):
            fit([0, 1], snr)
    for times in ([1, 1], [1, 0], [0, np.nan]):
        with pytest.raises(ValueError, match="`times` must increase"):
            fit(times, good)


def test_progress_is_drawn_where_asked_for(capsys):
    h, y = draw(3, 4, 10)
    for flow in (central_path.gradient_flow, central_path.renormalized_flow):
        flow(h, y, [0.0, 10.0])
        assert capsys.readouterr().out == ""
        flow(h, y, [0.0, 10.0], progress=True)
        assert "100/100" in capsys.readouterr().out


def test_bad_input():
    h, y = draw(3, 4, 10)
    singular = np.c_[h, np.eye(3)[y]]
    for flow in (central_path.gradient_flow, central_path.renormalized_flow):
        with pytest.raises(ValueError, match="Sigma_W must have full rank"):
            flow(singular, y, [0.0, 1.0])
        for times in ([], [-1.0, 1.0], 1.0):
            with pytest.raises(ValueError, match="`times` must be an array"):
                flow(h, y, times)
        with pytest.raises(ValueError, match="`times` must increase"):
            flow(h, y, [1.0, 0.5])
    with pytest.raises(ValueError, match="needs the scatter matrix"):
        central_path.snr(ClassStatistics.from_features(h, y, scatter=False))
    with pytest.raises(ValueError, match="must be positive"):
        central_path.predicted_snr([0.0, 1.0], [0.0], 3, 30)
    with pytest.raises(ValueError, match="times not negative"):
        central_path.predicted_snr([1.0], [-1.0], 3, 30)


def test_unequal_classes_are_refused():
    counts = [10, 10, 10]
    equal = central_path.predicted_snr([0.5, 2.0], [0.0, 9.0], 3, counts)
    assert np.array_equal(
        equal, central_path.predicted_snr([0.5, 2.0], [0.0, 9.0], 3, 30)
    )
    with pytest.raises(ValueError, match=r"equal size.*\[10, 10, 9\]"):
        central_path.predicted_snr([0.5, 2.0], [0.0, 9.0], 3, [10, 10, 9])
    with pytest.raises(ValueError, match="equal size"):
        central_path.fit_time_scale([0.0, 1.0], equal, 3, [10, 11, 10])
