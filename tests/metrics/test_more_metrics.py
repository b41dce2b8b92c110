"""Metrics that are not measured by default, each against an independent way."""

import itertools
import math

import numpy as np
import pytest
import scipy.linalg
import scipy.optimize
import sklearn.decomposition
import sklearn.metrics
import sklearn.preprocessing
from keras import ops
from scenarios import draw

import nc_keras
from nc_keras.measuring.evaluation import evaluate
from nc_keras.metrics import METRICS
from nc_keras.metrics import ClassStatistics
from nc_keras.metrics import LastLayer
from nc_keras.metrics import collapse_metrics
from nc_keras.metrics import hulls
from nc_keras.metrics import hyperspherical_uniformity  # noqa: F401
from nc_keras.metrics import linguistic  # noqa: F401
from nc_keras.metrics import nc5  # noqa: F401
from nc_keras.metrics import neco
from nc_keras.metrics import per_class  # noqa: F401
from nc_keras.metrics import softmax_code
from nc_keras.metrics import subspace  # noqa: F401
from nc_keras.metrics import vci  # noqa: F401

PAIRS = ["gnc2_log", "gnc2_log_variance", "gnc2_riesz", "nc1_cdnv_quartic"]
PER_CLASS = [
    "per_class_variance",
    "per_class_norm_means",
    "per_class_norm_weights",
    "per_class_duality",
    "per_class_accuracy",
]
SCALARS = PAIRS + [
    "gnc2_riesz_log",
    "gnc2_margin_means",
    "gnc2_margin_weights",
    "unc3_cosine",
    "unc3_distance",
    "vci",
    "nc3_subspace",
    "nc3_subspace_centered",
]


@pytest.fixture
def real(digits, rng):
    """Pixels of digits as features, and a head that decides by them."""
    x, y = digits
    h = x.reshape(len(x), -1).astype("float64") + 2.0
    means = np.array([h[y == c].mean(0) for c in range(10)])
    w = means - means.mean(0) + 0.3 * rng.normal(size=means.shape)
    return h, y, w.T, -0.5 * np.sum(means**2, axis=1)


def etf(classes=4, dim=6, examples=3):
    frame = nc_keras.geometry.simplex_etf(classes, dim, seed=0)
    labels = np.repeat(np.arange(classes), examples)
    return frame[labels], labels, frame.T


def loops(h, y, kernel, bias):
    """The definitions, term by term."""
    classes, w = range(kernel.shape[1]), kernel.T
    count, dim = w.shape
    mu = np.array([h[y == c].mean(0) for c in classes])
    m = mu - mu.mean(0)
    v = [
        np.mean([np.sum((x - mu[c]) ** 2) for x in h[y == c]]) for c in classes
    ]
    norm = np.linalg.norm
    theta = [a / norm(a) for a in m]
    omega = [a / norm(a) for a in w]
    pairs = [(a, b) for a in classes for b in classes if a != b]
    d = np.array([norm(theta[a] - theta[b]) for a, b in pairs])
    cosines = np.array([theta[c] @ omega[c] for c in classes])
    gaps = np.array([norm(theta[c] - omega[c]) for c in classes])
    decided = np.array([np.argmax(w @ x + bias) for x in h])
    with np.errstate(over="ignore"):
        riesz = np.mean(d ** -float(dim - 2))
    return {
        "gnc2_log": np.mean(np.log(1 / d)),
        "gnc2_log_variance": np.var(np.log(1 / d)),
        "gnc2_riesz": np.mean(1 / d**2),
        "gnc2_riesz_log": np.log(riesz) / (dim - 2),
        "nc1_cdnv_quartic": np.mean(
            [(v[a] + v[b]) / (2 * norm(mu[a] - mu[b]) ** 4) for a, b in pairs]
        ),
        "unc3_cosine": np.var(cosines, ddof=1),
        "unc3_distance": np.var(gaps, ddof=1),
        "per_class_variance": v,
        "per_class_norm_means": norm(m, axis=1),
        "per_class_norm_weights": norm(w, axis=1),
        "per_class_duality": cosines,
        "per_class_accuracy": [np.mean(decided[y == c] == c) for c in classes],
    }


def test_against_loops_on_real_images(real):
    expected = loops(*real)
    values = collapse_metrics(*real, metrics=list(expected))
    assert set(values) == set(expected)
    assert 0.5 < np.mean(expected["per_class_accuracy"]) < 1
    for tag, value in expected.items():
        np.testing.assert_allclose(values[tag], value, 1e-9, err_msg=tag)


def test_all_of_them_are_registered_and_none_by_default(real):
    tags = [*SCALARS, *PER_CLASS, "nc5"]
    everything = collapse_metrics(*real, metrics="all", ood=-real[0])
    assert set(tags) <= set(everything)
    assert not set(tags) & set(collapse_metrics(*real))
    assert all(everything[tag].shape == (10,) for tag in PER_CLASS)
    assert all(np.ndim(everything[tag]) == 0 for tag in SCALARS)


def test_values_of_a_collapsed_last_layer():
    values = collapse_metrics(*etf(), metrics=[*SCALARS, *PER_CLASS[:4]])
    energy = -0.5 * math.log(8 / 3)
    expected = {
        "gnc2_log": energy,
        "gnc2_log_variance": 0,
        "gnc2_riesz": 3 / 8,
        "gnc2_riesz_log": energy,
        "nc1_cdnv_quartic": 0,
        "gnc2_margin_means": 4 / 3,
        "gnc2_margin_weights": 4 / 3,
        "unc3_cosine": 0,
        "unc3_distance": 0,
        "vci": 0,
        "nc3_subspace": 1,
        "nc3_subspace_centered": 1,
        "per_class_variance": np.zeros(4),
        "per_class_norm_means": np.ones(4),
        "per_class_norm_weights": np.ones(4),
        "per_class_duality": np.ones(4),
    }
    assert set(values) == set(expected)
    for tag, value in expected.items():
        np.testing.assert_allclose(values[tag], value, 0, 1e-9, err_msg=tag)


def test_tensors_of_the_backend_give_the_same(real):
    h, y, kernel, _ = real
    tags = [*SCALARS, *PER_CLASS[:4], "nc5"]
    tags = [tag for tag in tags if "margin" not in tag]
    expected = collapse_metrics(h, y, kernel, metrics=tags, ood=-h[:9])
    statistics = ClassStatistics.from_features(h, y)
    arrays = {
        "means": statistics.means,
        "variances": statistics.squares / statistics.counts,
        "counts": statistics.counts,
        "kernel": kernel.T,
        "scatter": statistics.scatter / len(h),
        "ood_mean": -h[:9].mean(0),
    }
    arrays = {
        name: ops.convert_to_tensor(value.astype("float32"))
        for name, value in arrays.items()
    }
    layer = LastLayer(**arrays, xp=ops)
    values = evaluate(layer, [METRICS[tag] for tag in tags])
    for tag, value in expected.items():
        # Pixels that hardly vary are beyond float32.
        rtol = 1e-2 if tag == "vci" else 1e-3
        np.testing.assert_allclose(
            ops.convert_to_numpy(values[tag]), value, rtol, err_msg=tag
        )


def test_classes_without_examples_are_left_out(real):
    h, y, kernel, bias = real
    keep, rest = y > 1, slice(2, None)
    whole = {"gnc2_margin_weights": (h, y, kernel, bias)}
    tags = [*SCALARS, *PER_CLASS[:4]]
    values = collapse_metrics(
        h[keep], y[keep], kernel, bias, missing="skip", metrics=tags
    )
    part = h[keep], y[keep] - 2, kernel[:, rest], bias[rest]
    for tag in tags:
        expected = collapse_metrics(*whole.get(tag, part), metrics=[tag])
        np.testing.assert_allclose(
            values[tag], expected[tag], 1e-9, err_msg=tag
        )


@pytest.mark.parametrize("change", ["rotation", "scale", "translation"])
def test_invariance(change, rng):
    h, y, w, b = draw("imbalanced")
    h, w = h.astype("float64"), w.astype("float64")
    q, _ = np.linalg.qr(rng.normal(size=(64, 64)))
    factor = 7.0 if change == "scale" else 1.0
    changed = {
        "rotation": (h @ q, y, q.T @ w, b),
        "scale": (h * factor, y, w / factor, b),
        "translation": (h + 50, y, w, b),
    }[change]
    varies = {
        "rotation": {},
        "scale": {"nc1_cdnv_quartic": factor**-2},
        "translation": {"nc3_subspace": None},
    }[change]
    before = collapse_metrics(h, y, w, b, metrics=SCALARS)
    after = collapse_metrics(*changed, metrics=SCALARS)
    for tag in SCALARS:
        share = varies.get(tag, 1.0)
        if share is None:
            assert abs(after[tag] - before[tag]) > 1e-3
            continue
        expected = before[tag] * share
        np.testing.assert_allclose(after[tag], expected, 1e-7, err_msg=tag)


# NC5


def test_nc5_against_a_loop_and_uncentred(real, rng):
    h, y, _, _ = real
    ood = rng.normal(size=(50, 64)) + 1
    expected = []
    for c in range(10):
        mu, nu = h[y == c].mean(0), ood.mean(0)
        expected.append(abs(mu @ nu) / np.linalg.norm(mu) / np.linalg.norm(nu))
    value = collapse_metrics(h, y, ood=ood, metrics=["nc5"])["nc5"]
    np.testing.assert_allclose(value, np.mean(expected), 1e-12)
    flipped = collapse_metrics(h, y, ood=-3 * ood, metrics=["nc5"])["nc5"]
    np.testing.assert_allclose(flipped, value, 1e-12)
    moved = collapse_metrics(h + 9, y, ood=ood, metrics=["nc5"])["nc5"]
    assert abs(moved - value) > 1e-3


def test_nc5_of_orthogonal_and_of_parallel_data():
    h, y, _ = etf(4, 6)
    frame, _ = np.linalg.qr(np.array(h[::3]).T, mode="complete")
    ood = np.tile(frame[:, -1], (5, 1)) * np.arange(1, 6)[:, None]
    value = collapse_metrics(h, y, ood=ood, metrics=["nc5"])["nc5"]
    np.testing.assert_allclose(value, 0, atol=1e-12)
    value = collapse_metrics(h, y, ood=h[:3], metrics=["nc5"])["nc5"]
    np.testing.assert_allclose(value, (1 + 3 / 3) / 4, 1e-12)


# Hyperspherical uniformity


def test_riesz_energy_in_logs_where_the_plain_one_overflows(rng):
    h = np.zeros((4, 600))
    h[:, :3] = [[1, 0, 0], [1, 1e-2, 0], [-1, 0, 0], [0, 0, 1]]
    value = collapse_metrics(h, range(4), metrics=["gnc2_riesz_log"])
    m = h - h.mean(0)
    theta = m / np.linalg.norm(m, axis=1, keepdims=True)
    d = scipy.spatial.distance.pdist(theta)
    with np.errstate(over="ignore"):
        assert np.isinf(np.mean(d**-598))
    expected = scipy.special.logsumexp(-598 * np.log(d)) - math.log(len(d))
    np.testing.assert_allclose(value["gnc2_riesz_log"], expected / 598, 1e-9)


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_riesz_energy_in_few_dimensions(dim, rng):
    h = rng.normal(size=(5, dim))
    m = h - h.mean(0)
    theta = m / np.linalg.norm(m, axis=1, keepdims=True)
    d = scipy.spatial.distance.pdist(theta)
    with np.errstate(divide="ignore"):
        expected = {1: -np.log(d.mean()), 2: np.mean(-np.log(d))}
        expected[3] = np.log(np.mean(1 / d))
    value = collapse_metrics(h, range(5), metrics=["gnc2_riesz_log"])
    np.testing.assert_allclose(value["gnc2_riesz_log"], expected[dim], 1e-7)


def test_energies_do_not_depend_on_the_tiles(real, monkeypatch):
    tags = ["gnc2_log", "gnc2_log_variance", "gnc2_riesz_log"]
    before = collapse_metrics(*real, metrics=tags)
    monkeypatch.setattr("nc_keras.measuring.pairs.TILE", 4)
    after = collapse_metrics(*real, metrics=tags)
    for tag in tags:
        np.testing.assert_allclose(after[tag], before[tag], 1e-12)


def test_no_arrangement_has_less_energy_than_the_simplex(rng):
    tags = ["gnc2_log", "gnc2_riesz", "gnc2_riesz_log"]
    frame, labels, _ = etf(5, 6, 1)
    least = collapse_metrics(frame, labels, metrics=tags)
    for size in (0.01, 0.1, 1.0):
        moved = frame + size * rng.normal(size=frame.shape)
        values = collapse_metrics(moved, labels, metrics=tags)
        assert all(values[tag] > least[tag] for tag in tags)


# Softmax codes


def hull_distance(point, others):
    """By a general solver of constrained problems."""
    count = len(others)
    result = scipy.optimize.minimize(
        lambda a: np.sum((a @ others - point) ** 2),
        np.full(count, 1 / count),
        jac=lambda a: 2 * others @ (a @ others - point),
        bounds=[(0, 1)] * count,
        constraints={"type": "eq", "fun": lambda a: a.sum() - 1},
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 1000},
    )
    return math.sqrt(result.fun)


def slow_margin(vectors):
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return min(
        hull_distance(unit[k], np.delete(unit, k, axis=0))
        for k in range(len(unit))
    )


@pytest.mark.parametrize("shape", [(4, 3), (7, 3), (12, 4), (6, 20), (16, 5)])
def test_margin_against_a_general_solver(shape, rng):
    vectors = rng.normal(size=shape)
    margin = softmax_code.one_vs_rest_margin(vectors)
    np.testing.assert_allclose(margin, slow_margin(vectors), 0, 1e-6)
    scales = rng.uniform(0.1, 10, size=(shape[0], 1))
    again = softmax_code.one_vs_rest_margin(scales * vectors)
    np.testing.assert_allclose(again, margin, 0, 1e-9)


@pytest.mark.parametrize("offset", [0, 1, 5])
def test_margin_of_simplices_without_and_with_obtuse_angles(offset, rng):
    for spread in (0.1, 1.0):
        frame = nc_keras.geometry.simplex_etf(6, 8, seed=0)
        vectors = frame + spread * rng.normal(size=(6, 8)) + offset
        margin = softmax_code.one_vs_rest_margin(vectors)
        np.testing.assert_allclose(margin, slow_margin(vectors), 0, 1e-6)


def test_margin_of_real_images(real):
    h, y, kernel, _ = real
    tags = ["gnc2_margin_weights", "gnc2_margin_means"]
    values = collapse_metrics(h, y, kernel, metrics=tags)
    mu = np.array([h[y == c].mean(0) for c in range(10)])
    expected = slow_margin(kernel.T), slow_margin(mu - mu.mean(0))
    np.testing.assert_allclose([values[t] for t in tags], expected, 0, 1e-6)


def each_margin(vectors):
    """The distance of every row, not of those alone that may be nearest."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.array(
        [
            hulls.distance_to_hull(unit[k], np.delete(unit, k, axis=0))
            for k in range(len(unit))
        ]
    )


@pytest.mark.parametrize("start", [2, 64])
def test_hulls_that_grow_are_certified(start, rng, monkeypatch):
    monkeypatch.setattr(hulls, "_START", start)
    monkeypatch.setattr(hulls, "_PRODUCTS", 1000)
    codes = rng.normal(size=(200, 6)) + [2, 0, 0, 0, 0, 0]
    frame = nc_keras.geometry.simplex_etf(80, 90, seed=0)
    near = frame + 0.03 * rng.normal(size=frame.shape)
    nearly = np.concatenate([near[:40], near[:3] + 1e-7])
    twice = np.concatenate([near[:40], near[3:4]])
    far = frame + 0.15 * rng.normal(size=frame.shape)
    for vectors in (codes, codes[:, :2], frame, near, far, nearly, twice):
        value = softmax_code.one_vs_rest_margin(vectors)
        expected = each_margin(vectors).min()
        np.testing.assert_allclose(value, expected, 0, 1e-8)
    # A point of no hull: the certificate is a separating hyperplane.
    cloud = rng.normal(size=(60, 6))
    point = np.array([9.0, 0, 0, 0, 0, 0])
    distance = hulls.distance_to_hull(point, cloud)
    assert distance >= 9 - cloud[:, 0].max()
    np.testing.assert_allclose(distance, hull_distance(point, cloud), 0, 1e-5)


def test_only_hulls_that_may_be_nearest_are_looked_at(monkeypatch):
    solved, solve = [], hulls._weights
    monkeypatch.setattr(
        hulls,
        "_weights",
        lambda vertices: solved.append(len(vertices)) or solve(vertices),
    )
    vectors = nc_keras.geometry.simplex_etf(50, 60, seed=0)
    margin = softmax_code.one_vs_rest_margin(vectors)
    np.testing.assert_allclose(margin, 50 / 49, 0, 1e-12)
    assert len(solved) == 1
    vectors[1] = vectors[0] + 0.1 * vectors[1]
    margin = softmax_code.one_vs_rest_margin(vectors)
    assert len(solved) <= 3
    np.testing.assert_allclose(margin, each_margin(vectors).min(), 0, 1e-9)


def test_optimal_margins_are_attained_and_never_beaten(rng):
    angles = 2 * np.pi * np.arange(7) / 7
    orthoplex = np.concatenate([np.eye(4), -np.eye(4)])
    best = {
        (4, 6): nc_keras.geometry.simplex_etf(4, 6, seed=0),
        (5, 4): nc_keras.geometry.simplex_etf(5, 4, seed=0),
        (7, 2): np.stack([np.cos(angles), np.sin(angles)], axis=1),
        (8, 4): orthoplex,
        (6, 4): orthoplex[[0, 4, 1, 5, 2, 3]],
    }
    for (classes, dim), vectors in best.items():
        optimum = softmax_code.optimal_one_vs_rest_margin(classes, dim)
        margin = softmax_code.one_vs_rest_margin(vectors)
        np.testing.assert_allclose(margin, optimum, 0, 1e-9)
        for size in (0.05, 1.0):
            moved = vectors + size * rng.normal(size=vectors.shape)
            assert softmax_code.one_vs_rest_margin(moved) < optimum
    assert math.isnan(softmax_code.optimal_one_vs_rest_margin(100, 10))
    assert softmax_code.optimal_one_vs_rest_margin(2, 1) == 2
    assert softmax_code.optimal_one_vs_rest_margin(3, 1) == 0
    with pytest.raises(ValueError, match="num_classes=1"):
        softmax_code.optimal_one_vs_rest_margin(1, 10)


def test_margin_of_vectors_inside_the_hull_or_without_direction():
    square = np.array([[1.0, 0], [1, 0], [0, 1], [-1, 0]])
    assert softmax_code.one_vs_rest_margin(square) < 1e-12
    square[0] = 0
    assert math.isnan(softmax_code.one_vs_rest_margin(square))
    for copies in (2, 3, 5):
        assert softmax_code.one_vs_rest_margin([[3.0, 4.0]] * copies) < 1e-9


# VCI


def slow_vci(h, y):
    mu = np.array([h[y == c].mean(0) for c in range(y.max() + 1)])
    within = (h - mu[y]).T @ (h - mu[y]) / len(h)
    between = np.cov(mu.T, bias=True)
    total = scipy.linalg.pinvh(within + between)
    return 1 - np.trace(total @ between) / np.linalg.matrix_rank(between)


def test_vci_against_the_pseudo_inverse(real):
    h, y, _, _ = real
    value = collapse_metrics(h, y, metrics=["vci"])["vci"]
    np.testing.assert_allclose(value, slow_vci(h, y), 1e-9)
    assert 0.1 < value < 0.9


def test_vci_does_not_change_under_invertible_linear_maps(rng):
    h, y, _, _ = draw("balanced")
    h = h.astype("float64")
    before = collapse_metrics(h, y, metrics=["vci"])["vci"]
    changed = h @ (rng.normal(size=(64, 64)) + 5 * np.eye(64)) + 3
    after = collapse_metrics(changed, y, metrics=["vci"])["vci"]
    np.testing.assert_allclose(after, before, 1e-9)


@pytest.mark.parametrize("spread", [1e-2, 1e-5, 1e-7])
def test_vci_near_collapse(spread, rng):
    frame = nc_keras.geometry.simplex_etf(3, 5, seed=1)
    noise = rng.normal(size=(40, 5))
    noise -= noise.mean(0)
    noise = noise @ np.linalg.inv(np.linalg.cholesky(noise.T @ noise / 40)).T
    h = (frame[:, None] + spread * noise).reshape(-1, 5)
    value = collapse_metrics(h, np.repeat(range(3), 40), metrics=["vci"])["vci"]
    # Sigma_B is 1/2 on its plane, Sigma_W spread^2 everywhere.
    expected = spread**2 / (0.5 + spread**2)
    # The value is one minus what is nearly one: roundings of 1 remain.
    rounding = 16 * np.finfo("float64").eps
    np.testing.assert_allclose(value, expected, 1e-4, rounding)


def test_vci_does_not_count_dead_directions():
    h, y, _, _ = draw("balanced")
    few = h[:, :4].astype("float64")
    dead = np.concatenate([few, np.zeros((len(h), 9))], axis=1)
    value = collapse_metrics(dead, y, metrics=["vci"])["vci"]
    np.testing.assert_allclose(value, slow_vci(few, y), 1e-9)


# Subspaces


def test_subspace_cosines_against_scipy(real):
    h, y, kernel, _ = real
    mu = np.array([h[y == c].mean(0) for c in range(10)])
    tags = ["nc3_subspace", "nc3_subspace_centered"]
    values = collapse_metrics(h, y, kernel, metrics=tags)
    angles = scipy.linalg.subspace_angles(mu.T, kernel)
    np.testing.assert_allclose(values[tags[0]], np.cos(angles).mean(), 1e-9)
    w = kernel - kernel.mean(1, keepdims=True)
    basis = scipy.linalg.orth((mu - mu.mean(0)).T, 1e-10)
    angles = scipy.linalg.subspace_angles(basis, scipy.linalg.orth(w, 1e-10))
    assert len(angles) == 9
    np.testing.assert_allclose(values[tags[1]], np.cos(angles).mean(), 1e-9)


def test_subspaces_that_share_some_directions():
    means, kernel = np.eye(6)[:4], np.eye(6)[[0, 1, 4, 5]]
    tags = ["nc3_subspace", "nc3_subspace_centered"]
    values = collapse_metrics(means, range(4), kernel.T, metrics=tags)
    np.testing.assert_allclose(values["nc3_subspace"], 2 / 4, 1e-9)
    # Dead directions have no angle: the means span a plane, in the head's.
    flat = np.array([[1.0, 0, 0, 0], [0, 1, 0, 0], [1, 1, 0, 0], [2, 1, 0, 0]])
    head = np.eye(4)[:, [0, 1, 2, 2]]
    values = collapse_metrics(flat, range(4), head, metrics=tags)
    np.testing.assert_allclose(values["nc3_subspace"], 1, 1e-9)


def test_subspaces_of_more_classes_than_dimensions(rng):
    h, kernel = rng.normal(size=(40, 6)), rng.normal(size=(6, 40))
    tags = ["nc3_subspace", "nc3_subspace_centered"]
    values = collapse_metrics(h, range(40), kernel, metrics=tags)
    np.testing.assert_allclose([values[t] for t in tags], 1, 1e-9)
    # The late classes leave the plane of the early ones; the head has a line.
    h[:, 3:], h[:30, 2], kernel[:2], kernel[3:] = 0, 0, 0, 0
    values = collapse_metrics(h, range(40), kernel, metrics=tags)
    np.testing.assert_allclose([values[t] for t in tags], 1, 1e-9)


# NECO


def slow_neco(train, h, dim, standardize):
    if standardize:
        scaler = sklearn.preprocessing.StandardScaler().fit(train)
        train, h = scaler.transform(train), scaler.transform(h)
    pca = sklearn.decomposition.PCA(dim, svd_solver="full").fit(train)
    return np.array(
        [
            np.linalg.norm(pca.transform(x[None]))
            / np.linalg.norm(x - pca.mean_)
            for x in h
        ]
    )


@pytest.mark.parametrize("standardize", [False, True])
@pytest.mark.parametrize("dim", [None, 3, 64])
def test_neco_against_pca(real, rng, standardize, dim):
    h, y, kernel, bias = real
    train, test = slice(0, 1000), slice(1000, None)
    statistics = ClassStatistics.from_features(h[train], y[train])
    mixed = np.concatenate([h[test], 2 + rng.normal(size=(100, 64))])
    scores = neco.neco_scores(mixed, statistics, dim, standardize)
    expected = slow_neco(
        h[train], mixed, 9 if dim is None else dim, standardize
    )
    np.testing.assert_allclose(scores, expected, 1e-8)
    logits = mixed @ kernel + bias
    scores = neco.neco_scores(mixed, statistics, dim, standardize, logits)
    np.testing.assert_allclose(scores, expected * logits.max(1), 1e-8)


def test_neco_of_a_collapsed_layer_is_exact(rng):
    h, y, _ = etf(4, 6, 5)
    statistics = ClassStatistics.from_features(h + 7, y)
    _, _, directions = np.linalg.svd(h)
    outside = 7 + rng.normal(size=(8, 3)) @ directions[3:]
    inside = 7 + rng.normal(size=(8, 3)) @ directions[:3]
    scores = neco.neco_scores(np.concatenate([outside, inside]), statistics)
    np.testing.assert_allclose(scores, np.repeat([0, 1], 8), 0, 1e-9)
    assert neco.auroc(scores[8:], scores[:8]) == 1
    assert neco.false_positive_rate(scores[8:], scores[:8]) == 0


def test_neco_of_the_mean_itself_is_not_in_the_space():
    train = np.array([[2.0, 0], [4.0, 0]])
    statistics = ClassStatistics.from_features(train, [0, 1])
    scores = neco.neco_scores([[3.0, 0], [9.0, 0], [3.0, 2]], statistics)
    np.testing.assert_array_equal(scores, [0, 1, 0])


def test_neco_detects_noise_on_real_images(real, rng):
    h, y, _, _ = real
    statistics = ClassStatistics.from_features(h[:1000], y[:1000])
    noise = h[1000:].mean(0) + h[1000:].std(0) * rng.normal(size=(797, 64))
    scores = [neco.neco_scores(a, statistics) for a in (h[1000:], noise)]
    assert neco.auroc(*scores) > 0.9
    assert neco.false_positive_rate(*scores) < 0.5


@pytest.mark.parametrize("levels", [3, 20, 10**9])
@pytest.mark.parametrize("sizes", [(1, 1), (20, 7), (57, 300), (1000, 1000)])
def test_auroc_and_fpr_against_sklearn(sizes, levels, rng):
    scores = [rng.integers(0, levels, n) / levels for n in sizes]
    scores[0] = scores[0] + 0.3
    if levels == 3:
        scores[0] = np.round(scores[0], 1)
    truth = np.repeat([1, 0], sizes)
    together = np.concatenate(scores)
    expected = sklearn.metrics.roc_auc_score(truth, together)
    np.testing.assert_allclose(neco.auroc(*scores), expected, 1e-12)
    fpr, tpr, _ = sklearn.metrics.roc_curve(
        truth, together, drop_intermediate=False
    )
    for recall in (0.5, 0.95, 1.0):
        value = neco.false_positive_rate(*scores, recall=recall)
        assert value == fpr[np.argmax(tpr >= recall)]


def test_auroc_counts_every_pair_and_ties_by_half():
    one, other = [3, 1, 2, 2], [2, 0, 2]
    pairs = itertools.product(one, other)
    expected = np.mean([(a > b) + 0.5 * (a == b) for a, b in pairs])
    assert neco.auroc(one, other) == expected
    assert neco.auroc(one, one) == 0.5


def test_neco_refuses_what_does_not_fit(real):
    h, y, _, _ = real
    statistics = ClassStatistics.from_features(h, y)
    with pytest.raises(ValueError, match=r"\(N, 64\).*\(5, 3\)"):
        neco.neco_scores(np.zeros((5, 3)), statistics)
    for dim in (0, 65):
        with pytest.raises(ValueError, match=f"Received: dim={dim}"):
            neco.neco_scores(h, statistics, dim)
    without = ClassStatistics.from_features(h, y, scatter=False)
    with pytest.raises(ValueError, match="scatter=True"):
        neco.neco_scores(h, without)
    with pytest.raises(ValueError, match="1 of 2 scores NaN"):
        neco.auroc([1.0, np.nan], [0.0])
    with pytest.raises(ValueError, match="0 of 0"):
        neco.false_positive_rate([1.0], [])
    with pytest.raises(ValueError, match="recall=0"):
        neco.false_positive_rate([1.0], [0.0], recall=0)
