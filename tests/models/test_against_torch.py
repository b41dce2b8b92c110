"""The networks against PyTorch's: see tests/data/make_torch_networks.py."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest
import torch_weights
from keras import ops

import nc_keras
from nc_keras.models import VGG
from nc_keras.models import DenseNet
from nc_keras.models import ResNet

GOLDEN = json.loads(
    (Path(__file__).parents[1] / "data" / "torch_networks.json").read_text()
)
BUILD = {
    "resnet18-cifar": lambda s: ResNet(18, s, 10),
    "resnet18-cifar-grey": lambda s: ResNet(18, s, 10),
    "resnet18-imagenet": lambda s: ResNet(18, s, 10, "imagenet"),
    "resnet18-cifar-dim10": lambda s: ResNet(18, s, 10, feature_dim=10),
    "resnet50-imagenet": lambda s: ResNet(50, s, 10, "imagenet"),
    "vgg11": lambda s: VGG(11, s, 10, hidden=(256, 128)),
    "vgg13-no-hidden": lambda s: VGG(13, s, 10, hidden=()),
    "densenet40-cifar": lambda s: DenseNet(40, s, 10),
    "densenet100-cifar": lambda s: DenseNet(100, s, 10),
    "densenet121-imagenet": lambda s: DenseNet(121, s, 10, "imagenet"),
}
if keras.backend.backend() != "tensorflow":
    # The graph is the same; one network shows that the operations are.
    BUILD = {name: BUILD[name] for name in ("resnet18-cifar",)}
TRAINED = [name for name in BUILD if "changes" in GOLDEN[name]]
HEADS = {"resnet": "fc", "vgg": "classifier.{}", "densenet": "classifier"}
VARIABLES = {
    "kernel": "weight",
    "gamma": "weight",
    "beta": "bias",
    "bias": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
TO_TORCH = {1: (0,), 2: (1, 0), 4: (3, 2, 0, 1)}
FROM_TORCH = {1: (0,), 2: (1, 0), 4: (2, 3, 1, 0)}


@pytest.fixture
def float64():
    """Rounding would be taken for a difference, and a real one for rounding."""
    for dtype in ("float64", "float32"):
        keras.config.set_floatx(dtype)
        keras.config.set_dtype_policy(dtype)
        if dtype == "float64":
            yield


def with_torch_weights(network):
    """The model, with PyTorch's weights, and its variables by their names."""
    model = BUILD[network](GOLDEN[network]["shape"])
    hidden = [layer for layer in model.layers if "classifier" in layer.name]
    family = model.name.partition("_")[0]
    # In a sequence of dense layer, BatchNorm and ReLU, the head is the last.
    head = HEADS[family].format(len(hidden) // 2 * 3)
    variables = {}
    for layer in model.layers:
        name = head if layer.name == "head" else layer.name.replace("_", ".")
        for variable in layer.weights:
            variables[f"{name}.{VARIABLES[variable.name]}"] = variable
    for name, variable in variables.items():
        value = torch_weights.weight(name, as_torch(variable).shape)
        variable.assign(value.transpose(FROM_TORCH[value.ndim]))
    return model, variables


def as_torch(variable):
    array = np.asarray(ops.convert_to_numpy(variable))
    return array.transpose(TO_TORCH[array.ndim])


def assert_outputs(model, x, expected, tolerance):
    outputs = ops.convert_to_numpy(model(x, training=False))
    expected = np.array(expected)
    error = np.abs(outputs - expected).max() / np.abs(expected).max()
    assert error < tolerance


@pytest.mark.parametrize("network", BUILD)
def test_outputs(network):
    model, _ = with_torch_weights(network)
    x = torch_weights.images(GOLDEN[network]["shape"]).astype("float32")
    assert_outputs(model, x, GOLDEN[network]["outputs"], 1e-5)
    trainable = sum(np.prod(w.shape) for w in model.trainable_weights)
    assert trainable == GOLDEN[network]["parameters"]


@pytest.mark.skipif(
    keras.backend.backend() == "jax", reason="JAX has no float64 by default"
)
@pytest.mark.parametrize("network", TRAINED)
def test_two_training_steps(network, float64):
    golden = GOLDEN[network]
    model, variables = with_torch_weights(network)
    assert set(variables) == set(golden["changes"])
    before = {name: as_torch(v).copy() for name, v in variables.items()}
    x = torch_weights.images(golden["shape"])
    model.compile(
        nc_keras.optimizers.SGD(0.01, momentum=0.9, weight_decay=5e-4),
        loss=nc_keras.losses.CE(),
    )
    for _ in range(2):
        loss = model.train_on_batch(x, torch_weights.LABELS)
    assert float(loss) == pytest.approx(golden["loss"], rel=1e-6)
    for name, (length, along) in golden["changes"].items():
        change = as_torch(variables[name]) - before[name]
        direction = torch_weights.direction(name, change.shape)
        # The golden numbers have six digits.
        assert np.linalg.norm(change) == pytest.approx(length, rel=1e-5), name
        assert np.sum(change * direction) == pytest.approx(
            along, rel=1e-5, abs=1e-5 * length
        ), name
    assert_outputs(model, x, golden["outputs_after"], 1e-6)
