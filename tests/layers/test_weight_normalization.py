import keras
import numpy as np
import pytest
from gradients import gradients
from keras import ops
from keras.ops import convert_to_numpy as to_numpy

import nc_keras
from nc_keras.layers import WeightNormalization

LAYERS = {
    "dense": (lambda: keras.layers.Dense(5), (12,), 0),
    "conv1d": (lambda: keras.layers.Conv1D(5, 3), (12, 3), (0, 1)),
    "conv2d": (lambda: keras.layers.Conv2D(5, 3), (8, 8, 3), (0, 1, 2)),
    "conv3d": (
        lambda: keras.layers.Conv3D(2, 2),
        (4, 4, 4, 3),
        (0, 1, 2, 3),
    ),
    "conv2d_transpose": (
        lambda: keras.layers.Conv2DTranspose(5, 3),
        (8, 8, 3),
        (0, 1, 3),
    ),
    "depthwise": (
        lambda: keras.layers.DepthwiseConv2D(3, depth_multiplier=2),
        (8, 8, 3),
        (0, 1),
    ),
}


@pytest.mark.parametrize("kind", LAYERS)
def test_equals_the_layer_right_after_wrapping(kind, rng):
    make, shape, _ = LAYERS[kind]
    layer, x = make(), rng.normal(size=(2, *shape)).astype("float32")
    before = to_numpy(layer(x))
    wrapped = WeightNormalization(layer)
    np.testing.assert_allclose(to_numpy(wrapped(x)), before, atol=2e-6)


@pytest.mark.parametrize("kind", LAYERS)
def test_gradient_of_a_direction_is_orthogonal_to_it(kind, rng):
    make, shape, axes = LAYERS[kind]
    wrapped = WeightNormalization(make())
    x = rng.normal(size=(2, *shape)).astype("float32")
    wrapped(x)
    grads = gradients(wrapped, x, lambda f: ops.sum(f**2))
    for variable, grad in zip(wrapped.trainable_variables, grads, strict=True):
        assert np.abs(grad).max() > 0, variable.path
        if variable is wrapped.layer.kernel:
            v = to_numpy(variable)
            along = np.sum(grad * v, axes) / np.linalg.norm(v)
            assert np.abs(along).max() < 1e-5 * np.linalg.norm(grad)


def test_length_scales_the_outputs_and_leaves_the_direction(rng):
    wrapped = WeightNormalization(keras.layers.Conv2D(5, 3, use_bias=False))
    x = rng.normal(size=(2, 8, 8, 3)).astype("float32")
    before = to_numpy(wrapped(x))
    wrapped.g.assign(wrapped.g * 2)
    np.testing.assert_allclose(to_numpy(wrapped(x)), 2 * before, atol=1e-5)
    wrapped.layer.kernel.assign(wrapped.layer.kernel * 7)
    np.testing.assert_allclose(to_numpy(wrapped(x)), 2 * before, atol=1e-5)


def test_trains_saves_and_is_found_as_a_head(tmp_path, digits):
    x, y = digits[0][:256], digits[1][:256]
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            WeightNormalization(keras.layers.Conv2D(8, 3, activation="relu")),
            keras.layers.GlobalAveragePooling2D(),
            WeightNormalization(keras.layers.Dense(10)),
        ]
    )
    model.compile(nc_keras.optimizers.SGD(0.1, 0.9), loss=nc_keras.losses.CE())
    before = [to_numpy(w) for w in model.trainable_weights]
    history = model.fit(x, y, epochs=3, verbose=0).history["loss"]
    assert history[-1] < history[0]
    for old, new in zip(before, model.trainable_weights, strict=True):
        assert np.abs(old - to_numpy(new)).max() > 0
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(
        loaded.predict(x, verbose=0), model.predict(x, verbose=0)
    )
    values = nc_keras.measure(model, x, y)
    outputs = model.predict(x, verbose=0)
    assert values["accuracy"] == np.mean(outputs.argmax(1) == y)


def test_mixed_precision(rng):
    x = rng.normal(size=(2, 8, 8, 3)).astype("float32")
    layer = keras.layers.Conv2D(5, 3, dtype="mixed_bfloat16")
    before = to_numpy(ops.cast(layer(x), "float32"))
    wrapped = WeightNormalization(layer, dtype="mixed_bfloat16")
    after = to_numpy(ops.cast(wrapped(x), "float32"))
    np.testing.assert_allclose(after, before, atol=0.05)


def test_a_filter_of_zeros_stays_zero_and_can_leave(rng):
    x = rng.normal(size=(2, 6)).astype("float32")
    wrapped = WeightNormalization(
        keras.layers.Dense(3, kernel_initializer="zeros")
    )
    np.testing.assert_array_equal(to_numpy(wrapped(x)), 0.0)
    grads = gradients(wrapped, x, lambda f: ops.sum(f))
    assert all(np.isfinite(g).all() for g in grads)
    assert max(np.abs(g).max() for g in grads[:2]) > 0


def test_losses_of_the_layer_are_kept(rng):
    x = rng.normal(size=(2, 6)).astype("float32")
    layer = keras.layers.Dense(3, activity_regularizer="l2")
    layer(x)
    expected = to_numpy(layer.losses[0])
    wrapped = WeightNormalization(
        keras.layers.Dense(3, activity_regularizer="l2")
    )
    wrapped.build(x.shape)
    wrapped.layer.set_weights(layer.get_weights())
    wrapped.g.assign(np.linalg.norm(layer.get_weights()[0], axis=0)[None])
    wrapped(x)
    [loss] = wrapped.losses
    np.testing.assert_allclose(to_numpy(loss), expected, rtol=1e-5)


def test_refuses_a_layer_without_one_kernel():
    with pytest.raises(ValueError, match="of type BatchNormalization"):
        WeightNormalization(keras.layers.BatchNormalization())
