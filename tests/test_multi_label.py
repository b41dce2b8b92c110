"""Collapse by sets of labels, beside plain loops and exact collapse."""

import itertools

import keras
import numpy as np
import pytest

import nc_keras
from nc_keras.errors import NonFiniteError
from nc_keras.multi_label import collapse_of_sets
from nc_keras.multi_label import measure

SETS = [(0,), (1,), (2,), (0, 1), (1, 2), (0, 1, 2), ()]


def multi_hot(names, classes=3):
    labels = np.zeros((len(names), classes))
    for row, name in zip(labels, names, strict=True):
        row[list(name)] = 1
    return labels


@pytest.fixture
def labels(rng):
    return multi_hot([SETS[i] for i in rng.integers(0, len(SETS), 200)])


@pytest.fixture
def features(rng, labels):
    means = rng.normal(size=(3, 6))
    return labels @ means + 0.3 * rng.normal(size=(200, 6)) + 0.1


def angle(a, b):
    cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    return np.degrees(np.arccos(cosine))


def test_nc_m_is_that_of_loops(features, labels):
    found = collapse_of_sets(features, labels)
    mean = {
        name: features[(labels == multi_hot([name])[0]).all(axis=1)].mean(0)
        for name in SETS
    }
    pairs = list(itertools.combinations(range(3), 2))
    sums = {pair: mean[pair[:1]] + mean[pair[1:]] for pair in pairs}
    two = [name for name in SETS if len(name) == 2]
    own = np.mean([angle(mean[name], sums[name]) for name in two])
    every = [angle(mean[n], sums[pair]) for n in two for pair in pairs]
    assert found.metrics["nc_m"] == pytest.approx(own / np.mean(every))
    for name in two:
        assert found.angles[name] == pytest.approx(
            angle(mean[name], sums[name])
        )
    three = mean[(0,)] + mean[(1,)] + mean[(2,)]
    assert found.angles[(0, 1, 2)] == pytest.approx(
        angle(mean[(0, 1, 2)], three)
    )
    assert found.metrics["nc_m_angle"] == pytest.approx(
        np.mean(list(found.angles.values()))
    )
    assert sum(found.counts.values()) == len(labels)


def test_the_rest_is_measured_of_examples_with_one_label(features, labels, rng):
    alone = labels.sum(axis=1) == 1
    kernel, bias = rng.normal(size=(6, 3)), rng.normal(size=3)
    found = collapse_of_sets(features, labels, kernel, bias).metrics
    expected = nc_keras.metrics.collapse_metrics(
        features[alone], labels[alone].argmax(1), kernel, bias
    )
    assert expected.items() <= found.items()
    assert set(found) - set(expected) == {"nc_m", "nc_m_angle", "nc_m_span"}


def test_at_collapse(labels, rng):
    means = rng.normal(size=(3, 6))
    found = collapse_of_sets(labels @ means, labels).metrics
    for tag in ("nc_m", "nc_m_angle", "nc_m_span"):
        # Cosines near 1 lose half of their digits: the angles do not.
        assert found[tag] == pytest.approx(0, abs=1e-10), tag


def test_unequal_weights_are_seen_by_the_span_alone(labels, rng):
    weights = labels * np.where(labels.sum(1, keepdims=True) > 1, [1, 2, 3], 1)
    found = collapse_of_sets(weights @ rng.normal(size=(3, 6)), labels).metrics
    assert found["nc_m_angle"] > 5
    assert found["nc_m_span"] == pytest.approx(0, abs=1e-10)


def test_turned_and_scaled_features_are_the_same(features, labels, rng):
    turn, _ = np.linalg.qr(rng.normal(size=(6, 6)))
    found = collapse_of_sets(features, labels).metrics
    turned = collapse_of_sets(1e3 * features @ turn, labels).metrics
    for tag in ("nc1", "nc_m", "nc_m_angle", "nc_m_span"):
        assert turned[tag] == pytest.approx(found[tag], rel=1e-9)


def test_without_sets_of_several_labels(features, labels):
    alone = labels.sum(axis=1) == 1
    found = collapse_of_sets(features[alone], labels[alone])
    assert np.isnan(found.metrics["nc_m"])
    assert not found.angles


def test_wrong_inputs(features, labels):
    with pytest.raises(ValueError, match="none of label 1"):
        kept = ~(labels == [0, 1, 0]).all(axis=1)
        collapse_of_sets(features[kept], labels[kept])
    with pytest.raises(ValueError, match="Received: 0.5"):
        collapse_of_sets(features, labels / 2)
    with pytest.raises(ValueError, match="shape"):
        collapse_of_sets(features, labels.argmax(axis=1))
    with pytest.raises(NonFiniteError):
        features[labels.sum(axis=1) == 2] = np.nan
        collapse_of_sets(features, labels)


@pytest.mark.skipif(
    keras.backend.backend() == "numpy", reason="NumPy has no gradients"
)
def test_digits_side_by_side_collapse(digits, rng):
    # The left half shows one digit, the right half another one, or nothing.
    images, y = digits[0][digits[1] < 3], digits[1][digits[1] < 3]
    left, right = rng.integers(0, len(images), (2, 400))
    blank = rng.random(400) < 0.5
    shown = images[right] * ~blank[:, None, None, None]
    x = np.concatenate([images[left], shown], axis=2)
    labels = np.eye(3)[y[left]]
    labels = np.maximum(labels, np.eye(3)[y[right]] * ~blank[:, None])
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((8, 16, 1)),
            keras.layers.Flatten(),
            keras.layers.Dense(128, activation="relu"),
            keras.layers.Dense(24),
            keras.layers.Dense(3),
        ]
    )
    loss = nc_keras.losses.CE(targets="multi_hot")
    model.compile(nc_keras.optimizers.SGD(0.05, 0.9, 1e-3), loss=loss)
    before = measure(model, x, labels).metrics
    model.fit(x, labels, batch_size=50, epochs=40, verbose=0)
    after = measure(model, x, labels, batch_size=77).metrics
    assert after["nc1"] < 0.5 * before["nc1"]
    assert after["nc_m"] < 0.6 * before["nc_m"]
