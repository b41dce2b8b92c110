import json
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import ops

import nc_keras


@pytest.mark.parametrize("shape", [(7, 3), (4, 5, 6, 3)])
def test_running_statistics_are_those_of_pytorch(shape):
    batches = np.random.default_rng(0).normal(2.0, 3.0, (3, *shape))
    layer = nc_keras.layers.BatchNormalization()
    model = keras.Sequential(
        [keras.Input(shape[1:]), layer, keras.layers.Flatten()]
    )
    model.add(keras.layers.Dense(1, kernel_initializer="zeros"))
    model.compile("sgd", loss="mse")
    mean, variance = np.zeros(3), np.ones(3)
    for batch in batches:
        model.train_on_batch(batch, np.zeros((shape[0], 1)))
        values = batch.reshape(-1, 3)
        mean = 0.9 * mean + 0.1 * values.mean(axis=0)
        # PyTorch's documentation: the unbiased estimator is kept.
        variance = 0.9 * variance + 0.1 * values.var(axis=0, ddof=1)
    np.testing.assert_allclose(
        ops.convert_to_numpy(layer.moving_mean), mean, rtol=1e-5
    )
    np.testing.assert_allclose(
        ops.convert_to_numpy(layer.moving_variance), variance, rtol=1e-5
    )


@pytest.mark.parametrize("shape", [(6, 2), (5, 3, 2), (5, 4, 3, 2)])
def test_outputs_are_those_of_keras(shape):
    x = np.random.default_rng(0).normal(size=shape).astype("float32")
    ours = nc_keras.layers.BatchNormalization()
    keras_own = keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5)
    for training in (False, True):
        np.testing.assert_allclose(
            ops.convert_to_numpy(ours(x, training=training)),
            ops.convert_to_numpy(keras_own(x, training=training)),
            rtol=1e-5,
            atol=1e-6,
        )


@pytest.mark.skipif(
    not hasattr(keras.layers.BatchNormalization(), "renorm"),
    reason="this Keras does not renormalise",
)
@pytest.mark.parametrize("shape", [(16, 3), (4, 5, 3)])
def test_renormalised_as_by_keras(shape, rng):
    options = {"momentum": 0.9, "epsilon": 1e-5, "renorm": True}
    ours = nc_keras.layers.BatchNormalization(**options)
    keras_own = keras.layers.BatchNormalization(**options)
    for k in range(4):
        x = rng.normal(k, 1 + k, shape).astype("float32")
        outputs = [layer(x, training=True) for layer in (ours, keras_own)]
        np.testing.assert_allclose(
            *map(ops.convert_to_numpy, outputs), rtol=1e-4, atol=1e-5
        )
    for one, other in zip(ours.weights, keras_own.weights, strict=True):
        np.testing.assert_allclose(
            ops.convert_to_numpy(one), ops.convert_to_numpy(other), rtol=1e-5
        )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_mask_leaves_its_values_only(dtype, rng):
    if dtype == "float64" and keras.backend.backend() == "jax":
        pytest.skip("JAX has no float64 unless it is told so")
    x = rng.normal(size=(4, 5, 3))
    mask = np.zeros((4, 5), bool)
    mask[0], mask[:, :2] = True, True
    layer = nc_keras.layers.BatchNormalization(dtype=dtype)
    for _ in range(2):
        layer(
            ops.cast(x, dtype),
            training=True,
            mask=ops.convert_to_tensor(mask),
        )
    values = x[mask]
    expected = 0.81 + 0.19 * values.var(0, ddof=1)
    np.testing.assert_allclose(
        ops.convert_to_numpy(layer.moving_variance), expected, rtol=1e-5
    )
    layer(ops.cast(x, dtype), training=True, mask=ops.zeros((4, 5), "bool"))
    assert np.isfinite(ops.convert_to_numpy(layer.moving_variance)).all()


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="Keras has it there"
)
def test_replicas_are_synchronised():
    script = pathlib.Path(__file__).parents[1] / "sharing/batch_norm.py"
    root = str(script.parents[2])
    output = subprocess.run(
        [sys.executable, str(script)],
        env=os.environ | {"PYTHONPATH": root},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert not output.returncode, output.stderr
    errors = json.loads(output.stdout.splitlines()[-1])
    # Keras' E[x^2] - E[x]^2 of numbers of size 6 loses some of 24 bits.
    assert max(errors["float32"].values()) < 36 * 16 * 2**-24
    assert max(errors["float64"].values()) < 36 * 16 * 2**-53


@pytest.mark.parametrize(
    "dtype", ["bfloat16", "float16", "mixed_bfloat16", "mixed_float16"]
)
def test_half_precision(dtype, rng):
    layer = nc_keras.layers.BatchNormalization(dtype=dtype)
    values = 3 * rng.normal(size=(16, 4, 4, 2))
    normal = (values - values.mean((0, 1, 2))) / values.std((0, 1, 2))
    for training, expected in ((False, values), (True, normal)):
        outputs = layer(values, training=training)
        assert keras.backend.standardize_dtype(outputs.dtype) in dtype
        outputs = ops.convert_to_numpy(ops.cast(outputs, "float32"))
        np.testing.assert_allclose(outputs, expected, rtol=0.02, atol=0.05)
    found = ops.convert_to_numpy(ops.cast(layer.moving_variance, "float32"))
    values = values.reshape(-1, 2)
    expected = 0.9 + 0.1 * values.var(axis=0, ddof=1)
    # 8 bits, of which a sum of squares keeps fewer.
    np.testing.assert_allclose(found, expected, rtol=0.03)


@pytest.mark.parametrize("dtype", ["uint8", "int32", "float16", "float64"])
@pytest.mark.parametrize("training", [False, True])
def test_other_dtypes_than_its_own(dtype, training):
    x = ops.convert_to_tensor(np.arange(12).reshape(6, 2).astype(dtype))
    found, expected = (
        layer(momentum=0.9, epsilon=1e-5, autocast=False)(x, training=training)
        for layer in (
            nc_keras.layers.BatchNormalization,
            keras.layers.BatchNormalization,
        )
    )
    assert found.dtype == expected.dtype
    found, expected = (ops.convert_to_numpy(y) for y in (found, expected))
    np.testing.assert_allclose(found, expected, rtol=1e-2, atol=1e-5)


def test_a_frozen_layer_keeps_its_statistics():
    layer = nc_keras.layers.BatchNormalization()
    layer.build((None, 2))
    layer.trainable = False
    layer(np.ones((4, 2)) * [[1.0, 5.0]], training=True)
    assert ops.convert_to_numpy(layer.moving_variance).tolist() == [1.0, 1.0]


def test_one_value_a_channel_stays_finite():
    layer = nc_keras.layers.BatchNormalization()
    layer(np.ones((1, 2)), training=True)
    assert np.isfinite(ops.convert_to_numpy(layer.moving_variance)).all()


def test_saved_and_loaded(tmp_path):
    model = keras.Sequential(
        [keras.Input((2,)), nc_keras.layers.BatchNormalization(momentum=0.8)]
    )
    model.save(tmp_path / "model.keras")
    layer = keras.models.load_model(tmp_path / "model.keras").layers[0]
    assert type(layer) is nc_keras.layers.BatchNormalization
    assert (layer.momentum, layer.epsilon) == (0.8, 1e-5)
