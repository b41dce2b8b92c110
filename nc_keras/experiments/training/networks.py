"""The networks of the recipes, from image to outputs."""

from typing import Any

import keras

import nc_keras
from nc_keras.experiments.datasets import Dataset
from nc_keras.experiments.datasets import ImageStream
from nc_keras.experiments.options.settings import Settings
from nc_keras.experiments.options.settings import depth_of

_BUILDERS = {
    "resnet": nc_keras.models.ResNet,
    "vgg": nc_keras.models.VGG,
    "densenet": nc_keras.models.DenseNet,
}


def build_network(
    settings: Settings, head: str, input_shape: tuple, num_classes: int
) -> keras.Model:
    """Returns a network for standardised images.

    Args:
        settings: The settings of the recipe.
        head: One of its heads.
        input_shape: Tuple `(height, width, channels)`.
        num_classes: Integer.
    """
    options: dict[str, Any] = {"head": head}
    feature_dim = None
    if head == "etf_dim_c":
        # Zhu et al.'s: as many features as classes, and not rotated.
        options["head"], feature_dim = "etf_canonical", num_classes
    family, depth = depth_of(settings.network)
    if depth is None:
        return _small(settings, family, input_shape, num_classes, feature_dim)(
            **options
        )
    if settings.widths and family != "densenet":
        options["width"] = settings.widths[0]
    stem = settings.stem
    if stem == "auto":
        stem = "imagenet" if min(input_shape[:2]) > 64 else "cifar"
    return _BUILDERS[family](
        depth,
        input_shape,
        num_classes,
        stem=stem,
        feature_dim=feature_dim,
        **options,
    )


def build_model(
    settings: Settings, head: str, dataset: Dataset | ImageStream
) -> keras.Model:
    """Returns a network for the images as they are stored, uint8.

    The pixels are standardised inside, by the mean and the deviation of each
    channel over the training images, after images of 28x28 got a black border
    of two pixels, as in the authors' notebook.

    Args:
        settings: The settings of the recipe.
        head: One of its heads.
        dataset: The data, whose pixel statistics are taken.
    """
    mean, deviation = dataset.pixel_statistics()
    layers = [keras.Input(dataset.image_shape)]
    shape = dataset.image_shape
    family, depth = depth_of(settings.network)
    if depth is not None and shape[:2] == (28, 28):
        layers.append(keras.layers.ZeroPadding2D(2))
        shape = (32, 32, shape[2])
    layers.append(nc_keras.layers.Standardization(mean, deviation))
    network = build_network(settings, head, shape, dataset.num_classes)
    return keras.Sequential([*layers, network], name="standardised")


def _small(settings, family, input_shape, num_classes, feature_dim):
    builder, option, default = {
        "mlp": (nc_keras.models.MLP, "widths", (512, 512, 512)),
        "conv_net": (nc_keras.models.ConvNet, "filters", (32, 64, 128)),
    }[family]
    widths = settings.widths or default
    if feature_dim:
        widths = (*widths[:-1], feature_dim)

    def build(**options):
        return builder(input_shape, num_classes, **{option: widths}, **options)

    return build
