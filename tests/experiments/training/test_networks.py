import keras
import numpy as np
import pytest
from keras import ops

from nc_keras.experiments import datasets
from nc_keras.experiments.options.settings import Run
from nc_keras.experiments.options.settings import Settings
from nc_keras.experiments.training import one_run
from nc_keras.experiments.training.networks import build_model
from nc_keras.experiments.training.networks import build_network
from nc_keras.experiments.training.one_run import compiled_model
from nc_keras.experiments.training.one_run import describe
from nc_keras.experiments.training.robustness import some_test_images
from recipes.parameters import Options
from recipes.parameters import count
from recipes.parameters import print_table


@pytest.fixture(scope="module")
def digits():
    return datasets.load("digits")


def test_pixels_are_standardised_inside(digits):
    model = build_model(Settings("digits", widths=(4, 16)), "etf", digits)
    inside = keras.Model(model.inputs[0], model.layers[-2].output)
    pixels = ops.convert_to_numpy(inside(digits.x_train))
    assert pixels.mean() == pytest.approx(0, abs=1e-5)
    assert pixels.std() == pytest.approx(1, abs=1e-5)
    # The test images by the training images' statistics.
    pixels = ops.convert_to_numpy(inside(digits.x_test))
    expected = digits.standardized().x_test
    np.testing.assert_allclose(pixels, expected, atol=1e-5)


def test_images_of_28_pixels_get_a_black_border():
    images = np.full((20, 28, 28, 1), 255, "uint8")
    images[:10] = 51
    labels = np.arange(20, dtype="int32") % 10
    data = datasets.Dataset("mnist", 10, images, labels, images, labels)
    settings = Settings("mnist", network="resnet18", widths=(4,))
    model = build_model(settings, "linear", data)
    inside = keras.Model(model.inputs[0], model.layers[-2].output)
    pixels = ops.convert_to_numpy(inside(images[10:]))[..., 0]
    assert pixels.shape == (10, 32, 32)
    mean, deviation = 0.6 * 255, 0.4 * 255
    assert pixels[0, 16, 16] == pytest.approx(1.0)
    assert pixels[0, 0, 0] == pytest.approx(-mean / deviation)


def test_each_channel_has_its_own_statistics():
    draw = np.random.default_rng(0)
    images = draw.integers(0, [50, 100, 255], (50, 32, 32, 3)).astype("uint8")
    labels = np.arange(50, dtype="int32") % 10
    data = datasets.Dataset("cifar10", 10, images, labels, images, labels)
    model = build_model(Settings("cifar10", network="mlp"), "linear", data)
    inside = keras.Model(model.inputs[0], model.layers[-2].output)
    pixels = ops.convert_to_numpy(inside(images)).astype("float64")
    np.testing.assert_allclose(pixels.mean((0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(pixels.std((0, 1, 2)), 1, atol=1e-5)


@pytest.mark.parametrize("network", ["mlp", "conv_net", "resnet18"])
def test_as_many_features_as_classes(network, digits):
    settings = Settings("digits", network=network, widths=(4, 16))
    model = build_network(settings, "etf_dim_c", digits.image_shape, 10)
    head = model.layers[-1]
    assert head.input.shape == (None, 10)
    assert not head.rotate


def test_stem_follows_the_images():
    settings = Settings("stl10", network="resnet18", widths=(4,))
    large = build_network(settings, "linear", (96, 96, 3), 10)
    small = build_network(settings, "linear", (64, 64, 3), 10)
    assert large.get_layer("conv1").kernel_size == (7, 7)
    assert small.get_layer("conv1").kernel_size == (3, 3)


def test_description_counts_weights_and_momenta(digits):
    settings = Settings("digits", network="mlp", widths=(16,))
    facts = describe(compiled_model(settings, Run("ce", "etf", 0), digits))
    trainable = 64 * 16 + 2 * 16
    assert facts["trainable_parameters"] == trainable
    assert facts["parameters"] == trainable + 2 * 16 + 160
    assert facts["feature_dim"] == 16


def test_some_test_images_are_the_same_at_every_call(digits):
    images = some_test_images(digits, 100)
    assert images.shape == (100, 8, 8, 1)
    np.testing.assert_array_equal(images, some_test_images(digits, 100))
    with pytest.raises(ValueError, match="Received: deepfool=500"):
        some_test_images(digits, 500)


@pytest.fixture
def seen(monkeypatch):
    """The labels of every batch that a loss was computed of."""
    labels = []
    compiled = one_run.compiled_model

    def spied(*arguments):
        model = compiled(*arguments)

        class Spy(type(model.loss)):
            def call(self, y_true, y_pred):
                labels.extend(np.ravel(y_true))
                return super().call(y_true, y_pred)

        model.compile(
            model.optimizer, Spy(), metrics=["accuracy"], run_eagerly=True
        )
        return model

    monkeypatch.setattr(one_run, "compiled_model", spied)
    # It would hold for all the tests that follow.
    monkeypatch.setattr(one_run, "make_deterministic", lambda: None)
    return labels


def test_every_head_and_loss_sees_the_images_in_one_order(
    digits, seen, tmp_path
):
    small = datasets.take(digits, 30)
    settings = Settings(
        "digits",
        network="mlp",
        widths=(16,),
        epochs=1,
        batch_size=100,
        output=tmp_path,
        progress=False,
    )
    orders = []
    for run in (
        Run("ce", "linear", 5),
        Run("ce", "etf", 5),
        Run("mse", "weight_norm", 5),
        Run("ce", "linear", 6),
    ):
        seen.clear()
        one_run.train(settings, run, small)
        orders.append(seen[:300])
    assert sorted(orders[0]) == sorted(small.y_train)
    assert orders[1] == orders[0] and orders[2] == orders[0]
    assert orders[3] != orders[0]


def test_parameters_that_a_fixed_head_saves(capsys):
    options = Options(networks=("resnet18", "resnet50"), stem="imagenet")
    counts = count("resnet18", options)
    assert counts == {
        "linear": 11_181_642,
        "etf": 11_181_642 - 5130,
        # Zhu et al. also train a bias of 10.
        "etf_dim_c": 8_867_442 - 10,
    }
    cifar = count("resnet18", Options())
    assert cifar["linear"] == 11_173_962
    print_table(options)
    text = capsys.readouterr().out
    assert "20.70%" in text
    assert "4.45%" in text
    with pytest.raises(ValueError, match="Did you mean 'resnet18'"):
        Options(networks=("resnet19",))


@pytest.mark.parametrize("network", ["mlp", "conv_net"])
def test_counts_are_those_of_each_head(network):
    options = Options()
    settings = Settings("cifar10", network=network)
    for head, number in count(network, options).items():
        model = build_network(settings, head, (32, 32, 3), 10)
        weights = model.trainable_weights
        assert number == sum(np.prod(w.shape) for w in weights)
