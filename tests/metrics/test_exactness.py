"""Every tag against its definition, in 50 digits.

What is measured are the values that the library was given: float32 and
bfloat16 features are exact numbers here, and so is the head.
"""

import zlib

import ml_dtypes
import mpmath
import numpy as np
import pytest

import nc_keras
from nc_keras.measuring import pairs
from nc_keras.metrics import ClassStatistics
from nc_keras.metrics import collapse_metrics
from nc_keras.metrics import metrics_from_statistics

DTYPES = {"float32": "float32", "bfloat16": ml_dtypes.bfloat16}
SPREADS = (1.0, 1e-2, 1e-4, 1e-5, 1e-6)
EPSILON = np.finfo("float64").eps
ZERO = 1e-15  # a reference below is that of a formula that is 0 there
MORE = (
    "nc1_cdnv_quartic",
    "gnc2_log",
    "gnc2_log_variance",
    "gnc2_riesz",
    "unc3_cosine",
    "unc3_distance",
    "nc5",
    "per_class_variance",
    "per_class_norm_means",
    "per_class_duality",
    "per_class_accuracy",
)
# Classes, dimensions, and examples of the classes, over and over.
SMALL = [
    (2, 1, (3, 1)),
    (2, 3, (1, 20)),
    (3, 2, (5, 1, 2)),
    (4, 2, (2, 5)),
    (5, 4, (1, 7, 3)),
    (6, 11, (2, 4)),
    (12, 5, (3,)),
]
LARGE = [
    (2, 6, (1, 10_000)),
    (10, 9, (1, 10, 1_000)),
    (64, 20, (1, 5)),
    (64, 63, (2, 3)),
    (64, 80, (1, 4)),
]
HUGE = [
    (10, 40, (10_000,)),
    (100, 99, (1, 10, 1_000)),
    (300, 512, (1, 8)),
    (1000, 300, (1, 3)),
    (1000, 999, (2,)),
    (1000, 1100, (1, 2)),
]
EXTENDED = np.finfo(np.longdouble).eps < 1e-18
needs_extended = pytest.mark.skipif(
    not EXTENDED, reason="`long double` has no more digits than float64 here"
)


def digits_50(array):
    """Exactly the same numbers, which reckon with 50 digits from here on."""
    array = np.asarray(array, "float64")
    return np.frompyfunc(mpmath.mpf, 1, 1)(array.astype(object))


def digits_19(array):
    """The same numbers in the 80 bits of x86, which are quicker."""
    return np.asarray(array, "longdouble")


def root(x):
    if isinstance(x, mpmath.mpf):
        return mpmath.sqrt(x)
    x = np.asarray(x)
    if x.dtype == object:
        return np.frompyfunc(mpmath.sqrt, 1, 1)(x)
    return np.sqrt(x)


def logarithm(x):
    if x.dtype == object:
        return np.frompyfunc(mpmath.log, 1, 1)(x)
    return np.log(x)


def solve(a, b):
    """`a^-1 b` for a positive definite `a`, in any arithmetic."""
    a, b, n = a.copy(), b.copy(), len(a)
    for k in range(n):
        factors = a[k + 1 :, k] / a[k, k]
        a[k + 1 :, k:] -= factors[:, None] * a[k, k:]
        b[k + 1 :] -= factors[:, None] * b[k]
    for k in reversed(range(n)):
        b[k] = (b[k] - a[k, k + 1 :] @ b[k + 1 :]) / a[k, k]
    return b


def definitions(h, y, w, b, ood, number):
    """The formulas of the metrics, term by term, in one arithmetic."""
    h, w, b, ood = map(number, (h, w, b, ood))
    classes, dim = w.shape
    sizes = np.bincount(y, minlength=classes)
    mu = np.array([h[y == c].sum(0) / n for c, n in enumerate(sizes)])
    m = mu - mu.sum(0) / classes
    residuals = h - mu[y]
    v = (residuals**2).sum(1)
    v = np.array([v[y == c].sum() / n for c, n in enumerate(sizes)])
    within = (residuals**2).sum() / len(y)
    pairs = ~np.eye(classes, dtype=bool)
    squares = (m**2).sum(1)
    gram = m @ m.T
    if classes * dim < 10**5:
        distances = ((mu[:, None] - mu) ** 2).sum(-1)[pairs]
    else:
        distances = (squares[:, None] + squares - 2 * gram)[pairs]
    spread = (v[:, None] + v)[pairs] / 2
    lengths = root(squares)
    cosines = gram / (lengths[:, None] * lengths)
    angles = ((2 - 2 * cosines)[pairs]) if classes > 2 else None
    heads = root((w**2).sum(1))
    duality = (w * m).sum(1) / (heads * lengths)
    gaps = root(((w / heads[:, None] - m / lengths[:, None]) ** 2).sum(1))
    decided = np.argmax(h @ w.T + b, axis=1)
    centered = h - mu.sum(0) / classes
    nearest = np.argmin(squares - 2 * (centered @ m.T), axis=1)
    unit_w, unit_m = (a / root((a**2).sum()) for a in (w, m))
    values = {
        "nc1": textbook_nc1(m, residuals),
        "nc1_trace_ratio": within / (squares.sum() / classes),
        "nc1_cdnv": mean(spread / distances),
        "nc3": ((unit_w - unit_m) ** 2).sum(),
        "nc3_duality": from_simplex(w @ m.T),
        "nc4": np.mean(decided != nearest),
        "nc0": root((w.sum(0) ** 2).sum()),
        "accuracy": np.mean(decided == y),
        "nc1_cdnv_quartic": mean(spread / distances**2),
        "unc3_cosine": variance(duality, 1),
        "unc3_distance": variance(gaps, 1),
        "nc5": mean(
            abs((mu * ood).sum(1)) / root((mu**2).sum(1) * np.sum(ood**2))
        ),
        "per_class_variance": v,
        "per_class_norm_means": lengths,
        "per_class_duality": duality,
        "per_class_accuracy": np.array(
            [np.mean(decided[y == c] == c) for c in range(classes)]
        ),
    }
    if angles is not None:
        energy = -logarithm(angles) / 2
        values |= {
            "gnc2_log": mean(energy),
            "gnc2_log_variance": variance(energy),
            "gnc2_riesz": mean(1 / angles),
        }
    for name, rows in (("means", m), ("weights", w)):
        norms = root((rows**2).sum(1))
        products = rows @ rows.T
        cosines = (products / (norms[:, None] * norms))[pairs]
        ideal = number(1) / (classes - 1)
        values |= {
            f"nc2_equinorm_{name}": root(variance(norms, 1)) / mean(norms),
            f"nc2_equiangular_{name}": root(variance(cosines)),
            f"nc2_max_angle_{name}": mean(abs(cosines + ideal)),
            f"nc2_etf_{name}": from_simplex(products),
        }
    return {k: np.asarray(x, "float64") for k, x in values.items()}


def textbook_nc1(m, residuals):
    """`tr(Sigma_W Sigma_B^+) / C`, of means that are not degenerate."""
    classes, dim = m.shape
    if dim < classes - 1:
        scatter = residuals.T @ residuals
        return np.trace(solve(m.T @ m, scatter)) / len(residuals)
    # With 1 1' added, which the rows of M are orthogonal to, M M' is regular.
    inverse = solve(m @ m.T + (m**2).sum() / classes**2, m)
    return ((residuals @ inverse.T) ** 2).sum() / len(residuals)


def from_simplex(gram):
    classes = len(gram)
    one = gram[0, 0] * 0 + 1
    phi = np.eye(classes) * one - one / classes
    phi = phi / root(one * (classes - 1))
    gram = gram / root((gram**2).sum())
    return root(((gram - phi) ** 2).sum())


def mean(values):
    return values.sum() / values.size


def variance(values, ddof=0):
    deviations = values - mean(values)
    return (deviations**2).sum() / (values.size - ddof)


def draw(shape, spread, dtype, offset=1.0):
    """Features of a dtype, labels, head `(C, D)`, bias, and a mean."""
    classes, dim, sizes = shape
    seed = zlib.crc32(repr((shape, spread, str(dtype), offset)).encode())
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(classes), np.resize(sizes, classes))
    y = rng.permutation(y)
    mu = rng.normal(size=(classes, dim)) + offset
    h = mu[y] * (1 + spread * rng.normal(size=(len(y), dim)))
    w = mu - mu.mean(0) + 0.3 * rng.normal(size=mu.shape)
    b = rng.normal(size=classes)
    return (
        h.astype(DTYPES.get(dtype, dtype)),
        y,
        w.astype("float32"),
        b.astype("float32"),
        rng.normal(size=dim),
    )


def measured(h, y, w, b, ood):
    """Every tag that has a definition above, of an array in memory."""
    default = collapse_metrics(h, y, w.T, b)
    return default | collapse_metrics(h, y, w.T, b, metrics=MORE, ood=ood[None])


def errors(values, expected, tags=None):
    """Relative errors by tag; absolute ones where the formula is 0."""
    found = {}
    for tag in tags or expected:
        exact = expected[tag]
        difference = np.abs(values[tag] - exact)
        size = np.abs(exact)
        size = np.where(size < ZERO, 1.0, size)
        found[tag] = float(np.max(difference / size))
    return found


def rounding(h, y, roundings=8):
    """The relative error that float64 makes of numbers in these features.

    Lengths of numbers are lost where they are subtracted: of an example and
    its class mean, of the means along the direction in which they differ
    least, and of two means. `roundings` of them add up, and a metric of order
    one may be the thousandth of what it is the difference of.
    """
    h = np.asarray(h, "float64")
    classes = y.max() + 1
    mu = np.array([h[y == c].mean(0) for c in range(classes)])
    m = mu - mu.mean(0)
    squares = np.sum((h - mu[y]) ** 2, axis=1)
    spread = np.sqrt(np.bincount(y, squares) / np.bincount(y))
    differ = np.linalg.svd(m, compute_uv=False)
    differ = differ[: min(classes - 1, h.shape[1])]
    sizes = np.sum(m**2, axis=1)
    a, b = np.triu_indices(classes, 1)
    shares = np.sum((m[a] - m[b]) ** 2, axis=1) / (sizes[a] + sizes[b])
    # Distances come of products, those of the closest means of differences.
    lost = np.where(shares < pairs._CLOSE["float64"], shares**0.5, shares)
    condition = max(
        np.linalg.norm(h, axis=1).max()
        / spread[spread > 0].min(initial=np.inf),
        np.linalg.norm(mu) / differ[-1],
        1 / lost.min(),
    )
    return EPSILON * (2**12 + roundings * condition)


def assert_exact(values, expected, bound, tags=None):
    tags = tags or [tag for tag in values if tag in expected]
    assert tags
    found = errors(values, expected, tags)
    wrong = {tag: e for tag, e in found.items() if not e <= bound}
    assert not wrong, f"relative errors above {bound}: {wrong}"


@needs_extended
@pytest.mark.parametrize("shape", SMALL)
@pytest.mark.parametrize("spread", [1.0, 1e-6])
def test_the_quick_reference_agrees_with_50_digits(shape, spread):
    example = draw(shape, spread, "float32")
    with mpmath.workdps(50):
        exact = definitions(*example, digits_50)
    quick = definitions(*example, digits_19)
    # 11 bits more than float64 has.
    assert_exact(quick, exact, max(rounding(*example[:2]) / 2**11, EPSILON))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("spread", SPREADS)
@pytest.mark.parametrize("shape", SMALL)
def test_against_50_digits(shape, spread, dtype):
    example = draw(shape, spread, dtype)
    with mpmath.workdps(50):
        exact = definitions(*example, digits_50)
    assert_exact(measured(*example), exact, rounding(*example[:2]))


@needs_extended
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("spread", SPREADS)
@pytest.mark.parametrize("shape", LARGE)
def test_against_19_digits(shape, spread, dtype):
    example = draw(shape, spread, dtype)
    exact = definitions(*example, digits_19)
    assert_exact(measured(*example), exact, rounding(*example[:2]))


@needs_extended
@pytest.mark.parametrize("spread", [1e-4, 1e-6])
def test_a_thousand_classes_of_one_and_two_examples(spread):
    example = draw((1000, 8, (1, 2)), spread, "float32")
    exact = definitions(*example, digits_19)
    assert_exact(measured(*example), exact, rounding(*example[:2]))


@needs_extended
@pytest.mark.exhaustive
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("spread", [1e-2, 1e-4, 1e-6])
@pytest.mark.parametrize("shape", HUGE)
def test_against_19_digits_at_size(shape, spread, dtype):
    example = draw(shape, spread, dtype)
    exact = definitions(*example, digits_19)
    assert_exact(measured(*example), exact, rounding(*example[:2]))


@pytest.mark.parametrize("shape", SMALL[2:])
@pytest.mark.parametrize("spread", SPREADS)
def test_statistics_alone_are_as_exact(shape, spread):
    h, y, w, b, ood = draw(shape, spread, "float32")
    with mpmath.workdps(50):
        exact = definitions(h, y, w, b, ood, digits_50)
    half = len(y) // 2
    parts = [
        ClassStatistics.from_features(h[rows], y[rows], len(w))
        for rows in (slice(half), slice(half, None))
    ]
    values = metrics_from_statistics(parts[0].merge(parts[1]), w.T)
    assert_exact(values, exact, rounding(h, y))


@pytest.mark.parametrize("offset", [30.0, 1000.0])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_common_mean_costs_its_own_digits_and_no_more(offset, dtype):
    # Class means differ by 1 / offset of their size, examples by 1e-4.
    example = draw((6, 11, (2, 4)), 1e-4, dtype, offset)
    with mpmath.workdps(50):
        exact = definitions(*example, digits_50)
    assert_exact(measured(*example), exact, rounding(*example[:2]))


@pytest.mark.parametrize("deviation", [1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8])
@pytest.mark.parametrize("shape", [(3, 3), (4, 3), (10, 9), (10, 30), (20, 19)])
def test_close_to_a_simplex_etf(shape, deviation):
    classes, dim = shape
    rng = np.random.default_rng(classes * dim)
    frame = nc_keras.geometry.simplex_etf(classes, dim, seed=0)
    mu = frame + deviation * rng.normal(size=shape)
    w = 3 * (frame + deviation * rng.normal(size=shape))
    h = mu.repeat(2, axis=0)
    y = np.arange(classes).repeat(2)
    example = h, y, w, np.zeros(classes), np.ones(dim)
    with mpmath.workdps(50):
        exact = definitions(*example, digits_50)
    values = collapse_metrics(h, y, w.T)
    tags = [t for t in values if t.startswith(("nc2", "nc3"))]
    assert all(exact[tag] < 30 * deviation for tag in tags)
    # The frame itself comes rounded to 1e-16: of that, the share left.
    assert_exact(values, exact, 64 * EPSILON / deviation, tags)


def test_float32_features_a_hundred_millionth_from_a_simplex_etf():
    # Zeros of the canonical frame leave room for what 1 + 1e-8 does not.
    rng = np.random.default_rng(0)
    frame = np.eye(8, dtype="float32")
    shifts = np.float32(1e-8 * rng.normal(size=(8, 8)))
    mu, y = np.where(frame > 0, frame, shifts), np.arange(8)
    example = mu, y, mu + shifts.T, np.zeros(8), np.ones(8)
    with mpmath.workdps(50):
        exact = definitions(*example, digits_50)
    values = collapse_metrics(mu, y, (mu + shifts.T).T)
    tags = [t for t in values if t.startswith(("nc2", "nc3"))]
    tags = [t for t in tags if exact[t] > 0]
    assert_exact(values, exact, 64 * EPSILON / 1e-8, tags)


@pytest.mark.parametrize("gap", [1e-2, 1e-4, 1e-6])
def test_two_class_means_that_nearly_coincide(gap):
    # Minority collapse: a direction in which the means hardly differ.
    h, y, w, b, ood = draw((5, 8, (4,)), 1e-4, "float64")
    h[y == 1] = h[y == 0] + gap * w[1]
    with mpmath.workdps(50):
        exact = definitions(h, y, w, b, ood, digits_50)
    values = measured(h, y, w, b, ood)
    assert_exact(values, exact, rounding(h, y))
