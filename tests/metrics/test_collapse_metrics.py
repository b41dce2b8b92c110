import numpy as np
import pytest
from scenarios import SCENARIOS
from scenarios import assert_close
from scenarios import draw
from scenarios import textbook

import nc_keras
from nc_keras.metrics import NonFiniteError
from nc_keras.metrics import collapse_metrics


@pytest.mark.parametrize("name", SCENARIOS)
def test_golden_values(name):
    scenario = SCENARIOS[name]
    h, y, kernel, bias = draw(name)
    np.testing.assert_array_equal(
        h[0, :3], np.float32(scenario["first_feature"])
    )
    np.testing.assert_array_equal(y[:8], scenario["labels_head"])
    values = collapse_metrics(h, y, kernel, bias)
    assert set(values) == set(scenario["metrics"])
    assert_close(values, scenario["metrics"], rtol=1e-10, atol=1e-12)


def test_textbook_formulas_on_real_images(digits, rng):
    x, y = digits
    h = x.reshape(len(x), -1) + 3.0
    kernel, bias = rng.normal(size=(64, 10)), rng.normal(size=10)
    assert_close(
        collapse_metrics(h, y, kernel, bias), textbook(h, y, kernel, bias), 1e-8
    )


def test_a_collapsed_last_layer_is_zero_everywhere():
    frame = nc_keras.geometry.simplex_etf(3, 5, seed=0)
    values = collapse_metrics(
        np.repeat(frame, 10, axis=0), np.repeat(np.arange(3), 10), frame.T
    )
    for tag, value in values.items():
        expected = 1.0 if tag == "accuracy" else 0.0
        np.testing.assert_allclose(value, expected, atol=1e-7, err_msg=tag)


def invariant(changed, tags=None, rtol=1e-8):
    h, y, kernel, bias = draw("imbalanced")
    h = h.astype("float64")
    before = collapse_metrics(h, y, kernel, bias)
    after = collapse_metrics(*changed(h, y, kernel, bias))
    for tag in tags or before:
        np.testing.assert_allclose(
            after[tag], before[tag], rtol=rtol, atol=1e-12, err_msg=tag
        )


def test_does_not_change_with_the_order_of_examples(rng):
    order = rng.permutation(1070)
    invariant(lambda h, y, w, b: (h[order], y[order], w, b), rtol=1e-12)


def test_does_not_change_with_the_order_of_classes(rng):
    order = rng.permutation(10)
    rank = np.argsort(order)
    invariant(lambda h, y, w, b: (h, rank[y], w[:, order], b[order]))


def test_does_not_change_when_all_data_are_duplicated():
    invariant(lambda h, y, w, b: (np.tile(h, (3, 1)), np.tile(y, 3), w, b))


def test_does_not_change_under_rotation_and_scale(rng):
    q, _ = np.linalg.qr(rng.normal(size=(64, 64)))
    invariant(
        lambda h, y, w, b: (7 * h @ q, y, q.T @ w / 7, b),
        [t for t in SCENARIOS["imbalanced"]["metrics"] if t != "nc0"],
    )


def test_does_not_change_under_translation():
    tags = [
        t for t in SCENARIOS["balanced"]["metrics"] if "nc1" in t or "nc2" in t
    ]
    invariant(lambda h, y, w, b: (h + 100, y, w, b), tags)


def test_one_hot_labels_and_other_dtypes():
    h, y, kernel, bias = draw("balanced")
    expected = collapse_metrics(h, y, kernel, bias)
    one_hot = collapse_metrics(h, np.eye(10)[y], kernel, bias)
    column = collapse_metrics(h, y[:, None].astype("uint8"), kernel, bias)
    assert one_hot == expected == column


def test_half_precision_features_are_cast_up():
    h, y, kernel, bias = draw("balanced")
    half = h.astype("float16")
    assert collapse_metrics(half, y, kernel, bias) == collapse_metrics(
        half.astype("float64"), y, kernel, bias
    )


def test_without_a_head_only_features_are_measured():
    h, y, kernel, _ = draw("balanced")
    alone, whole = collapse_metrics(h, y), collapse_metrics(h, y, kernel)
    assert set(alone) < set(whole)
    assert all(alone[tag] == whole[tag] for tag in alone)
    assert not any(
        "weights" in t or t in ("nc3", "nc4", "nc0", "accuracy") for t in alone
    )


def test_the_bias_takes_part_in_the_decision():
    h, y, kernel, _ = draw("balanced")
    favour = 1e6 * (np.arange(10) == 3)
    values = collapse_metrics(h, y, kernel, favour)
    assert values["accuracy"] == np.mean(y == 3)


def test_train_means_serve_nc4_and_the_rest_is_the_test_sets_own(rng):
    h, y, kernel, bias = draw("balanced")
    shuffled = rng.permutation(10)
    means = np.array([h[y == c].mean(0) for c in shuffled])
    values = collapse_metrics(h, y, kernel, bias, train_means=means)
    own = collapse_metrics(h, y, kernel, bias)
    nearest = np.argmin(((h[:, None] - means) ** 2).sum(-1), axis=1)
    decided = np.argmax(h @ kernel + bias, axis=1)
    assert values["nc4"] == np.mean(nearest != decided) != own["nc4"]
    assert values["ncc_accuracy"] == np.mean(nearest == y)
    assert all(values[t] == own[t] for t in own if t != "nc4")


def test_many_classes_take_the_sorting_path():
    counts = [3] * 300
    rng = np.random.default_rng(0)
    y = rng.permutation(np.repeat(np.arange(300), counts))
    h = rng.normal(size=(300, 20))[y] + 0.1 * rng.normal(size=(900, 20))
    values = collapse_metrics(h, y)
    kernel, bias = np.ones((20, 300)), np.zeros(300)
    expected = textbook(h, y, kernel, bias)
    assert_close(values, {t: expected[t] for t in values}, 1e-9)


def test_dead_directions_of_the_means_do_not_count(rng):
    # ReLU units that never fire: the means then have rank 4, not 9.
    h, y, _, _ = draw("balanced")
    dead = np.concatenate([h[:, :4], np.zeros((len(h), 60))], axis=1)
    assert_close(
        collapse_metrics(dead, y),
        {"nc1": collapse_metrics(h[:, :4], y)["nc1"]},
        1e-9,
    )


def test_equal_class_means_give_nan_or_infinity_not_a_number():
    h = np.array([[0.0, 1.0], [2.0, 1.0]] * 2)
    values = collapse_metrics(h, [0, 0, 1, 1])
    assert np.isnan(values["nc1"])
    assert values["nc1_trace_ratio"] == np.inf
    assert np.isnan(values["nc2_equinorm_means"])


@pytest.mark.parametrize("eps", [1e-3, 1e-6, 1e-9])
def test_two_means_close_to_each_other(eps):
    means = np.array([[0.0, 0], [eps, 0], [1, 0], [0, 1]])
    spread = 1e-3 * eps * np.array([[1.0, 0], [-1, 0]])
    h = (means[:, None] + spread).reshape(-1, 2)
    y = np.repeat(np.arange(4), 2)
    value = collapse_metrics(h, y)["nc1_cdnv"]
    # The close pair, counted in both orders, outweighs all others.
    np.testing.assert_allclose(value, 2 * 1e-6 / 12, rtol=1e-5)


def test_missing_classes_are_named_or_skipped_on_request():
    h, y, kernel, bias = draw("balanced")
    keep = (y != 3) & (y != 7)
    with pytest.raises(ValueError, match="no example of 2 of 10 classes: 3, 7"):
        collapse_metrics(h[keep], y[keep], kernel, bias)
    values = collapse_metrics(h[keep], y[keep], kernel, bias, missing="skip")
    present = [c for c in range(10) if c not in (3, 7)]
    rank = np.cumsum(np.isin(np.arange(10), present)) - 1
    expected = textbook(
        h[keep], rank[y[keep]], kernel[:, present], bias[present]
    )
    for tag in ("nc4", "accuracy"):
        expected.pop(tag)  # the head may still decide for an absent class
    # What is measured on the head alone keeps all its classes.
    whole = collapse_metrics(h, y, kernel, bias)
    for tag in whole:
        if tag == "nc0" or tag.endswith("_weights"):
            expected[tag] = whole[tag]
    assert_close(values, expected, 1e-9)
    decided = np.argmax(h[keep] @ kernel + bias, axis=1)
    assert values["accuracy"] == np.mean(decided == y[keep])
    with pytest.raises(ValueError, match='must be "raise" or "skip"'):
        collapse_metrics(h, y, missing="drop")
    with pytest.raises(ValueError, match="no example of 9 of 10"):
        collapse_metrics(h[y == 0], y[y == 0], kernel, missing="skip")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("classes", [10, 300])
def test_non_finite_features_are_counted_and_named(value, classes):
    h, y, _, _ = draw("balanced")
    h[[5, 17], 3] = value
    with pytest.raises(
        NonFiniteError, match="2 of 1000 examples, first in example 5"
    ):
        collapse_metrics(h, y, num_classes=classes)


def test_non_finite_head():
    h, y, kernel, bias = draw("balanced")
    kernel[0, 0] = np.nan
    with pytest.raises(NonFiniteError, match="kernel.*1 of 640 entries"):
        collapse_metrics(h, y, kernel, bias)
    with pytest.raises(NonFiniteError, match="bias.*10 of 10 entries"):
        collapse_metrics(h, y, np.ones((64, 10)), np.full(10, np.inf))


BAD_LABELS = {
    "too large": (lambda y: np.where(y == 0, 12, y), "label 12 at index"),
    "negative": (lambda y: np.where(y == 0, -1, y), "label -1 at index"),
    "float": (lambda y: y.astype("float32"), "labels of dtype float32"),
    "one-hot too narrow": (
        lambda y: np.eye(10)[y][:, :9],
        r"labels of shape \(1000, 9\)",
    ),
    "one-hot with two ones": (
        lambda y: np.eye(10)[y] + np.eye(10)[(y + 1) % 10],
        "1000 such rows",
    ),
    "one-hot of fractions": (lambda y: np.eye(10)[y] * 0.5, "single 1"),
    "too few": (lambda y: y[:-1], "1000 features and 999 labels"),
    "none": (lambda y: y[:0], r"shape \(0,\)"),
    "three axes": (lambda y: y[:, None, None], r"shape \(1000, 1, 1\)"),
}


@pytest.mark.parametrize("kind", BAD_LABELS)
def test_bad_labels(kind):
    change, message = BAD_LABELS[kind]
    h, y, kernel, bias = draw("balanced")
    with pytest.raises(ValueError, match=message):
        collapse_metrics(h, change(y), kernel, bias)


def test_bad_shapes():
    h, y, kernel, bias = draw("balanced")
    with pytest.raises(ValueError, match="pass the transpose"):
        collapse_metrics(h, y, kernel.T[:, :64], num_classes=10)
    with pytest.raises(ValueError, match=r"`kernel`.*\(640,\)"):
        collapse_metrics(h, y, kernel.ravel())
    with pytest.raises(ValueError, match=r"`bias`.*\(9,\)"):
        collapse_metrics(h, y, kernel, bias[:9])
    with pytest.raises(ValueError, match=r"shape \(1000, 8, 8\)"):
        collapse_metrics(h.reshape(1000, 8, 8), y)
    with pytest.raises(ValueError, match=r"shape \(0, 64\)"):
        collapse_metrics(h[:0], y)
    with pytest.raises(ValueError, match="train_means.*shape"):
        collapse_metrics(h, y, kernel, train_means=np.zeros((10, 3)))
    means = np.ones((10, 64))
    means[3, 5] = np.nan
    with pytest.raises(NonFiniteError, match="1 rows that are not finite"):
        collapse_metrics(h, y, kernel, train_means=means)
    with pytest.raises(NonFiniteError, match="10 rows"):
        collapse_metrics(h, y, kernel, train_means=means * np.nan)
    with pytest.raises(ValueError, match="dtype complex"):
        collapse_metrics(h * 1j, y)
    with pytest.raises(ValueError, match="Received: num_classes=1"):
        collapse_metrics(h, np.zeros(1000, int))


def test_a_metric_of_ones_own_is_one_function(monkeypatch):
    metrics = dict(nc_keras.metrics.METRICS)
    monkeypatch.setattr("nc_keras.measuring.registry.METRICS", metrics)

    @nc_keras.metrics.metric("largest_norm", "kernel")
    def largest_norm(layer):
        return layer.xp.max(layer.xp.sum(layer.kernel**2, axis=1)) ** 0.5

    h, y, kernel, _ = draw("balanced")
    value = collapse_metrics(h, y, kernel)["largest_norm"]
    np.testing.assert_allclose(value, np.linalg.norm(kernel, axis=0).max())
    assert "largest_norm" not in collapse_metrics(h, y)
