"""What is decided by how near an example is to its class mean."""

import numpy as np
import pytest

from nc_keras.measuring import near_means
from nc_keras.measuring.near_means import NearMeans
from nc_keras.metrics import collapse_metrics

C, D = 80, 12


def exact(features, rows, offsets=0.0):
    return np.argmax(features @ rows.T + offsets, axis=1)


def decide(features, labels, means, rows, offsets=0.0):
    near = NearMeans(means, rows, offsets)
    assert near.is_worth_it(10**6)
    distances = np.linalg.norm(features - means[labels], axis=1)
    return near(labels, distances)


@pytest.mark.parametrize("spread", [1e-3, 0.1, 0.3, 1.0])
@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_what_is_decided_is_right(spread, offset, rng):
    means = rng.normal(size=(C, D)) + offset
    y = np.arange(40 * C) % C
    h = means[y] + spread * rng.normal(size=(len(y), D)) / np.sqrt(D)
    kernel, bias = rng.normal(size=(C, D)), rng.normal(size=C)
    centered = means - means.mean(axis=0)
    squares = np.sum(centered * (centered / 2 + means.mean(axis=0)), axis=1)
    for rows, offsets in ((kernel, bias), (centered, -squares)):
        decided = decide(h, y, means, rows, offsets)
        sure = decided >= 0
        right = exact(h, rows, offsets)
        np.testing.assert_array_equal(decided[sure], right[sure])
        if spread < 0.01:
            assert sure.mean() > 0.9
        if spread == 1.0 and not offset:
            assert not sure.all()


def test_the_radius_is_as_large_as_it_can_be(rng):
    # Of nearest means it is half the distance to the next.
    means = rng.normal(size=(C, D))
    apart = np.linalg.norm(means[:, None] - means, axis=2)
    np.fill_diagonal(apart, np.inf)
    toward = means[np.argmin(apart, axis=1)] - means
    rows, offsets = means, -np.sum(means**2, axis=1) / 2
    for share, count in ((0.499, C), (0.501, 0)):
        h = means + share * toward
        decided = decide(h, np.arange(C), means, rows, offsets)
        assert np.count_nonzero(decided >= 0) == count
        assert set(decided - np.arange(C)) <= {0, *(-1 - np.arange(C))}


def test_ties_and_missing_classes_are_not_decided(rng):
    means = rng.normal(size=(C, D))
    rows = means.copy()
    rows[1] = rows[0] * (1 + 1e-17)
    means[2] = np.nan
    decided = decide(means, np.arange(C), means, 100 * rows, 0.0)
    assert decided[2] == -1
    sure = decided >= 0
    assert not {0, 1} & set(decided[sure])
    right = exact(means, rows)
    np.testing.assert_array_equal(decided[sure], right[sure])


def test_leads_that_may_be_roundings_decide_nothing(rng):
    means = rng.normal(size=(C, D)) + 1e6
    # Every row is there twice, but for its last bits.
    rows = np.repeat(means[::2], 2, axis=0)
    rows *= 1 + 2e-16 * rng.integers(-3, 4, size=rows.shape)
    decided = decide(means, np.arange(C), means, rows)
    assert set(decided) == {-1}


def test_rows_that_are_nearly_one_decide_nothing_wrong(rng):
    # Their distances are lost where they are made of products.
    means = rng.normal(size=(C, D))
    y = np.arange(20 * C) % C
    h = means[y] + 0.3 * rng.normal(size=(len(y), D))
    rows = rng.normal(size=D) + 1e-8 * rng.normal(size=(C, D))
    decided = decide(h, y, means, rows)
    centered = rows - rows[0]
    sure = decided >= 0
    np.testing.assert_array_equal(decided[sure], exact(h, centered)[sure])


def test_radii_wait_until_they_save_something(rng):
    near = NearMeans(means := rng.normal(size=(C, D)), means, 0.0)
    assert not near.is_worth_it(C)
    assert near.is_worth_it(10 * C)
    for _ in range(2):  # None of these is near: no more is asked.
        near(np.zeros(near_means._TRIAL, int), np.full(near_means._TRIAL, 9e9))
    assert not near.is_worth_it(10 * C)


@pytest.mark.parametrize("spread", [0.01, 0.2, 0.5])
@pytest.mark.parametrize("validation", [False, True])
def test_metrics_are_as_without(spread, validation, rng, monkeypatch):
    y = np.arange(60 * C) % C
    means = rng.normal(size=(C, D))
    h = means[y] + spread * rng.normal(size=(len(y), D))
    h = h.astype("float32")
    kernel = (means + 0.5 * rng.normal(size=(C, D))).T
    options = {"train_means": means} if validation else {}
    tags = ["nc4", "accuracy"] + validation * ["ncc_accuracy"]
    called, call = [], NearMeans.__call__
    monkeypatch.setattr(
        NearMeans, "__call__", lambda *a: called.append(1) or call(*a)
    )
    values = collapse_metrics(h, y, kernel, metrics=tags, **options)
    assert called
    monkeypatch.setattr(NearMeans, "is_worth_it", lambda *_: False)
    expected = collapse_metrics(h, y, kernel, metrics=tags, **options)
    assert values == expected
