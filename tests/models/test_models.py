import itertools

import keras
import numpy as np
import pytest
from keras import ops

import nc_keras
from nc_keras.models import MLP
from nc_keras.models import VGG
from nc_keras.models import ConvNet
from nc_keras.models import DenseNet
from nc_keras.models import ResNet

# Their graphs are the same, and one of them runs on JAX in
# test_against_torch.py.
slow_on_jax = pytest.mark.skipif(
    keras.backend.backend() == "jax",
    reason="XLA compiles every shape of every layer, for minutes",
)
BUILD = {
    "mlp": lambda **kwargs: MLP((8, 8, 1), 10, (32, 16), **kwargs),
    "conv_net": lambda **kwargs: ConvNet((8, 8, 1), 10, (8, 16), **kwargs),
    "resnet": lambda **kwargs: ResNet(18, (8, 8, 1), 10, width=4, **kwargs),
}
HEADS = {
    "linear": keras.layers.Dense,
    "etf": nc_keras.layers.ETFClassifier,
    "etf_canonical": nc_keras.layers.ETFClassifier,
    "weight_norm": nc_keras.layers.WeightNormDense,
}


@pytest.mark.parametrize(
    "network, head",
    [
        *itertools.product(("mlp", "conv_net"), HEADS),
        # The same function adds its head.
        pytest.param("resnet", "etf", marks=slow_on_jax),
    ],
)
def test_trains_measures_saves_and_loads(network, head, digits, tmp_path):
    x, y = digits[0][:300], digits[1][:300]
    model = BUILD[network](head=head)
    assert type(model.layers[-1]) is HEADS[head]
    assert model.output_shape == (None, 10)
    model.compile(
        nc_keras.optimizers.SGD(0.05, 0.9, 1e-3),
        loss=nc_keras.losses.MSE(),
        metrics=["accuracy"],
    )
    losses = model.fit(x, y, epochs=4, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    values = nc_keras.measure(model, x, y)
    assert all(np.isfinite(value) for value in values.values())
    outputs = model.predict(x, verbose=0)
    assert values["accuracy"] == pytest.approx(
        np.mean(outputs.argmax(1) == y), abs=0.004
    )
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), outputs)


def test_parameter_counts():
    dense = 64 * 32 + 32 * 16
    assert MLP((8, 8, 1), 10, (32, 16)).count_params() == (dense + 4 * 48 + 170)
    plain = MLP((8, 8, 1), 10, (32, 16), use_batch_norm=False)
    assert plain.count_params() == dense + 48 + 170
    conv = 9 * 8 + 9 * 8 * 16
    assert ConvNet((8, 8, 1), 10, (8, 16)).count_params() == (
        conv + 4 * 24 + 170
    )


def test_batch_norm_has_pytorch_constants():
    layers = [
        layer
        for model in (MLP((4,), 3), ConvNet((8, 8, 1), 3))
        for layer in model.layers
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    assert len(layers) == 6
    assert all((la.momentum, la.epsilon) == (0.9, 1e-5) for la in layers)


def test_a_head_of_ones_own():
    head = nc_keras.layers.ETFClassifier(10, scale=5.0, use_bias=True)
    model = MLP((8, 8, 1), 10, (16,), head=head)
    assert model.layers[-1] is head


def test_same_seed_same_body_for_every_head():
    bodies = []
    for head in HEADS:
        keras.utils.set_random_seed(7)
        model = ConvNet((8, 8, 1), 10, (8, 16), head=head)
        bodies.append(ops.convert_to_numpy(model.layers[1].kernel))
    for body in bodies[1:]:
        np.testing.assert_array_equal(bodies[0], body)


@slow_on_jax
@pytest.mark.parametrize("head", ["linear", "etf_canonical"])
@pytest.mark.parametrize(
    "build",
    [
        lambda **kwargs: ResNet(18, (16, 16, 3), 5, width=4, **kwargs),
        lambda **kwargs: ResNet(50, (8, 8, 3), 5, width=2, **kwargs),
        lambda **kwargs: VGG(11, (32, 32, 3), 5, width=4, **kwargs),
        lambda **kwargs: VGG(11, (32, 32, 3), 5, hidden=(), width=4, **kwargs),
    ],
)
def test_as_many_features_as_classes(build, head):
    model = build(feature_dim=5, head=head)
    assert model.layers[-1].input.shape == (None, 5)
    assert model.output_shape == (None, 5)
    if head == "etf_canonical":
        frame = ops.convert_to_numpy(model.layers[-1].kernel)
        np.testing.assert_allclose(
            frame, np.sqrt(5 / 4) * (np.eye(5) - 0.2), atol=1e-6
        )


@slow_on_jax
def test_dense_net_with_as_many_features_as_classes():
    model = DenseNet(40, (28, 28, 1), 10, feature_dim=10)
    assert model.layers[-1].input.shape == (None, 10)


@slow_on_jax
def test_images_of_28_pixels_are_padded_to_32():
    for model in (
        ResNet(18, (28, 28, 1), 10, width=4),
        VGG(11, (28, 28, 1), 10, hidden=(8,), width=4),
    ):
        assert model.input_shape == (None, 28, 28, 1)
        assert model.layers[1].output.shape == (None, 32, 32, 1)
        outputs = model(np.ones((2, 28, 28, 1)))
        assert np.isfinite(ops.convert_to_numpy(outputs)).all()


@slow_on_jax
def test_large_images():
    model = ResNet(18, (96, 96, 3), 10, "imagenet", width=4)
    assert model.get_layer("avgpool").input.shape == (None, 3, 3, 32)
    model = VGG(11, (96, 96, 3), 10, hidden=(8,), width=4)
    assert model.get_layer("classifier_0").input.shape == (None, 9 * 32)


@slow_on_jax
def test_initial_weights_are_drawn_as_in_torchvision():
    keras.utils.set_random_seed(0)
    model = ResNet(18, (32, 32, 3), 10)
    kernel = ops.convert_to_numpy(model.get_layer("layer4_0_conv2").kernel)
    assert kernel.std() == pytest.approx((2 / (9 * 512)) ** 0.5, rel=0.01)
    # A truncated draw would end at two deviations.
    assert kernel.max() > 4 * kernel.std()
    first, second = (
        ops.convert_to_numpy(model.get_layer(f"layer4_1_conv{i}").kernel)
        for i in (1, 2)
    )
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.01
    head = ops.convert_to_numpy(model.layers[-1].kernel)
    assert 0.95 < np.abs(head).max() * 512**0.5 <= 1.0001
    dense = VGG(11, (32, 32, 3), 10, hidden=(64,)).get_layer("classifier_0")
    kernel = ops.convert_to_numpy(dense.kernel)
    assert kernel.std() == pytest.approx(0.01, rel=0.05)


def test_bad_arguments():
    with pytest.raises(ValueError, match="Did you mean 'linear'.*'lineer'"):
        MLP((4,), 3, head="lineer")
    for head in (3, ["linear"]):
        with pytest.raises(ValueError, match="Received: head="):
            MLP((4,), 3, head=head)
    with pytest.raises(ValueError, match="Received: num_classes=1"):
        MLP((4,), 1)
    with pytest.raises(ValueError, match="Received: widths="):
        MLP((4,), 3, widths=())
    with pytest.raises(ValueError, match="Received: filters="):
        ConvNet((8, 8, 1), 3, filters=())
    with pytest.raises(ValueError, match=r"input_shape=\(8, 8, 1\)"):
        ConvNet((8, 8, 1), 3, filters=(4,) * 5)
    with pytest.raises(ValueError, match="at least 9 dimensions"):
        MLP((4,), 10, widths=(8,), head="etf")


@pytest.mark.parametrize(
    "build, message",
    [
        (lambda: ResNet(20, (32, 32, 3), 10), "nearest is 18. Received: depth"),
        (lambda: VGG(12, (32, 32, 3), 10), "nearest is 11. Received: depth=12"),
        (lambda: DenseNet("121", (32, 32, 3), 10), "Received: depth='121'"),
        (
            lambda: ResNet(18, (32, 32, 3), 10, "cifer"),
            "one of .* Received: stem='cifer'",
        ),
        (
            lambda: ResNet(18, (16, 16, 3), 10, "imagenet"),
            r"32x32 pixels or more.*Received: input_shape=\(16, 16, 3\)",
        ),
        (lambda: VGG(11, (16, 32, 3), 10), "halves the image 5 times"),
        (lambda: DenseNet(121, (4, 4, 1), 10), "needs 8x8 pixels"),
        (lambda: ResNet(18, (32, 32), 10), r"Received: input_shape=\(32, 32\)"),
        (lambda: ResNet(18, (None, 32, 3), 10), "each known"),
        (
            lambda: VGG(11, (32, 32, 3), 10, feature_dim=0),
            "Received: feature_dim=0",
        ),
        (
            lambda: ResNet(
                18, (8, 8, 1), 10, feature_dim=9, head="etf_canonical", width=4
            ),
            "canonical simplex ETF in at least 10",
        ),
        (lambda: ResNet(18, (8, 8, 1), 1, width=4), "Received: num_classes=1"),
    ],
)
def test_bad_arguments_of_the_papers_networks(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_channels_first_is_refused():
    keras.config.set_image_data_format("channels_first")
    try:
        with pytest.raises(ValueError, match="Received: 'channels_first'"):
            ResNet(18, (3, 32, 32), 10)
    finally:
        keras.config.set_image_data_format("channels_last")
