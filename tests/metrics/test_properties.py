"""What holds of the metrics for any data, on data that hypothesis draws."""

import dataclasses
import functools

import numpy as np
import pytest
from hypothesis import HealthCheck
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from nc_keras.measuring import passes
from nc_keras.measuring.class_statistics import Accumulator
from nc_keras.measuring.validation import validate_head
from nc_keras.metrics import METRICS
from nc_keras.metrics import ClassStatistics
from nc_keras.metrics import collapse_metrics
from nc_keras.metrics import metrics_from_statistics

OF_FEATURES = {
    "nc1",
    "nc1_trace_ratio",
    "nc1_cdnv",
    "nc2_equinorm_means",
    "nc2_equiangular_means",
    "nc2_max_angle_means",
    "nc2_etf_means",
    "gnc2_log",
    "gnc2_riesz",
}
OF_EXAMPLES = {"nc4", "accuracy", "per_class_accuracy"}
MORE = ["gnc2_log", "gnc2_riesz", "unc3_cosine", "unc3_distance", "vci"]
PER_CLASS = ["per_class_variance", "per_class_duality", "per_class_accuracy"]
properties = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)


@dataclasses.dataclass
class Data:
    """Features `(N, D)`, labels, kernel `(D, C)` and bias, in float64."""

    h: np.ndarray
    y: np.ndarray
    kernel: np.ndarray
    bias: np.ndarray
    rng: np.random.Generator

    @property
    def classes(self):
        return self.kernel.shape[1]

    @property
    def dim(self):
        return self.kernel.shape[0]

    def values(self, **changes):
        """All metrics that are compared, of these data with some changes."""
        given = {n: getattr(self, n) for n in ("h", "y", "kernel", "bias")}
        arguments = tuple((given | changes).values())
        values = collapse_metrics(*arguments)
        more = collapse_metrics(*arguments, metrics=MORE + PER_CLASS)
        return values | more


@st.composite
def data(draw):
    """Classes of any sizes in any dimension, around means in any position."""
    classes, dim = draw(st.integers(3, 9)), draw(st.integers(2, 12))
    sizes = draw(
        st.lists(st.integers(1, 12), min_size=classes, max_size=classes)
    )
    spread = 10.0 ** draw(st.integers(-6, 0))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    y = rng.permutation(np.repeat(np.arange(classes), sizes))
    mu = rng.normal(size=(classes, dim)) + draw(st.sampled_from([0, 1, 10]))
    h = mu[y] + spread * rng.normal(size=(len(y), dim))
    kernel = (mu - mu.mean(0) + 0.3 * rng.normal(size=mu.shape)).T
    return Data(h, y, kernel, rng.normal(size=classes), rng)


def same(values, expected, tags=None, rtol=1e-7):
    """Asserts equality up to the rounding of data that are not exact."""
    for tag in tags or expected:
        np.testing.assert_allclose(
            values[tag], expected[tag], rtol, 1e-10, err_msg=tag
        )


def rotation(dim, rng):
    return np.linalg.qr(rng.normal(size=(dim, dim)))[0]


@properties
@given(data())
def test_rotation_of_features_and_head(d):
    q = rotation(d.dim, d.rng)
    same(d.values(h=d.h @ q, kernel=q.T @ d.kernel), d.values())


@properties
@given(data(), st.sampled_from([1e-8, 0.03, 7.0, 1e8]))
def test_scale_of_features_and_scale_of_head(d, scale):
    expected = d.values()
    tags = set(expected) - {"per_class_variance"}
    changed = d.values(h=scale * d.h, bias=scale * d.bias)
    same(changed, expected, tags)
    variances = changed["per_class_variance"] / scale**2
    np.testing.assert_allclose(variances, expected["per_class_variance"])
    changed = d.values(kernel=scale * d.kernel, bias=scale * d.bias)
    same(changed, expected, set(expected) - {"nc0"})
    np.testing.assert_allclose(changed["nc0"], scale * expected["nc0"])


@properties
@given(data(), st.sampled_from([0.1, 5.0, 100.0]))
def test_translation_of_features(d, length):
    shift = length * d.rng.normal(size=d.dim)
    # The bias takes back what the head makes of the shift.
    changed = d.values(h=d.h + shift, bias=d.bias - shift @ d.kernel)
    same(changed, d.values(), rtol=1e-5)


@properties
@given(data())
def test_features_alone_know_nothing_of_the_head(d):
    other = d.rng.normal(size=d.kernel.shape)
    same(d.values(kernel=other), d.values(), OF_FEATURES, rtol=0)


@properties
@given(data())
def test_permutation_of_classes_and_of_examples(d):
    order = d.rng.permutation(d.classes)
    shuffled = d.rng.permutation(len(d.y))
    changed = d.values(
        h=d.h[shuffled],
        y=np.argsort(order)[d.y[shuffled]],
        kernel=d.kernel[:, order],
        bias=d.bias[order],
    )
    expected = d.values()
    for tag in PER_CLASS:
        expected[tag] = expected[tag][order]
    same(changed, expected)


@properties
@given(data(), st.integers(2, 5))
def test_duplicated_data(d, times):
    same(
        d.values(h=np.tile(d.h, (times, 1)), y=np.tile(d.y, times)), d.values()
    )


@properties
@given(data(), st.data())
def test_any_splitting_and_any_tree_of_merges(d, choices):
    cuts = choices.draw(
        st.lists(st.integers(0, len(d.y)), max_size=8).map(sorted)
    )
    parts = [
        ClassStatistics.from_features(h, y, d.classes)
        for h, y in zip(np.split(d.h, cuts), np.split(d.y, cuts), strict=True)
        if len(y)
    ]
    parts.append(ClassStatistics.empty(d.classes, d.dim))
    while len(parts) > 1:
        first = parts.pop(choices.draw(st.integers(0, len(parts) - 1)))
        second = parts.pop(choices.draw(st.integers(0, len(parts) - 1)))
        parts.append(first.merge(second))
    whole = ClassStatistics.from_features(d.h, d.y)
    np.testing.assert_array_equal(parts[0].counts, whole.counts)
    np.testing.assert_allclose(parts[0].means, whole.means, 1e-12, 1e-13)
    same(
        metrics_from_statistics(parts[0], d.kernel),
        metrics_from_statistics(whole, d.kernel),
    )


class Batches:
    """A source of batches of which so many bytes stay in memory."""

    def __init__(self, h, y, size, memory):
        self.kept = True
        self.repeats = True
        self.passes = 0
        self._all = [
            (h[i : i + size], y[i : i + size]) for i in range(0, len(y), size)
        ]
        self._memory = memory
        self._stored = []

    def __iter__(self):
        self.passes += 1
        for batch in self._all:
            if self.kept:
                self._stored.append(batch)
                bytes_so_far = sum(
                    features.nbytes for features, _ in self._stored
                )
                self.kept = bytes_so_far <= self._memory
            yield batch

    def release(self):
        stored, self._stored = self._stored, []
        self.kept = False
        return stored


@properties
@given(
    data(),
    st.integers(1, 60),
    st.sampled_from([0, 500, 2000, 10**9]),
    st.sampled_from(["integers", "column", "one-hot"]),
)
@pytest.mark.parametrize("tags", ["all", ["nc1", "vci"], ["nc1", "accuracy"]])
def test_memory_batches_and_statistics_agree(tags, d, size, memory, form):
    labels = {"integers": d.y, "column": d.y[:, None]}
    labels["one-hot"] = np.eye(d.classes, dtype=bool)[d.y]
    source = Batches(d.h, labels[form], size, memory)
    head = validate_head(d.kernel, d.bias)
    measured = passes.measured(source, *head, d.classes, metrics=tags).values()
    expected = collapse_metrics(d.h, d.y, d.kernel, d.bias, metrics=tags)
    assert set(measured) == set(expected)
    tags = set(expected) - OF_EXAMPLES
    same(measured, expected, tags)
    for tag in set(expected) & OF_EXAMPLES:
        np.testing.assert_array_equal(measured[tag], expected[tag])
    statistics = ClassStatistics.from_features(d.h, d.y)
    alone = metrics_from_statistics(statistics, d.kernel)
    same(alone, expected, set(alone) & set(expected))


@properties
@given(data(), st.integers(1, 30))
def test_only_nc1_needs_one_pass_over_features_that_do_not_fit(d, size):
    source = Batches(d.h, d.y, size, memory=0)
    value = passes.measured(source, metrics="nc1").values()["nc1"]
    assert source.passes == 1
    np.testing.assert_allclose(
        value, collapse_metrics(d.h, d.y)["nc1"], rtol=1e-7
    )


@properties
@given(data(), st.lists(st.integers(1, 7), min_size=1, max_size=6))
def test_blocks_of_any_size_give_the_same_statistics(d, sizes):
    gathered, start = Accumulator(d.classes, scatter=True), 0
    while start < len(d.y):
        for size in sizes:
            rows = slice(start, start + size)
            if len(d.y[rows]):
                gathered.update(d.h[rows], d.y[rows])
            start += size
    one, other = gathered.statistics(), ClassStatistics.from_features(d.h, d.y)
    for name in ("means", "squares", "scatter"):
        a, b = getattr(one, name), getattr(other, name)
        scale = np.max(np.abs(b)) + 1e-300
        np.testing.assert_allclose(a / scale, b / scale, 1e-10, 1e-13)


def constant(d):
    d.h[:] = d.h[0]


def one_class_constant(d):
    d.h[d.y == 1] = d.h[d.y == 1][:1]


def equal_means(d):
    for c in range(d.classes):
        d.h[d.y == c] -= d.h[d.y == c].mean(0)


def zero(d):
    d.h[:] = 0.0


def single_examples(d):
    _, first = np.unique(d.y, return_index=True)
    d.h, d.y = d.h[first], d.y[first]


def huge_offset(d):
    d.h += 1e9


def tiny(d):
    d.h *= 1e-150


def huge(d):
    d.h *= 1e150


def dead_directions(d):
    d.h[:, d.dim // 2 :] = 0.0


def float32_of_a_collapsed_class(d):
    d.h = (d.h[0] + 1e-7 * d.h).astype("float32")


ADVERSARIES = [
    constant,
    one_class_constant,
    equal_means,
    zero,
    single_examples,
    huge_offset,
    tiny,
    huge,
    dead_directions,
    float32_of_a_collapsed_class,
]


@properties
@given(data())
@pytest.mark.parametrize("adversary", ADVERSARIES)
def test_what_cannot_be_negative_is_not(adversary, d):
    adversary(d)
    statistics = ClassStatistics.from_features(d.h, d.y)
    halves = [
        ClassStatistics.from_features(d.h[rows], d.y[rows], d.classes)
        for rows in (slice(1), slice(1, None))
    ]
    assert (statistics.squares >= 0).all()
    merged = functools.reduce(ClassStatistics.merge, halves)
    streamed = passes.measured(Batches(d.h, d.y, 3, 0), metrics="nc1")
    for values in (
        collapse_metrics(d.h, d.y, d.kernel, d.bias),
        metrics_from_statistics(statistics, d.kernel),
        metrics_from_statistics(merged, d.kernel),
        streamed.values(),
    ):
        for tag, value in values.items():
            # NaN is the value of 0 / 0, and no comparison holds of it.
            assert not value < 0, f"{tag} is {value}"


@pytest.mark.parametrize("tile", [2, 3, 1024])
def test_infinity_is_not_lost_among_the_tiles(tile, monkeypatch, rng):
    monkeypatch.setattr("nc_keras.measuring.pairs.TILE", tile)
    h, y = rng.normal(size=(14, 3)), np.arange(14) // 2
    h[:2] = h[6:8]
    values = collapse_metrics(h, y, metrics=["nc1_cdnv", "nc1_cdnv_quartic"])
    assert set(values.values()) == {np.inf}


@pytest.mark.parametrize(
    "size", [-1022, -700, -533, -500, -340, -100, 100, 340, 500, 533, 700, 1000]
)
@pytest.mark.parametrize("what", ["features", "head", "both"])
def test_a_power_of_two_changes_nothing(what, size, rng):
    # Beyond 2^512 and below 2^-512 float64 has no squares.
    y = np.arange(60) % 3
    means = rng.normal(size=(3, 4))
    h = means[y] + 0.1 * rng.normal(size=(60, 4))
    w, b = rng.normal(size=(4, 3)), 0.01 * rng.normal(size=3)
    features = size if what != "head" else 0
    head = size if what != "features" else 0
    options = {"metrics": "all"}
    small, outer = np.ldexp(h, features), np.ldexp(means, features)
    # The bias goes with the outputs, where a float can.
    b = b if abs(features + head) < 1000 else np.zeros(3)
    expected = collapse_metrics(
        h, y, w, b, train_means=means, ood=h[:5], **options
    )
    values = collapse_metrics(
        small,
        y,
        np.ldexp(w, head),
        np.ldexp(b, features + head),
        train_means=outer,
        ood=small[:5],
        **options,
    )
    assert values.keys() == expected.keys()
    for tag, value in values.items():
        power = np.dot(METRICS[tag].degrees, (features, head))
        with np.errstate(over="ignore", under="ignore"):
            exact = np.ldexp(expected[tag], int(power))
        np.testing.assert_allclose(value, exact, rtol=1e-10, err_msg=tag)


def test_the_bias_decides_where_products_are_too_small(rng):
    h, y = rng.normal(size=(30, 4)), np.arange(30) % 3
    w, b = rng.normal(size=(4, 3)), np.array([0.0, 1e-3, -1.0])
    values = collapse_metrics(h * 1e-200, y, w * 1e-150, b)
    assert values["accuracy"] == np.mean(y == 1)
    values = collapse_metrics(h * 1e200, y, w * 1e150, b)
    assert values["accuracy"] == np.mean(np.argmax(h @ w, axis=1) == y)


@pytest.mark.parametrize("size", [1e-200, 1e200])
def test_statistics_whose_squares_are_lost_are_refused(size, rng):
    h, y = size * rng.normal(size=(30, 4)), np.arange(30) % 3
    statistics = ClassStatistics.from_features(h, y)
    with pytest.raises(ValueError, match="squares|finite"):
        metrics_from_statistics(statistics)
