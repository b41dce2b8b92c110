import keras
import numpy as np
import pytest

import nc_keras


def network():
    return nc_keras.models.HomogeneousNet((8, 8, 1), 10, (4,), (12,))


def test_it_computes_what_the_network_does(digits):
    model = network()
    normalized = nc_keras.models.Normalized(model)
    x = digits[0][:7]
    expected = model.predict(x, verbose=0)
    assert np.allclose(normalized.predict(x, verbose=0), expected, atol=1e-4)
    assert normalized.name == "normalized_homogeneous_net"


def test_a_sequential_network_is_normalised(rng):
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(6, use_bias=False, activation="relu"),
            keras.layers.Dense(3, use_bias=False),
        ]
    )
    x = rng.normal(size=(5, 4)).astype("float32")
    normalized = nc_keras.models.Normalized(model)
    expected = model.predict(x, verbose=0)
    assert np.allclose(normalized.predict(x, verbose=0), expected, atol=1e-5)


def test_its_norms_stay_one_and_rho_moves(digits):
    x, y = digits
    model = nc_keras.models.Normalized(network(), decay=1e-3)
    before = nc_keras.weights.rho(model)
    model.compile(nc_keras.optimizers.SGD(0.01), loss=nc_keras.losses.MSE())
    model.fit(x[:200], y[:200], epochs=2, verbose=0)
    norms = [one.norm for one in nc_keras.weights.weights_of(model)]
    assert np.allclose(norms, 1.0, atol=1e-5)
    assert abs(nc_keras.weights.rho(model) / before - 1) > 1e-4
    # One factor for all layers: nothing else scales the outputs.
    lengths = [w for w in model.trainable_weights if w.name == "g"]
    assert not lengths


def test_it_is_saved_and_measured(digits, tmp_path):
    x, y = digits
    model = nc_keras.models.Normalized(network(), decay=1e-3)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    expected = model.predict(x[:5], verbose=0)
    assert np.allclose(loaded.predict(x[:5], verbose=0), expected, atol=1e-6)
    values = nc_keras.measure(loaded, x[:300], y[:300])
    plain = nc_keras.measure(loaded, x[:300], y[:300], head="head")
    assert values == plain and values["nc1"] > 0


def test_what_comes_before_the_weights_keeps_its_state(digits):
    x = digits[0][:50]
    adapted = keras.layers.Normalization(axis=-1)
    adapted.adapt(3 * x + 2)
    norm = keras.layers.BatchNormalization()
    model = keras.Sequential([keras.Input((8, 8, 1)), adapted, norm, network()])
    norm.moving_mean.assign(np.full(1, 0.5))
    norm.moving_variance.assign(np.full(1, 4.0))
    normalized = nc_keras.models.Normalized(model)
    expected = model.predict(x, verbose=0)
    assert np.allclose(normalized.predict(x, verbose=0), expected, atol=1e-4)


@pytest.mark.parametrize(
    "layer, said",
    [
        (nc_keras.layers.Rho(2.0, name="bad"), "'bad' of type Rho"),
        (
            nc_keras.layers.WeightNormalization(
                keras.layers.Dense(3, use_bias=False), name="bad"
            ),
            "'bad' of type WeightNormalization",
        ),
        (
            keras.layers.Dense(
                3, use_bias=False, kernel_regularizer="l2", name="bad"
            ),
            "'bad' with a kernel_regularizer",
        ),
    ],
)
def test_what_is_scaled_or_decays_already_is_refused(layer, said):
    dense = keras.layers.Dense(3, use_bias=False)
    model = keras.Sequential([keras.Input((4,)), dense, layer])
    with pytest.raises(ValueError, match=said):
        nc_keras.models.Normalized(model)


def test_rho_may_begin_elsewhere(digits):
    model, x = network(), digits[0][:5]
    half = nc_keras.weights.rho(model) / 2
    small = nc_keras.models.Normalized(model, rho=half)
    expected = model.predict(x, verbose=0) / 2
    assert np.allclose(small.predict(x, verbose=0), expected, atol=1e-4)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="rho=-2"):
        nc_keras.models.Normalized(network(), rho=-2)
    with pytest.raises(ValueError, match="BatchNormalization"):
        nc_keras.models.Normalized(nc_keras.models.MLP((4,), 3, (8,)))
    model = network()
    model.layers[1].kernel.assign(np.zeros((3, 3, 1, 4)))
    with pytest.raises(ValueError, match="'conv_1', all of whose weights"):
        nc_keras.models.Normalized(model)
    with pytest.raises(ValueError, match="decay=-1"):
        nc_keras.models.Normalized(network(), decay=-1)


def test_per_kernel_normalisation_has_one_norm(rng):
    layer = nc_keras.layers.WeightNormalization(
        keras.layers.Dense(3, use_bias=False), per="kernel"
    )
    x = rng.normal(size=(5, 4)).astype("float32")
    outputs = keras.ops.convert_to_numpy(layer(x))
    expected = x @ keras.ops.convert_to_numpy(layer.layer.kernel)
    assert np.allclose(outputs, expected, atol=1e-5)
    assert tuple(layer.g.shape) == (1, 1)
    again = type(layer).from_config(layer.get_config())
    assert again.per == "kernel" and again.length is None
    with pytest.raises(ValueError, match="per='row'"):
        nc_keras.layers.WeightNormalization(keras.layers.Dense(3), per="row")
    with pytest.raises(ValueError, match="length=0"):
        nc_keras.layers.WeightNormalization(keras.layers.Dense(3), length=0)
