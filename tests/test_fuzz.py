"""Whatever is handed over: a result, or an error that says what it was.

Every argument of the public measuring functions is either valid, or valid but
for one change, or something else altogether. `FUZZ_SEED` draws other cases.
"""

import functools
import os
import types
import warnings

import hypothesis
import keras
import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck
from hypothesis import strategies as st

import nc_keras
from nc_keras.metrics import METRICS
from nc_keras.metrics import ClassStatistics
from nc_keras.metrics import CollapseMetric
from nc_keras.metrics import collapse_metrics
from nc_keras.metrics import hulls
from nc_keras.metrics import metrics_from_statistics
from nc_keras.metrics import neco
from nc_keras.metrics import softmax_code

SEED = int(os.environ.get("FUZZ_SEED", 0))
CLASSES, DIM = 4, 3
DTYPES = [
    "float16",
    "float32",
    "longdouble",
    ml_dtypes.bfloat16,
    ml_dtypes.float8_e5m2,
    "int8",
    "uint8",
    "int64",
    "uint64",
    "bool",
    "complex64",
    "object",
    "str",
    "S3",
    "m8[s]",
    "M8[s]",
]
TENSORS = ["float16", "float32", "float64", "bfloat16", "int8", "uint8"]
TENSORS += ["int64", "bool"]
STRANGE = [
    None,
    "",
    "raise",
    "nc1",
    b"bytes",
    True,
    0,
    -1,
    2**70,
    3.5,
    1j,
    float("nan"),
    [],
    {},
    {1, 2},
    object(),
    print,
    range(4),
    [None],
    ["a", "b"],
    [[1.0], [1.0, 2.0]],
    [[1, "a"], [None, 2]],
    np.float64(1.5),
    np.zeros(()),
    np.zeros(0),
    np.zeros((0, DIM)),
    np.zeros((5, 0)),
    np.zeros((2, 2, 2)),
    np.zeros((2, 3, 4, 5)),
    np.zeros(3, [("a", "f4"), ("b", "i4")]),
    np.zeros((6, DIM), "V8"),
    np.array([None, 1.0], object),
    np.array([1, 2**70]),
    np.ma.masked_array([1.0, 2.0], [True, False]),
]


def add_nan(array, at):
    return set_entry(array, at, np.nan)


def add_infinity(array, at):
    return set_entry(array, at, -np.inf)


def set_entry(array, at, value):
    array = np.array(array, "float64")
    if array.size:
        array.flat[at % array.size] = value
    return array


def to_dtype(array, at):
    dtype = DTYPES[at % len(DTYPES)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return np.asarray(array).astype(dtype)
        except TypeError:
            return np.asarray(array).astype("int64").astype(dtype)


CHANGES = [
    add_nan,
    add_infinity,
    to_dtype,
    lambda a, at: a[: at % 4],
    lambda a, at: a[..., : at % 3],
    lambda a, at: np.concatenate([a, a]),
    lambda a, at: a.T,
    lambda a, at: a[None],
    lambda a, at: a[..., None],
    lambda a, at: a.ravel(),
    lambda a, at: a.tolist(),
    lambda a, at: a[::-1],
    lambda a, at: np.asfortranarray(a),
    lambda a, at: a * 0,
    lambda a, at: a * 10.0 ** (at % 600 - 300),
    lambda a, at: a + 10.0 ** (at % 30),
    lambda a, at: a - 5,
    lambda a, at: a + np.int64(2**62),
    lambda a, at: np.ma.masked_array(
        a, np.arange(a.size).reshape(a.shape) == 0
    ),
]


@st.composite
def changed(draw, array):
    """An array; with a change or two; or something else."""
    kind = draw(st.integers(0, 9))
    if kind < 5:
        return array
    if kind == 9:
        return draw(st.sampled_from(STRANGE))
    for _ in range(kind // 8 + 1):
        change = draw(st.sampled_from(CHANGES))
        if isinstance(array, np.ndarray) and array.dtype.kind in "fiu":
            at = draw(st.integers(0, 10**4))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                array = change(array, at)
    return array


def optional(*values):
    """`None` mostly; one of some values; or something strange."""
    return st.one_of(
        st.none(), st.none(), st.sampled_from(values), st.sampled_from(STRANGE)
    )


def scatter_of(draw):
    return draw(st.sampled_from([True, True, True, False]))


@st.composite
def examples(draw):
    """Features and labels that are valid, in several forms."""
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    sizes = draw(
        st.sampled_from(
            [(3, 3, 3, 3), (1, 1, 1, 1), (9, 1, 2, 1), (2, 0, 3, 1)]
        )
    )
    y = rng.permutation(np.repeat(np.arange(CLASSES), sizes))
    h = rng.normal(size=(CLASSES, DIM))[y] + 0.1 * rng.normal(
        size=(len(y), DIM)
    )
    forms = [
        y,
        y.astype("uint8"),
        y[:, None],
        np.eye(CLASSES)[y],
        np.eye(CLASSES, dtype=bool)[y],
        y.tolist(),
    ]
    return h, draw(st.sampled_from(forms)), rng


METRIC_CHOICES = (
    "all",
    "nc1",
    ["nc4", "nc1_cdnv"],
    ("nc5", "vci"),
    {"per_class_accuracy"},
    ["nc6"],
    [["nc1"]],
    np.array(["nc1", "nc3"]),
    (tag for tag in ()),
)


def options(draw, **more):
    """Keyword arguments that measuring functions share."""
    choices = {
        "num_classes": optional(CLASSES, CLASSES, CLASSES + 1, 2, 2000),
        "train_means": st.one_of(
            st.none(), changed(np.arange(CLASSES * DIM * 1.0).reshape(-1, DIM))
        ),
        "missing": st.one_of(
            st.sampled_from(["raise", "skip", "skip"]), st.sampled_from(STRANGE)
        ),
        "metrics": optional(*METRIC_CHOICES),
        "pairs": optional(1, 2, 7, 10**4, 10**15),
    } | more
    names = draw(st.sets(st.sampled_from(sorted(choices)), max_size=4))
    return {name: draw(choices[name]) for name in sorted(names)}


def head(draw, rng):
    kernel = rng.normal(size=(DIM, CLASSES))
    if draw(st.booleans()):
        return draw(changed(kernel)), draw(changed(kernel[0]))
    return kernel, None


def draw_collapse_metrics(draw):
    h, y, rng = draw(examples())
    kernel, bias = head(draw, rng)
    ood = st.one_of(st.none(), changed(rng.normal(size=(5, DIM))))
    arguments = [draw(changed(h)), draw(changed(y)), kernel, bias]
    arguments = arguments[: draw(st.integers(2, 4))]
    keywords = options(draw, ood=ood)
    return lambda: is_values(collapse_metrics(*arguments, **keywords))


def draw_from_features(draw):
    h, y, _ = draw(examples())
    arguments = draw(changed(h)), draw(changed(y))
    classes = draw(optional(CLASSES, 2, 2000))
    scatter = scatter_of(draw)
    return lambda: is_statistics(
        ClassStatistics.from_features(*arguments, classes, scatter)
    )


def valid_statistics(draw, dim=DIM):
    h, y, _ = draw(examples())
    return ClassStatistics.from_features(
        h[:, :dim], y, CLASSES, scatter_of(draw)
    )


def draw_merge(draw):
    one = valid_statistics(draw)
    other = valid_statistics(draw, draw(st.sampled_from([DIM, DIM, 2])))
    if draw(st.booleans()):
        other = draw(st.sampled_from([*STRANGE, ClassStatistics.empty(4, 3)]))
    return lambda: is_statistics(one.merge(other))


def draw_metrics_from_statistics(draw):
    statistics = valid_statistics(draw)
    if draw(st.integers(0, 5)) == 0:
        statistics = draw(st.sampled_from(STRANGE))
    kernel = draw(changed(np.arange(DIM * CLASSES * 1.0).reshape(DIM, -1)))
    missing = options(draw).get("missing", "raise")
    return lambda: is_values(
        metrics_from_statistics(statistics, kernel, missing)
    )


def draw_neco_scores(draw):
    statistics = valid_statistics(draw)
    h, _, rng = draw(examples())
    keywords = {
        "dim": draw(optional(1, 2, DIM, DIM + 1)),
        "standardize": draw(st.booleans()),
    }
    if draw(st.booleans()):
        keywords["logits"] = draw(changed(rng.normal(size=(len(h), CLASSES))))
    if draw(st.integers(0, 9)) == 0:
        statistics = draw(st.sampled_from(STRANGE))
    h = draw(changed(h))

    def call():
        scores = neco.neco_scores(h, statistics, **keywords)
        assert scores.dtype == "float64" and scores.shape == (len(h),)

    return call


def draw_detection(draw):
    scores = [
        draw(changed(np.linspace(-1, 1, draw(st.integers(0, 9)))))
        for _ in range(2)
    ]
    if draw(st.booleans()):
        recall = draw(st.sampled_from([0.95, 1.0, 0.5, 1e-9, *STRANGE]))
        return lambda: is_share(neco.false_positive_rate(*scores, recall))
    return lambda: is_share(neco.auroc(*scores))


@functools.cache
def model():
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((2,)),
            layers.Dense(DIM, activation="tanh"),
            layers.Dense(CLASSES),
        ]
    )
    # Each case has an extractor of its own, which would compile it anew.
    model.run_eagerly = True
    return model


def draw_measure(draw):
    h, y, rng = draw(examples())
    x = h[:, :2].astype("float32")
    # What has no length, or is no tensor, Keras refuses in its own words.
    arguments = [
        model(),
        draw(changed(x).filter(is_numeric).filter(np.ndim)),
        draw(changed(np.asarray(y)).filter(is_array)),
    ]
    if draw(st.integers(0, 5)) == 0:
        batches = [(x[:5], y[:5]), (x[5:], y[5:])]
        arguments[1:] = [draw(st.sampled_from([batches, iter(batches)]))]
    keywords = options(
        draw,
        ood=st.one_of(st.none(), changed(x).filter(is_numeric)),
        mask=st.one_of(
            st.none(), changed(np.arange(len(x)) % 3).filter(is_array)
        ),
        ignore_label=st.sampled_from([None, 0, 1, 99, -1]),
        memory=st.sampled_from([0, -1, 100, 2**31]),
        batch_size=st.sampled_from([1, 5, 256, 0, -1]),
    )
    return lambda: is_values(nc_keras.measure(*arguments, **keywords))


def is_numeric(array):
    # What is no tensor the backend refuses, in words of its own.
    return type(array) is np.ndarray and array.dtype.name in TENSORS


def is_array(array):
    return isinstance(array, np.ndarray) and array.ndim > 0


def draw_collapse_metric(draw):
    metric = CollapseMetric(CLASSES)
    steps = []
    for _ in range(draw(st.integers(1, 3))):
        h, y, _ = draw(examples())
        y = np.asarray(y)
        steps.append([draw(changed(a).filter(is_numeric)) for a in (y, h)])
    kernel = np.arange(DIM * CLASSES * 1.0).reshape(DIM, CLASSES)
    kernel = draw(st.one_of(st.none(), changed(kernel).filter(is_numeric)))

    def call():
        for labels, features in steps:
            metric.update_state(labels, features)
        is_values(metric.result(kernel))

    return call


def draw_softmax_code(draw):
    vectors = np.random.default_rng(draw(st.integers(0, 99))).normal(
        size=(5, 3)
    )
    if draw(st.booleans()):
        rows = draw(changed(vectors))
        return lambda: is_float(softmax_code.one_vs_rest_margin(rows))
    if draw(st.booleans()):
        sizes = [
            draw(st.sampled_from([1, 2, 3, 5, 7, 100, *STRANGE]))
            for _ in range(2)
        ]
        return lambda: is_float(softmax_code.optimal_one_vs_rest_margin(*sizes))
    point, vertices = draw(changed(vectors[0])), draw(changed(vectors[1:]))
    return lambda: is_float(hulls.distance_to_hull(point, vertices))


def is_float(value):
    assert type(value) is float


def is_share(value):
    is_float(value)
    assert 0 <= value <= 1


def is_values(values):
    assert type(values) is dict and values
    for tag, value in values.items():
        assert tag.removesuffix("_standard_error") in METRICS
        if tag.startswith("per_class_"):
            assert value.dtype == "float64" and value.ndim == 1
        else:
            is_float(value)


def is_statistics(statistics):
    assert type(statistics) is ClassStatistics
    assert np.isfinite(statistics.means).all()
    assert not (statistics.squares < 0).any()
    assert (statistics.counts >= 0).all()
    assert statistics.counts.dtype == "int64"


def received(error):
    """Whether an error says what it was about."""
    return isinstance(error, ValueError | TypeError) and "eceived" in str(error)


def run(target, cases):
    """Draws cases of one function, and judges what comes of each."""
    counts = types.SimpleNamespace(results=0, errors=0)

    @hypothesis.seed(SEED)
    @hypothesis.settings(
        max_examples=cases,
        deadline=None,
        database=None,
        report_multiple_bugs=True,
        suppress_health_check=list(HealthCheck),
    )
    @hypothesis.given(st.data())
    def test(data):
        call = TARGETS[target](data.draw)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            # Of Keras' own variables, as in pyproject.toml.
            warnings.filterwarnings("ignore", "__array__ implementation")
            try:
                call()
                counts.results += 1
            except (ValueError, TypeError) as error:
                if not received(error):
                    raise
                counts.errors += 1

    test()
    return counts


TARGETS = {
    "collapse_metrics": draw_collapse_metrics,
    "from_features": draw_from_features,
    "merge": draw_merge,
    "metrics_from_statistics": draw_metrics_from_statistics,
    "neco_scores": draw_neco_scores,
    "detection": draw_detection,
    "softmax_code": draw_softmax_code,
    "measure": draw_measure,
    "CollapseMetric": draw_collapse_metric,
}


@pytest.mark.parametrize("target", TARGETS)
def test_a_result_or_a_clear_error(target):
    counts = run(target, 15)
    assert counts.results and counts.errors


H = np.arange(24.0).reshape(8, DIM) ** 1.5
Y = np.arange(8) % CLASSES
STATISTICS = ClassStatistics.from_features(H, Y)
# What such cases have found: errors of NumPy's, endless loops, no memory.
FOUND = {
    "metrics of a wrong type": lambda: collapse_metrics(H, Y, metrics=3),
    "a list as a tag": lambda: collapse_metrics(H, Y, metrics=[["nc1"]]),
    "missing is an array": lambda: collapse_metrics(H, Y, missing=H),
    "no pairs": lambda: collapse_metrics(H, Y, pairs=0),
    "half a pair": lambda: collapse_metrics(H, Y, pairs=2.5),
    "very many classes": lambda: collapse_metrics(H, Y, num_classes=2**70),
    "classes are an array": lambda: collapse_metrics(
        H, np.eye(CLASSES)[Y], num_classes=H
    ),
    "structured features": lambda: collapse_metrics(
        np.zeros((8, DIM), [("a", "f4")]), Y
    ),
    "labels without a column": lambda: collapse_metrics(H, np.zeros((8, 0))),
    "ragged labels": lambda: collapse_metrics(H, [[1], [1, 2]]),
    "complex head": lambda: collapse_metrics(H, Y, np.ones((DIM, 4)) * 1j),
    "train means of a wrong type": lambda: collapse_metrics(
        H, Y, train_means={}
    ),
    "not statistics": lambda: metrics_from_statistics(H),
    "merge with an array": lambda: STATISTICS.merge(H),
    "scores of NaN": lambda: neco.neco_scores(H * np.nan, STATISTICS),
    "logits of one axis": lambda: neco.neco_scores(
        H, STATISTICS, logits=H[:, 0]
    ),
    "part of a dimension": lambda: neco.neco_scores(H, STATISTICS, dim=1.5),
    "recall is a string": lambda: neco.false_positive_rate(H, H, "0.95"),
    "scores are a set": lambda: neco.auroc({1.0}, H),
    "one vector": lambda: softmax_code.one_vs_rest_margin(H[:1]),
    "vectors of one axis": lambda: softmax_code.one_vs_rest_margin(H[0]),
    "no dimension": lambda: softmax_code.optimal_one_vs_rest_margin(3, 0),
    "a point elsewhere": lambda: hulls.distance_to_hull(H[0], H.T),
    "a point at infinity": lambda: hulls.distance_to_hull(H[0] + np.inf, H),
}


@pytest.mark.parametrize("case", FOUND)
def test_what_was_found(case):
    with pytest.raises(ValueError, match="eceived: "):
        FOUND[case]()


def test_more_random_pairs_than_there_are_are_all_of_them():
    tags = ["nc1_cdnv", "gnc2_log"]
    exact = collapse_metrics(H, Y, metrics=tags)
    values = collapse_metrics(H, Y, metrics=tags, pairs=10**15)
    assert values == exact | {f"{tag}_standard_error": 0.0 for tag in tags}


@pytest.mark.parametrize("scale", [1e-290, 1.0, 1e150])
def test_distance_to_a_hull_of_any_size(scale):
    square = scale * np.array([[0.0, 1.0], [1.0, 0.0]])
    distance = hulls.distance_to_hull(np.zeros(2), square)
    np.testing.assert_allclose(distance / scale, 0.5**0.5)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int8", "uint16", "int64"])
@pytest.mark.parametrize("one_hot", [True, False])
def test_labels_of_any_dtype_on_the_device(dtype, one_hot):
    if dtype == "uint16" and keras.backend.backend() == "torch":
        pytest.skip("torch compares no uint16")
    y = np.arange(8) % 2
    labels = (np.eye(2)[y] if one_hot else y).astype(dtype)
    metric = CollapseMetric(2)
    metric.update_state(labels, H)
    expected = ClassStatistics.from_features(H, y)
    np.testing.assert_array_equal(metric.statistics().counts, expected.counts)
    np.testing.assert_allclose(metric.statistics().means, expected.means, 1e-6)


@pytest.mark.fuzz
@pytest.mark.parametrize("target", TARGETS)
def test_a_result_or_a_clear_error_ten_thousand_times(target):
    counts = run(target, -(-10_000 // len(TARGETS)))
    print(f"seed {SEED}, {target}: {counts}")
    assert counts.results > 100 < counts.errors
