"""Average gradient outer products, beside plain matrices and Jacobians."""

import keras
import numpy as np
import pytest

import nc_keras
from nc_keras.kernel import agop

# TensorFlow has no gradients of grouped convolutions on CPUs.
GROUPS = 1 if keras.backend.backend() == "tensorflow" else 2


def sequence(*layers, shape):
    return keras.Sequential([keras.Input(shape), *layers])


def test_of_linear_networks_it_is_a_product_of_matrices(rng):
    model = sequence(
        keras.layers.Dense(6, name="first"),
        keras.layers.Dense(3, name="second"),
        shape=(5,),
    )
    found = agop(model, rng.normal(size=(7, 5)), batch_size=3)
    first, second = (np.array(layer.kernel, float) for layer in model.layers)
    through = first @ second
    np.testing.assert_allclose(
        found["first"].agop[0], through @ through.T, rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(
        found["second"].agop[0], second @ second.T, rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(found["first"].nfm[0], first @ first.T)
    assert found["second"].correlation(1.0) == pytest.approx(1)


def test_it_is_that_of_gradients_by_inputs(rng):
    model = sequence(
        keras.layers.Dense(6, "tanh", name="first"),
        keras.layers.Dense(5, "tanh"),
        keras.layers.Dense(3),
        shape=(4,),
    )
    x = rng.normal(size=(5, 4)).astype("float32")
    steps = 1e-2 * np.eye(4, dtype="float32")
    jacobian = np.stack(
        [
            (model.predict(x + s, verbose=0) - model.predict(x - s, verbose=0))
            / 2e-2
            for s in steps
        ],
        axis=-1,
    )
    expected = np.einsum("ncd,nce->de", jacobian, jacobian) / len(x)
    found = agop(model, x)["first"]
    np.testing.assert_allclose(found.agop[0], expected, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_the_correlation_is_that_of_whole_matrices(rng, power):
    model = nc_keras.models.MLP((9,), 4, widths=(7, 6))
    for one in agop(model, rng.normal(size=(11, 9)), batch_size=4).values():
        values, vectors = np.linalg.eigh(one.agop[0])
        values = np.maximum(values, 0) ** power
        root = (vectors * values) @ vectors.T
        nfm = one.nfm[0]
        expected = np.sum(root * nfm)
        expected /= np.linalg.norm(root) * np.linalg.norm(nfm)
        assert one.correlation(power) == pytest.approx(expected, rel=1e-6)


def test_convolutions_groups_and_normalised_weights(rng):
    layers = keras.layers
    model = sequence(
        layers.Conv2D(4, 3, activation="relu", name="conv"),
        layers.Conv2D(4, 2, groups=GROUPS, name="grouped"),
        nc_keras.layers.WeightNormalization(
            layers.Conv2D(3, 2), name="normalised"
        ),
        layers.Flatten(),
        nc_keras.layers.WeightNormDense(3, name="head"),
        shape=(6, 6, 2),
    )
    found = agop(model, rng.normal(size=(4, 6, 6, 2)))
    assert list(found) == ["conv", "grouped", "normalised", "head"]
    assert found["conv"].agop.shape == (1, 18, 18)
    assert found["grouped"].agop.shape == (GROUPS, 16 // GROUPS, 16 // GROUPS)
    # What flows back to the inputs of the head does so through its weights.
    kernel = keras.ops.convert_to_numpy(model.get_layer("head").kernel)
    kernel = kernel.astype(float)
    np.testing.assert_allclose(found["head"].nfm[0], kernel @ kernel.T)
    np.testing.assert_allclose(
        found["head"].agop[0], kernel @ kernel.T, rtol=1e-5, atol=1e-6
    )
    for one in found.values():
        assert 0 < one.correlation() <= 1


def test_one_position_of_a_convolution_is_a_dense_layer(rng):
    x = rng.normal(size=(5, 3, 3, 2)).astype("float32")
    conv = sequence(
        keras.layers.Conv2D(4, 3, activation="tanh", name="one"),
        keras.layers.Flatten(),
        keras.layers.Dense(3),
        shape=(3, 3, 2),
    )
    dense = sequence(
        keras.layers.Flatten(),
        keras.layers.Dense(4, "tanh", name="one"),
        keras.layers.Dense(3),
        shape=(3, 3, 2),
    )
    kernel, *rest = conv.get_weights()
    dense.set_weights([kernel.reshape(18, 4), *rest])
    found, expected = agop(conv, x)["one"], agop(dense, x)["one"]
    np.testing.assert_allclose(found.agop, expected.agop, rtol=1e-4, atol=1e-6)


def test_two_layers_of_one_name_are_both_there(rng):
    inner = sequence(keras.layers.Dense(4, name="same"), shape=(5,))
    model = sequence(inner, keras.layers.Dense(3, name="same"), shape=(5,))
    found = agop(model, rng.normal(size=(4, 5)))
    assert [one.agop.shape[1] for one in found.values()] == [5, 4]
    assert list(found) == list(
        nc_keras.kernel.gram(
            model, rng.normal(size=(4, 5)), layers="all"
        ).by_layer
    )


def test_features_that_are_learned(digits):
    x, y = digits[0][:500], digits[1][:500]
    keras.utils.set_random_seed(0)
    model = nc_keras.models.MLP((8, 8, 1), 10, widths=(64, 64))
    model.compile(
        nc_keras.optimizers.SGD(0.05, 0.9, 1e-3), loss=nc_keras.losses.CE()
    )
    network = nc_keras.kernel.Network(model, x[:100])
    before = {k: m.correlation() for k, m in agop(network, x[:100]).items()}
    model.fit(x, y, batch_size=50, epochs=40, verbose=0)
    after = {k: m.correlation() for k, m in agop(network, x[:100]).items()}
    assert all(after[name] > before[name] for name in before)


def test_wrong_power():
    found = nc_keras.kernel.FeatureMatrices(
        np.ones((1, 2, 2)), np.ones((1, 2, 2))
    )
    with pytest.raises(ValueError, match="Received: power=0"):
        found.correlation(0)
    empty = nc_keras.kernel.FeatureMatrices(
        np.zeros((1, 2, 2)), np.eye(2)[None]
    )
    assert np.isnan(empty.correlation())
