"""Neural codes, and scores of networks that were not trained."""

import json
import pathlib

import keras
import numpy as np
import pytest

import nc_keras
from nc_keras.codes import Codes
from nc_keras.codes import activation_codes
from nc_keras.codes import relu_layers
from nc_keras.codes import varying
from nc_keras.scores import overlap_score
from nc_keras.scores import relu_overlap

DATA = json.loads(
    (pathlib.Path(__file__).parent / "data/beside.json").read_text()
)


def test_codes_are_those_of_the_reference():
    expected = DATA["neural_code"]
    codes = Codes.of(expected["activations"])
    np.testing.assert_array_equal(codes.bits(), expected["codes"])
    assert codes.unique == expected["unique"]
    assert codes.redundancy == expected["redundancy_ratio"]
    constant = np.flatnonzero(~varying(codes))
    assert constant.tolist() == expected["constant_columns"]
    # Columns that never change tell no codes apart.
    without = Codes.of(codes.bits(varying(codes)))
    assert without.unique == codes.unique
    # Neither does the size of an activation.
    scaled = 7 * np.array(expected["activations"])
    np.testing.assert_array_equal(Codes.of(scaled).packed, codes.packed)


def test_score_is_that_of_the_reference():
    expected = DATA["naswot"]
    bits = np.concatenate([np.array(one) for one in expected["codes"]], axis=1)
    on = bits.astype(float)
    np.testing.assert_array_equal(
        on @ on.T + (1 - on) @ (1 - on).T, expected["K"]
    )
    assert overlap_score(bits) == pytest.approx(expected["score_v2"], rel=1e-10)
    assert overlap_score(np.concatenate([bits, bits[:1]])) == -np.inf


def networks():
    layers = keras.layers
    inner = keras.Sequential(
        [keras.Input((8,)), layers.Dense(6), layers.LeakyReLU()], name="inner"
    )
    yield (
        "nested",
        keras.Sequential(
            [
                keras.Input((8, 8, 1)),
                layers.Conv2D(3, 3, activation="relu"),
                layers.BatchNormalization(),
                layers.Activation("gelu"),
                layers.GlobalAveragePooling2D(),
                layers.Dense(8),
                layers.ReLU(),
                inner,
                layers.Dense(10, activation="softmax"),
            ]
        ),
    )
    yield "mlp", nc_keras.models.MLP((8, 8, 1), 10, (16, 9))


@pytest.mark.parametrize("name, model", list(networks()))
@pytest.mark.parametrize("batch_size", [7, 256])
def test_codes_of_networks(name, model, batch_size, digits):
    x = digits[0][:60]
    codes = activation_codes(model, x, batch_size=batch_size)
    widths = {"nested": 36 * 3 + 36 * 3 + 8 + 6, "mlp": 25}
    assert codes.width == widths[name]
    assert codes.packed.shape == (60, -(-widths[name] // 8))
    if name == "mlp":
        outputs = [layer.output for layer in relu_layers(model)]
        values = keras.Model(model.inputs, outputs).predict(x, verbose=0)
        expected = np.concatenate([one > 0 for one in values], axis=1)
        np.testing.assert_array_equal(codes.bits(), expected)


def test_wider_networks_score_higher(digits):
    x = digits[0][:64]
    scores = []
    for width in (16, 64, 256):
        keras.utils.set_random_seed(0)
        model = nc_keras.models.MLP((8, 8, 1), 10, (width,))
        scores.append(relu_overlap(model, x))
    assert scores == sorted(scores) and np.isfinite(scores[-1])
    assert relu_overlap(model, np.zeros((2, 8, 8, 1))) == -np.inf


def test_what_is_refused():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    with pytest.raises(ValueError, match="positive where they are on"):
        activation_codes(model, np.eye(4))
    codes = Codes.of([[1, 0]]), Codes.of([[1, 0, 1]])
    with pytest.raises(ValueError, match="of the same units"):
        varying(*codes)
