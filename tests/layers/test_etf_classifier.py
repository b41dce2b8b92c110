import keras
import numpy as np
import pytest
from keras.ops import convert_to_numpy as to_numpy

import nc_keras
from nc_keras.layers import ETFClassifier


def test_outputs_are_scaled_projections_on_a_simplex_etf(rng):
    head = ETFClassifier(10, scale=3.0, seed=0)
    h = rng.normal(size=(4, 64)).astype("float32")
    outputs = to_numpy(head(h))
    frame = nc_keras.geometry.simplex_etf(10, 64, seed=0)
    np.testing.assert_allclose(outputs, 3 * h @ frame.T, rtol=1e-4, atol=1e-5)
    kernel = to_numpy(head.kernel)
    np.testing.assert_allclose(
        kernel.T @ kernel, 9 * nc_keras.geometry.simplex_gram(10), atol=1e-5
    )


def test_frame_is_a_fixed_weight_and_bias_is_not():
    head = ETFClassifier(3, use_bias=True)
    head.build((None, 2))
    assert [w.name for w in head.non_trainable_weights] == ["frame"]
    assert [w.name for w in head.trainable_weights] == ["bias"]
    head.trainable = True
    assert len(head.trainable_weights) == 1


def test_seed_reproduces_the_frame_bit_for_bit():
    frames = []
    for seed in (5, 5, 6):
        head = ETFClassifier(4, seed=seed)
        head.build((None, 9))
        frames.append(to_numpy(head.frame))
    np.testing.assert_array_equal(frames[0], frames[1])
    assert np.abs(frames[0] - frames[2]).max() > 0.01


def test_without_a_seed_the_frame_follows_the_global_seed():
    frames = []
    for seed in (1, 1, 2):
        keras.utils.set_random_seed(seed)
        head = ETFClassifier(4)
        head.build((None, 9))
        frames.append(to_numpy(head.frame))
    np.testing.assert_array_equal(frames[0], frames[1])
    assert np.abs(frames[0] - frames[2]).max() > 0.01


# Keras 3.10 warns of the inputs of every model that it loads.
@pytest.mark.filterwarnings("ignore:The structure of `inputs`:UserWarning")
@pytest.mark.parametrize("suffix", [".keras", ".weights.h5"])
def test_a_checkpoint_carries_the_frame(tmp_path, rng, suffix):
    def build():
        inputs = keras.Input((12,))
        return keras.Model(inputs, ETFClassifier(5, use_bias=True)(inputs))

    model, x = build(), rng.normal(size=(3, 12))
    path = tmp_path / f"model{suffix}"
    if suffix == ".keras":
        model.save(path)
        loaded = keras.models.load_model(path)
    else:
        model.save_weights(path)
        loaded = build()
        assert np.abs(to_numpy(loaded(x)) - to_numpy(model(x))).max() > 1e-3
        loaded.load_weights(path)
    np.testing.assert_array_equal(to_numpy(loaded(x)), to_numpy(model(x)))


def test_config_round_trip():
    head = ETFClassifier(7, scale=2.0, use_bias=True, seed=4, name="etf")
    config = head.get_config()
    again = ETFClassifier.from_config(config)
    assert again.get_config() == config
    assert (again.num_classes, again.scale, again.seed) == (7, 2.0, 4)


def test_training_moves_features_but_not_the_frame(digits):
    x, y = digits
    model = nc_keras.models.MLP((8, 8, 1), 10, widths=(32,), head="etf")
    model.compile("sgd", loss=nc_keras.losses.MSE())
    before = [to_numpy(w) for w in (model.layers[-1].frame, model.weights[0])]
    model.fit(x[:64], y[:64], verbose=0)
    after = [to_numpy(w) for w in (model.layers[-1].frame, model.weights[0])]
    np.testing.assert_array_equal(before[0], after[0])
    assert np.abs(before[1] - after[1]).max() > 0


@pytest.mark.parametrize("style", ["functional", "sequential", "subclassed"])
def test_every_style_of_model(style, rng):
    x = rng.normal(size=(2, 6)).astype("float32")

    class Subclassed(keras.Model):
        def __init__(self):
            super().__init__()
            self.head = ETFClassifier(4, seed=0)

        def call(self, inputs):
            return self.head(inputs)

    inputs = keras.Input((6,))
    model = {
        "functional": lambda: keras.Model(
            inputs, ETFClassifier(4, seed=0)(inputs)
        ),
        "sequential": lambda: keras.Sequential([ETFClassifier(4, seed=0)]),
        "subclassed": Subclassed,
    }[style]()
    frame = nc_keras.geometry.simplex_etf(4, 6, 0)
    np.testing.assert_allclose(to_numpy(model(x)), x @ frame.T, atol=1e-5)


def test_mixed_precision_computes_in_half_and_keeps_the_frame_whole():
    head = ETFClassifier(4, dtype="mixed_bfloat16", use_bias=True)
    outputs = head(np.ones((2, 8), "float32"))
    assert keras.backend.standardize_dtype(outputs.dtype) == "bfloat16"
    assert head.frame.dtype == "float32"


def test_higher_ranks():
    head = ETFClassifier(4)
    assert tuple(head(np.ones((2, 5, 8))).shape) == (2, 5, 4)
    assert head.compute_output_shape((None, 5, 8)) == (None, 5, 4)


def test_bad_arguments():
    with pytest.raises(ValueError, match="at least 9 dimensions.*dim=8"):
        ETFClassifier(10)(np.ones((2, 8)))
    with pytest.raises(ValueError, match="Received: num_classes=1"):
        ETFClassifier(1)
    for scale in (0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="Received: scale="):
            ETFClassifier(3, scale=scale)


def test_an_activation_is_refused_and_said_how():
    with pytest.raises(ValueError, match="keras.layers.Softmax.*'softmax'"):
        ETFClassifier(10, activation="softmax")
    assert ETFClassifier(10, activation=None).num_classes == 10
    with pytest.raises(ValueError, match="num_classes=1000000000"):
        ETFClassifier(10**9)
