"""Few-shot classification, beside episodes by hand."""

import importlib

import numpy as np
import pytest

import nc_keras

few_shot, prototypes = nc_keras.few_shot, nc_keras.few_shot.prototypes
module = importlib.import_module("nc_keras.few_shot")


def pixels(digits):
    x, y = digits
    return x.reshape(len(x), -1).astype("float64"), y


def by_hand(h, y, ways, shots, queries, episodes, rng):
    found = []
    for _ in range(episodes):
        classes = rng.choice(np.unique(y), ways, replace=False)
        means, asked = [], []
        for c in classes:
            rows = rng.permutation(np.flatnonzero(y == c))
            means.append(h[rows[:shots]].mean(axis=0))
            asked.append(h[rows[shots : shots + queries]])
        for i, one in enumerate(asked):
            distances = np.linalg.norm(one[:, None] - np.array(means), axis=2)
            found.append((distances.argmin(axis=1) == i).mean())
    return np.mean(found)


@pytest.mark.parametrize("shots", [1, 5])
def test_digits_as_by_hand(digits, shots, rng):
    h, y = pixels(digits)
    found = few_shot(h, y, shots=shots, episodes=2000)
    expected = by_hand(h, y, 5, shots, 15, 400, rng)
    # Four of its own intervals, and those of a fifth of the episodes.
    assert abs(found.accuracy - expected) < 10 * found.interval
    assert 0.002 < found.interval < 0.006
    assert found.cdnv_directional < found.cdnv


def test_more_shots_are_better_and_a_seed_repeats(digits):
    h, y = pixels(digits)
    one, five = (few_shot(h, y, shots=n, episodes=300) for n in (1, 5))
    assert five.accuracy > one.accuracy + 0.05
    assert few_shot(h, y, shots=1, episodes=300) == one
    assert few_shot(h, y, shots=1, episodes=300, seed=1) != one
    assert "CDNV" in str(one)


def test_episodes_repeat_no_example(digits, rng):
    _, y = digits
    members = module._members(y, 5, 3, 4, 50)
    drawn = module._episodes(rng, members, 50, 5, 7)
    assert drawn.shape == (50, 5, 7) and drawn.min() >= 0
    flat = np.sort(drawn.reshape(50, -1), axis=1)
    assert (np.diff(flat, axis=1) > 0).all()
    assert (y[drawn] == y[drawn][..., :1]).all()
    # No place in an episode prefers early examples.
    many = module._episodes(rng, members, 3000, 2, 7)
    ranks = np.argsort(np.argsort(y, kind="stable"))[many] / len(y)
    means = (ranks - ranks.mean(axis=2, keepdims=True)).mean(axis=(0, 1))
    assert np.abs(means).max() < 0.003


def test_transforms(rng):
    # Directions tell the classes apart, lengths do not.
    frame = nc_keras.geometry.simplex_etf(3, 4, seed=0)
    y = np.repeat([0, 1, 2], 40)
    h = frame[y] * rng.exponential(1, (120, 1)) ** 3
    options = {"ways": 3, "episodes": 200}
    h += 3e-4 * rng.normal(size=h.shape)
    plain = few_shot(h, y, **options).accuracy
    unit = few_shot(h, y, transform="l2", **options).accuracy
    assert plain + 0.05 < unit
    shift = np.full(4, 50.0)
    moved = few_shot(h + shift, y, transform="l2", **options).accuracy
    back = few_shot(
        h + shift, y, transform="centered_l2", base_mean=shift, **options
    )
    assert back.accuracy == pytest.approx(unit) and moved != unit


def test_prototypes(rng):
    h, y = rng.normal(size=(30, 5)), np.arange(30) % 3 * 2
    found = prototypes(h, y)
    assert found.shape == (5, 5) and np.isnan(found[[1, 3]]).all()
    unit = h / np.linalg.norm(h, axis=1, keepdims=True)
    mean = unit[y == 2].mean(axis=0)
    np.testing.assert_allclose(found[2], mean / np.linalg.norm(mean))


@pytest.mark.parametrize(
    "options, match",
    [
        ({"ways": 11}, "11 classes with 1"),
        ({"ways": 1}, "`ways` must be an integer of 2"),
        ({"shots": 0}, "`shots` must be"),
        ({"queries": 1000}, "examples each are needed"),
        ({"episodes": 1.5}, "`episodes` must be"),
        ({"transform": "unit"}, "`transform` must be one of"),
        ({"transform": "centered_l2"}, "`base_mean` belongs"),
        ({"base_mean": np.zeros(64)}, "`base_mean` belongs"),
    ],
)
def test_what_is_refused(digits, options, match):
    with pytest.raises((TypeError, ValueError), match=match):
        few_shot(*pixels(digits), **options)
