"""Filter response normalisation and thresholds, beside reference values."""

import json
import pathlib

import keras
import numpy as np
import pytest
from keras import ops

import nc_keras
from nc_keras.layers import TLU
from nc_keras.layers import FilterResponseNormalization

array = ops.convert_to_numpy
DATA = pathlib.Path(__file__).parents[1] / "data/beside.json"
REFERENCE = json.loads(DATA.read_text())["frn"]


def of(name):
    return np.array(REFERENCE[name], "float32")


def reference_layers():
    layers = [FilterResponseNormalization(), TLU()]
    for layer, names in zip(layers, (("gamma", "beta"), ("tau",)), strict=True):
        layer.build(of("x").shape)
        for name in names:
            variable = getattr(layer, name)
            variable.assign(of(name).reshape(variable.shape))
    return layers


def test_values_are_those_of_the_reference():
    norm, threshold = reference_layers()
    outputs = norm(of("x"))
    np.testing.assert_allclose(array(outputs), of("frn"), atol=1e-6)
    outputs = array(threshold(outputs))
    np.testing.assert_allclose(outputs, of("frn_tlu"), atol=1e-6)


@pytest.mark.parametrize(
    ("learned", "name"),
    [(False, "frn_1x1_fixed_eps"), (True, "frn_1x1_with_learned_eps")],
)
def test_maps_of_one_position(learned, name):
    layer = FilterResponseNormalization(learned_epsilon=learned)
    layer.build(of("x_1x1").shape)
    for part in ("gamma", "beta"):
        variable = getattr(layer, part)
        variable.assign(of(part).reshape(variable.shape))
    found = array(layer(of("x_1x1")))
    np.testing.assert_allclose(found, of(name), rtol=1e-4, atol=1e-6)
    assert len(layer.trainable_weights) == 2 + learned


def test_no_scale_of_the_inputs_is_left(rng):
    x = rng.normal(size=(2, 4, 4, 3)).astype("float32")
    layer = FilterResponseNormalization()
    found = array(layer(100 * x))
    np.testing.assert_allclose(found, array(layer(x)), atol=1e-5)
    np.testing.assert_allclose(np.mean(found**2, axis=(1, 2)), 1.0, rtol=1e-4)


def test_an_example_depends_on_no_other_and_training_is_inference(rng):
    x = rng.normal(size=(5, 4, 4, 3)).astype("float32")
    layer = FilterResponseNormalization()
    alone = np.concatenate([array(layer(x[i : i + 1])) for i in range(5)])
    np.testing.assert_allclose(array(layer(x)), alone, atol=1e-6)
    np.testing.assert_array_equal(
        array(layer(x, training=True)), array(layer(x, training=False))
    )
    assert not layer.non_trainable_weights


def test_zeros_have_a_gradient(rng):
    model = keras.Sequential(
        [
            keras.Input((4, 4, 2)),
            FilterResponseNormalization(),
            TLU(),
            keras.layers.Flatten(),
            keras.layers.Dense(3),
        ]
    )
    model.compile(nc_keras.optimizers.SGD(0.1), loss=nc_keras.losses.CE())
    x, y = np.zeros((8, 4, 4, 2), "float32"), np.arange(8) % 3
    x[4:] = rng.normal(size=(4, 4, 4, 2))
    model.fit(x, y, epochs=2, verbose=0)
    assert all(np.isfinite(array(weight)).all() for weight in model.weights)


def test_thresholds_of_channels_or_of_positions():
    x = np.zeros((2, 4, 5, 3), "float32")
    shapes = {None: (1, 1, 3), (): (4, 5, 3), (1,): (1, 5, 3)}
    for axes, shape in shapes.items():
        layer = TLU(axes)
        layer(x)
        assert tuple(layer.tau.shape) == shape
    layer.tau.assign(np.full(layer.tau.shape, -1.0))
    np.testing.assert_array_equal(array(layer(x - 2)), -1.0)
    with pytest.raises(ValueError, match="how many"):
        TLU(())(keras.Input((None, None, 3)))


def test_half_precision(rng):
    x = 300 * rng.normal(size=(2, 4, 4, 3)).astype("float32")
    layer = FilterResponseNormalization(dtype="mixed_float16")
    found = array(layer(x))
    assert found.dtype == "float16" and np.isfinite(found).all()
    expected = array(FilterResponseNormalization()(x))
    np.testing.assert_allclose(found, expected, atol=5e-3)


def test_wrong_arguments():
    for epsilon in (0.0, -1.0, float("nan"), "small"):
        with pytest.raises((ValueError, TypeError), match="Received"):
            FilterResponseNormalization(epsilon=epsilon)
    with pytest.raises(ValueError, match="over their positions"):
        FilterResponseNormalization()(np.zeros((2, 3), "float32"))


NETWORKS = {
    "conv_net": lambda norm: nc_keras.models.ConvNet(
        (8, 8, 1), 3, filters=(4, 8), norm=norm
    ),
    "resnet": lambda norm: nc_keras.models.ResNet(
        18, (32, 32, 1), 3, width=2, norm=norm
    ),
    "vgg": lambda norm: nc_keras.models.VGG(
        11, (32, 32, 1), 3, width=2, hidden=(8,), norm=norm
    ),
    "densenet": lambda norm: nc_keras.models.DenseNet(
        40, (32, 32, 1), 3, norm=norm
    ),
}


@pytest.mark.parametrize("norm", ["frn", "none"])
@pytest.mark.parametrize("network", NETWORKS)
def test_networks_without_batch_statistics(network, norm):
    if network == "densenet" and keras.backend.backend() == "jax":
        pytest.skip("JAX compiles a draw for each of its many shapes")
    model = NETWORKS[network](norm)
    before = NETWORKS[network]("batch")
    kinds = {type(one) for one in model.layers}
    assert not any(
        issubclass(kind, keras.layers.BatchNormalization) for kind in kinds
    )
    assert (FilterResponseNormalization in kinds) == (norm == "frn")
    assert not model.non_trainable_weights
    assert before.non_trainable_weights
    assert model.output_shape == before.output_shape
    assert nc_keras.FeatureExtractor(model).head is model.layers[-1]


@pytest.mark.parametrize("norm", ["frn", "none"])
def test_what_a_network_makes_of_an_example_depends_on_no_other(norm, rng):
    model = NETWORKS["conv_net"](norm)
    x = rng.normal(size=(4, 8, 8, 1)).astype("float32")
    together = array(model(x, training=True))
    alone = array(model(x[:1], training=False))
    np.testing.assert_allclose(together[:1], alone, rtol=1e-3, atol=1e-5)


def test_a_kernel_before_a_norm_that_is_gone_has_a_bias():
    model = NETWORKS["conv_net"]("none")
    kernels = [m for m in model.layers if isinstance(m, keras.layers.Conv2D)]
    assert all(one.use_bias for one in kernels)
    model = NETWORKS["conv_net"]("frn")
    kernels = [m for m in model.layers if isinstance(m, keras.layers.Conv2D)]
    assert not any(one.use_bias for one in kernels)
    # Of VGG's vectors there are no positions.
    dense = NETWORKS["vgg"]("frn").get_layer("classifier_0")
    assert dense.use_bias


def test_saved_networks_are_the_same(tmp_path, rng):
    model = NETWORKS["conv_net"]("frn")
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    x = rng.normal(size=(4, 8, 8, 1)).astype("float32")
    np.testing.assert_array_equal(array(model(x)), array(loaded(x)))


def test_wrong_norms():
    with pytest.raises(ValueError, match="norm='group'"):
        NETWORKS["conv_net"]("group")
    layers = [keras.Input((4,)), keras.layers.Dense(3)]
    with pytest.raises(ValueError, match="no BatchNorm"):
        nc_keras.models.renormalized(keras.Sequential(layers), "frn")
    mlp = nc_keras.models.MLP((4,), 3, widths=(8,))
    with pytest.raises(ValueError, match="of vectors alone"):
        nc_keras.models.renormalized(mlp, "frn")
    assert not nc_keras.models.renormalized(mlp, "none").non_trainable_weights
