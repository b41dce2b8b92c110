"""Metrics of classes of unequal size, beside theory and counting by hand."""

import itertools

import keras
import numpy as np
import pytest

import nc_keras
from nc_keras import theory
from nc_keras.callbacks.class_picture import cosine_picture
from nc_keras.callbacks.class_picture import logit_picture
from nc_keras.callbacks.geometry_pictures import pictures
from nc_keras.metrics import METRICS
from nc_keras.metrics import class_groups
from nc_keras.metrics import collapse_metrics

TAGS = [tag for tag, one in METRICS.items() if one.group == "Imbalance"]
COUNTS = [140, 20, 140, 20, 140, 20]


def minimum(counts=COUNTS, share=0.8, weight_decay=5e-3):
    """Features at the minimum of their model, and its head and decay."""
    decay = share * min(counts) ** 0.5 / sum(counts)
    best = theory.unconstrained_features.cross_entropy(
        len(counts), counts, weight_decay, decay**2 / weight_decay
    )
    labels = np.repeat(np.arange(len(counts)), counts)
    return best.features[labels], labels, best, decay


@pytest.fixture
def unequal(digits, rng):
    """Pixels of digits, many of some; a head, and all digits as test set."""
    x, y = digits
    h = x.reshape(len(x), -1).astype("float64")
    kept = np.concatenate(
        [np.flatnonzero(y == c)[: (150, 7, 60)[c % 3]] for c in range(10)]
    )
    means = np.array([h[y == c].mean(0) for c in range(10)])
    w = means - means.mean(0) + 0.5 * rng.normal(size=means.shape)
    return h[kept], y[kept], w.T, (h, y)


@pytest.mark.parametrize("share", [0.4, 0.8, 1.2])
def test_unconstrained_features_are_at_no_distance_of_theirs(share):
    h, y, best, decay = minimum(share=share)
    values = collapse_metrics(h, y, best.weights.T, metrics="all")
    assert values["ufm_decay"] == pytest.approx(decay, rel=1e-9)
    # The program is solved once more, at a decay that differs in rounding.
    assert values["ufm_weights"] < 1e-6
    assert values["ufm_means"] < 1e-6
    expected = best.weight_cosines
    names = ("majority", "across", "minority")
    for name, (i, j) in zip(names, [(0, 0), (0, 1), (1, 1)], strict=True):
        found = values[f"cosine_{name}_weights"]
        assert found == pytest.approx(expected[i, j], abs=1e-9)
    if share > 1:
        assert values["cosine_minority_weights"] == pytest.approx(1.0)


def test_distance_grows_away_from_the_minimum(rng):
    h, y, best, _ = minimum()
    for part in ("weights", "means"):
        found = []
        for size in (0.0, 0.02, 0.2):
            head, moved = best.weights, h
            if part == "weights":
                head = head + size * rng.normal(size=head.shape)
            else:
                moved = h + size * rng.normal(size=best.features.shape)[y]
            values = collapse_metrics(moved, y, head.T, metrics="all")
            found.append(values[f"ufm_{part}"])
        assert found == sorted(found) and found[1] > 1e-4


def test_seli_is_at_no_distance_of_itself():
    best = theory.seli(COUNTS)
    for of, gram in (("weights", best.weight_gram), ("means", best.mean_gram)):
        values, vectors = np.linalg.eigh(gram)
        rows = vectors * np.sqrt(np.maximum(values, 0.0))
        y = np.repeat(np.arange(len(COUNTS)), COUNTS)
        found = collapse_metrics(3 * rows[y] + 1.0, y, rows.T, metrics="all")
        assert found[f"seli_{of}"] < 1e-9
    assert found["seli_weights"] > 0.1  # The head's are not the means'.


def test_nearest_etf_is_that_of_theory(unequal):
    h, y, kernel, _ = unequal
    values = collapse_metrics(h, y, kernel, metrics="all")
    means = np.array([h[y == c].mean(0) for c in range(10)])
    for of, rows in (("means", means), ("weights", kernel.T)):
        expected = theory.nearest_etf(rows).distance
        found = values[f"nc2_nearest_etf_{of}"]
        assert found == pytest.approx(expected, rel=1e-9)
    frame = nc_keras.geometry.simplex_etf(10, 64, seed=1)
    values = collapse_metrics(5 * frame[y] + 2.0, y, frame.T, metrics="all")
    assert values["nc2_nearest_etf_means"] < 1e-20
    assert values["nc2_nearest_etf_weights"] < 1e-20


def test_nearest_etf_of_fewer_dimensions_than_it_has(rng):
    h, y = rng.normal(size=(50, 3)), np.arange(50) % 10
    found = collapse_metrics(h, y, metrics="nc2_nearest_etf_means")
    means = np.array([h[y == c].mean(0) for c in range(10)])
    padded = np.pad(means, ((0, 0), (0, 7)))
    expected = theory.nearest_etf(padded).distance
    assert found["nc2_nearest_etf_means"] == pytest.approx(expected)


def test_cosines_slopes_and_spreads_by_hand(unequal):
    h, y, kernel, _ = unequal
    values = collapse_metrics(h, y, kernel, metrics="all")
    counts = np.bincount(y)
    rare = [c for c in range(10) if counts[c] < (counts.max() * 7) ** 0.5]
    assert rare == [1, 4, 7]
    often = [c for c in range(10) if c not in rare]
    means = np.array([h[y == c].mean(0) for c in range(10)])
    means -= means.mean(0)
    for of, rows in (("means", means), ("weights", kernel.T)):
        unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        for name, pairs in {
            "minority": itertools.combinations(rare, 2),
            "majority": itertools.combinations(often, 2),
            "across": itertools.product(rare, often),
        }.items():
            expected = np.mean([unit[i] @ unit[j] for i, j in pairs])
            found = values[f"cosine_{name}_{of}"]
            assert found == pytest.approx(expected, abs=1e-12)
        norms = np.linalg.norm(rows, axis=1)
        slope = np.polyfit(np.log(counts), np.log(norms), 1)[0]
        found = values[f"norm_slope_{of}"]
        assert found == pytest.approx(slope, rel=1e-9)
    spread = [
        ((h[y == c] - h[y == c].mean(0)) ** 2).sum(1).mean() for c in rare
    ]
    expected = np.mean(spread) / np.mean(np.sum(means**2, axis=1))
    assert values["nc1_minority"] == pytest.approx(expected, rel=1e-9)


def test_accuracies_of_a_test_set_are_by_the_training_examples(unequal):
    h, y, kernel, (h_test, y_test) = unequal
    counts = np.bincount(y)
    means = np.array([h[y == c].mean(0) for c in range(10)])
    values = collapse_metrics(
        *(h_test, y_test, kernel),
        train_means=means,
        train_counts=counts,
        metrics="all",
    )
    right = np.argmax(h_test @ kernel, axis=1) == y_test
    by_class = np.array([right[y_test == c].mean() for c in range(10)])
    assert values["balanced_accuracy"] == pytest.approx(by_class.mean())
    for tag, chosen in {
        "majority": counts >= 60,
        "minority": counts == 7,
        "many": counts == 150,
        "medium": counts == 60,
        "few": counts == 7,
    }.items():
        expected = by_class[chosen].mean()
        assert values[f"accuracy_{tag}"] == pytest.approx(expected)
    assert "ufm_weights" not in values
    # Without the counts there are no groups, and nothing is guessed.
    others = collapse_metrics(
        h_test, y_test, kernel, train_means=means, metrics="all"
    )
    assert set(others) & set(TAGS) == {"balanced_accuracy"}


def test_report_and_callback_group_the_test_set_by_the_training_set(unequal):
    h, y, kernel, test = unequal
    model = keras.Sequential(
        [keras.Input((64,)), keras.layers.Dense(10, use_bias=False)]
    )
    model.layers[0].set_weights([kernel])
    model.compile("sgd", loss=nc_keras.losses.CE())
    callback = nc_keras.callbacks.NeuralCollapse(h, y, test, metrics=TAGS)
    callback.set_model(model)
    found = callback.measure()
    values = nc_keras.report(
        model, (h, y), test, metrics=TAGS, print_fn=lambda text: None
    )
    assert list(values["train"]) == TAGS
    assert "ufm_weights" not in values["test"]
    assert values["test"]["accuracy_few"] < values["train"]["accuracy_few"]
    for part, prefix in (("train", ""), ("test", "val_")):
        for tag, value in values[part].items():
            assert found[prefix + tag] == pytest.approx(value, nan_ok=True)


@pytest.mark.parametrize("memory", [0, 2**30])
def test_streams_give_the_same(unequal, memory):
    h, y, kernel, _ = unequal
    model = keras.Sequential(
        [keras.Input((64,)), keras.layers.Dense(10, use_bias=False)]
    )
    model.layers[0].set_weights([kernel])
    found = nc_keras.measure(
        model, h, y, metrics=TAGS, memory=memory, batch_size=50
    )
    expected = collapse_metrics(h, y, kernel, metrics=TAGS)
    for tag in TAGS:
        # Features and head were float32 in the model.
        close = pytest.approx(expected[tag], rel=1e-4, abs=1e-6, nan_ok=True)
        assert found[tag] == close


def test_rows_of_classes_without_examples_are_rare(unequal):
    h, y, kernel, _ = unequal
    some = y < 6
    values = collapse_metrics(
        *(h[some], y[some], kernel), missing="skip", metrics="all"
    )
    unit = kernel.T / np.linalg.norm(kernel.T, axis=1, keepdims=True)
    pairs = itertools.combinations([1, 4, 6, 7, 8, 9], 2)
    expected = np.mean([unit[i] @ unit[j] for i, j in pairs])
    assert values["cosine_minority_weights"] == pytest.approx(expected)
    # No theory of a head whose rows no example moves.
    assert np.isnan(values["seli_weights"]) and np.isnan(values["ufm_means"])
    assert np.isfinite(values["accuracy_minority"])


def test_equal_classes_have_no_minority():
    y = np.repeat(np.arange(4), 5)
    frame = nc_keras.geometry.simplex_etf(4, 6, seed=0)
    values = collapse_metrics(frame[y], y, frame.T, metrics="all")
    for tag in TAGS:
        if "minority" in tag or "across" in tag or "slope" in tag:
            assert np.isnan(values[tag]), tag
    assert values["accuracy_majority"] == 1.0
    assert values["cosine_majority_weights"] == pytest.approx(-1 / 3)


def test_a_bias_is_beyond_the_theory():
    h, y, best, _ = minimum()
    kernel, bias = best.weights.T, np.arange(6.0)
    values = collapse_metrics(h, y, kernel, bias, metrics="all")
    assert np.isnan(values["ufm_weights"])
    # One for all classes changes no probability.
    values = collapse_metrics(h, y, kernel, bias * 0 + 3, metrics="all")
    assert values["ufm_weights"] < 1e-6


def test_softmax_of_features_beyond_floats_has_no_value(unequal):
    h, y, kernel, _ = unequal
    values = collapse_metrics(h, y, kernel, metrics=TAGS)
    beyond = collapse_metrics(h * 2.0**400, y, kernel, metrics=TAGS)
    for tag in TAGS:
        if tag.startswith("ufm"):
            assert np.isnan(beyond[tag])
        else:
            close = pytest.approx(values[tag], rel=1e-9, nan_ok=True)
            assert beyond[tag] == close, tag


@pytest.mark.parametrize("counts", [[3, 4], [1, -1, 2], [1, 1.5, 2], "many"])
def test_wrong_training_counts(counts):
    frame = nc_keras.geometry.simplex_etf(3, 4, seed=0)
    with pytest.raises(ValueError, match="Received: "):
        collapse_metrics(
            frame,
            np.arange(3),
            frame.T,
            train_means=frame,
            train_counts=counts,
            metrics="all",
        )


def test_groups_by_index():
    values = np.array([1.0, 0.5, 0.0])
    groups = {"first": [0], "rest": range(1, 3), "none": ()}
    found = nc_keras.metrics.group_means(values, groups)
    assert found["first"] == 1.0 and found["rest"] == 0.25
    assert np.isnan(found["none"])
    for wrong in ([3], [-1], [0.5], ["a"]):
        with pytest.raises(ValueError, match="Received: "):
            nc_keras.metrics.group_means(values, {"wrong": wrong})
    with pytest.raises(ValueError, match="one number per class"):
        nc_keras.metrics.group_means(values[:, None], groups)


def test_the_minority_is_what_is_below_the_middle_of_logarithms():
    assert class_groups.minority([100, 100, 1]).tolist() == [False, False, True]
    sizes = [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]
    assert class_groups.minority(sizes).tolist() == [False] * 5 + [True] * 5
    assert not class_groups.minority([7, 7, 7]).any()
    assert class_groups.minority([50, 0]).tolist() == [False, True]


def test_pictures_of_unequal_classes_come_by_size(unequal):
    h, y, kernel, _ = unequal
    model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(10)])
    bias = np.linspace(-9, 9, 10)
    model.layers[0].set_weights([kernel, bias])
    callback = nc_keras.callbacks.NeuralCollapse(h, y)
    callback.set_model(model)
    callback.measure()
    names = np.array([f"class {c}" for c in range(10)])
    found = pictures(callback.layers[""], names, with_head=True)
    order = [0, 3, 6, 9, 2, 5, 8, 1, 4, 7]
    layer = callback.layers[""]
    logits = layer.means @ layer.kernel.T + layer.bias
    expected = {
        "cosines/means": cosine_picture(
            layer.centered_means[order],
            names[order],
            "cosines of the centred class means, by size",
        ),
        "cosines/weights": cosine_picture(
            layer.kernel[order],
            names[order],
            "cosines of the head's rows, by size",
        ),
        "logits/means": logit_picture(
            logits[np.ix_(order, order)],
            names[order],
            "outputs at the class means, by size",
        ),
    }
    assert list(found) == list(expected)
    for name, picture in expected.items():
        np.testing.assert_array_equal(found[name], picture)
    # A class without examples has no mean, and is not drawn.
    some = nc_keras.callbacks.NeuralCollapse(h[y < 8], y[y < 8], missing="skip")
    some.set_model(model)
    some.measure()
    drawn = pictures(some.layers[""], names, with_head=False)
    assert list(drawn) == ["cosines/means", "logits/means"]
    equal = nc_keras.callbacks.NeuralCollapse(h[:20], np.arange(20) % 10)
    equal.set_model(model)
    equal.measure()
    assert "logits/means" not in pictures(equal.layers[""], names, True)
