"""The networks of the recipes, from image to outputs."""

from typing import Any

import keras

import nc_keras
from nc_keras.experiments.datasets import Dataset
from nc_keras.experiments.datasets import ImageStream
from nc_keras.experiments.options.built_in import OF_COSINES
from nc_keras.experiments.options.built_in import depth_of
from nc_keras.experiments.options.own import name_of
from nc_keras.experiments.options.settings import Settings
from nc_keras.measuring.heads import Head
from nc_keras.models.heads import make_head

_BUILDERS = {
    "resnet": nc_keras.models.ResNet,
    "vgg": nc_keras.models.VGG,
    "densenet": nc_keras.models.DenseNet,
}


def build_network(
    settings: Settings,
    head: str,
    input_shape: tuple,
    num_classes: int,
    loss: str = "ce",
) -> keras.Model:
    """Returns a network for standardised images.

    Args:
        settings: The settings of the recipe.
        head: One of its heads.
        input_shape: Tuple `(height, width, channels)`.
        num_classes: Integer.
        loss: One of its losses. That of cosines has features of length 1
            before its head, and rows of length 1 in it.
    """
    network = _plain_network(settings, head, input_shape, num_classes)
    network = nc_keras.models.renormalized(network, settings.norm)
    if settings.meant("losses", loss) in OF_COSINES:
        return _of_cosines(network)
    return network


def _plain_network(settings, head, input_shape, num_classes):
    own = settings.meant("network", settings.network)
    if not isinstance(own, str):
        return _own(settings, own, head, input_shape, num_classes)
    options: dict[str, Any] = {"head": build_head(settings, head, num_classes)}
    feature_dim = None
    if options["head"] == "etf_dim_c":
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


def build_head(
    settings: Settings, head: str, num_classes: int
) -> str | keras.layers.Layer:
    """Returns a head of the recipe's: its layer, or the name of a built-in.

    Args:
        settings: The settings of the recipe.
        head: One of its heads.
        num_classes: Integer.

    Raises:
        ValueError: If the recipe's own one is no layer.
    """
    own = settings.meant("heads", head)
    if isinstance(own, str):
        return own
    if isinstance(own, keras.layers.Layer):
        # Each run has one of its own.
        return type(own).from_config(own.get_config())
    layer = own(num_classes)
    if not isinstance(layer, keras.layers.Layer):
        raise ValueError(
            f"The head {head!r} must be a Keras layer, or a function of the "
            "number of classes that returns one. "
            f"Received: {type(layer).__name__} from {name_of(own)}."
        )
    return layer


def _of_cosines(network):
    """The network with features of length 1, and a head of such rows."""
    head = network.layers[-1]
    config = {"name": head.name, "num_classes": head.kernel.shape[1]}
    if isinstance(head, keras.layers.Dense):
        copy = nc_keras.layers.CosineClassifier(**config)
    else:
        copy = type(head).from_config(head.get_config())
    unit = nc_keras.layers.UnitNormalization(name="unit_features")
    outputs = copy(unit(head.input))
    return keras.Model(network.inputs[0], outputs, name=network.name)


def build_model(
    settings: Settings,
    head: str,
    dataset: Dataset | ImageStream,
    loss: str = "ce",
) -> keras.Model:
    """Returns a network for the examples as they are stored.

    What is standardised is so inside, by the mean and the deviation of each
    channel over the training images, after images of 28x28 got a black border
    of two pixels, as in the authors' notebook, for networks that need it.

    Args:
        settings: The settings of the recipe.
        head: One of its heads.
        dataset: The data, whose pixel statistics are taken.
        loss: One of its losses, as in `build_network`.
    """
    layers = [keras.Input(dataset.image_shape)]
    shape = dataset.image_shape
    is_own = settings.network in settings.own.get("network", {})
    is_deep = not is_own and depth_of(settings.network)[1] is not None
    if is_deep and shape[:2] == (28, 28):
        layers.append(keras.layers.ZeroPadding2D(2))
        shape = (32, 32, shape[2])
    standardize = settings.standardize
    if standardize is None:
        standardize = dataset.is_uint8
    if standardize:
        layers.append(
            nc_keras.layers.Standardization(*dataset.pixel_statistics())
        )
    elif dataset.is_uint8:
        # Keras casts no integers.
        layers.append(nc_keras.layers.Standardization([0.0], [1.0]))
    network = build_network(settings, head, shape, dataset.num_classes, loss)
    if is_own or not isinstance(settings.meant("heads", head), str):
        _validate(network, settings, head, dataset.num_classes)
    return keras.Sequential([*layers, network], name="standardised")


def _own(settings, build, head, input_shape, num_classes):
    """A network of the recipe's own, with one of the heads."""
    layer = build_head(settings, head, num_classes)
    is_narrow = layer == "etf_dim_c"
    if is_narrow:
        # As many features as classes, before a head of its own.
        layer = keras.layers.Dense(num_classes, name="features")
    layer = make_head(layer, num_classes)
    model = build(input_shape, num_classes, layer)
    name = f"The network {settings.network!r}"
    if not isinstance(model, keras.Model):
        raise ValueError(
            f"{name} must return a keras.Model. "
            f"Received: {type(model).__name__}."
        )
    if isinstance(model, keras.Sequential) and not model.built:
        model.build((None, *input_shape))
    if not getattr(model, "outputs", None) or model.layers[-1] is not layer:
        raise ValueError(
            f"{name} must be a functional or Sequential model that ends with "
            "the head that it is given, its third argument. Received: "
            f"{[one.name for one in model.layers]}, the head {layer.name!r}."
        )
    if is_narrow:
        outputs = make_head("etf_canonical", num_classes)(model.outputs[0])
        model = keras.Model(model.inputs[0], outputs, name=model.name)
    return model


def _validate(network, settings, head, num_classes):
    """Says what could not be measured or kept, before it is trained."""
    what = f"The network {settings.network!r} with the head {head!r}"
    if network.output_shape != (None, num_classes):
        raise ValueError(
            f"{what} must have {num_classes} outputs, one for each class of "
            f"the data. Received: output_shape={network.output_shape}."
        )
    try:
        Head(network)
    except ValueError as error:
        raise ValueError(
            f"{what} cannot be measured: a head needs a `kernel` of shape "
            f"(features, classes), as that of Dense. {error}"
        ) from error
    try:
        network.get_config()
    except (NotImplementedError, TypeError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(
            f"{what} cannot be saved: {reason} Give the layer a `get_config`."
        ) from error


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
