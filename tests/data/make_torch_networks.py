"""Makes torch_networks.json: what PyTorch's own networks compute.

    pip install torch==2.13.0 torchvision==0.28.0 scikit-learn
    python tests/data/make_torch_networks.py

The networks are torchvision's, changed as the papers' code changes them: a
3x3 stem without pooling, fewer features at the end, BatchNorm for dropout.
The plain DenseNet-40, which torchvision lacks, is written here. Everything is
computed in float64. Each network gives its outputs in evaluation mode, then
makes two steps of SGD, and gives for every weight the length of its change
and the change along a random direction, and its outputs again.
"""

import json
import pathlib
import sys
import types

import torch
from torch import nn

# Its detection operators are compiled for one build of torch; none is needed.
_OPERATORS = "torchvision._meta_registrations"
sys.modules[_OPERATORS] = types.ModuleType(_OPERATORS)

import torchvision.models as tv  # noqa: E402

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "models"))

import torch_weights  # noqa: E402


def resnet(depth, stem, channels=3, feature_dim=None):
    model = getattr(tv, f"resnet{depth}")(num_classes=10)
    if stem == "cifar":
        model.maxpool = nn.Identity()
    size, stride = (3, 1) if stem == "cifar" else (7, 2)
    model.conv1 = nn.Conv2d(channels, 64, size, stride, size // 2, bias=False)
    if feature_dim:
        block = model.layer4[-1]
        block.conv2 = nn.Conv2d(512, feature_dim, 3, 1, 1, bias=False)
        block.bn2 = nn.BatchNorm2d(feature_dim)
        block.downsample = nn.Sequential(
            nn.Conv2d(512, feature_dim, 1, bias=False),
            nn.BatchNorm2d(feature_dim),
        )
        model.fc = nn.Linear(feature_dim, 10)
    return model


def vgg(depth, hidden):
    model = getattr(tv, f"vgg{depth}_bn")(num_classes=10)
    model.avgpool = nn.Identity()
    widths = [512, *hidden]
    layers = []
    for before, after in zip(widths, hidden, strict=False):
        layers += [nn.Linear(before, after), nn.BatchNorm1d(after), nn.ReLU()]
    model.classifier = nn.Sequential(*layers, nn.Linear(widths[-1], 10))
    return model


def densenet(blocks, growth, filters, stem):
    model = tv.DenseNet(growth, blocks, filters, num_classes=10)
    if stem == "cifar":
        model.features.conv0 = nn.Conv2d(3, filters, 3, 1, 1, bias=False)
        for name in ("norm0", "relu0", "pool0"):
            setattr(model.features, name, nn.Identity())
    return model


class DenseLayer(nn.Module):
    def __init__(self, features, growth):
        super().__init__()
        self.norm1 = nn.BatchNorm2d(features)
        self.conv1 = nn.Conv2d(features, growth, 3, 1, 1, bias=False)

    def forward(self, x):
        return torch.cat([x, self.conv1(torch.relu(self.norm1(x)))], 1)


class PlainDenseNet(nn.Module):
    def __init__(self, layers=12, growth=12, features=16):
        super().__init__()
        self.features = nn.Sequential()
        self.features.add_module(
            "conv0", nn.Conv2d(3, features, 3, 1, 1, bias=False)
        )
        for block in (1, 2, 3):
            if block > 1:
                transition = nn.Sequential()
                transition.add_module("norm", nn.BatchNorm2d(features))
                transition.add_module("relu", nn.ReLU())
                transition.add_module(
                    "conv", nn.Conv2d(features, features, 1, bias=False)
                )
                transition.add_module("pool", nn.AvgPool2d(2))
                self.features.add_module(f"transition{block - 1}", transition)
            dense = nn.Sequential()
            for layer in range(1, layers + 1):
                dense.add_module(
                    f"denselayer{layer}", DenseLayer(features, growth)
                )
                features += growth
            self.features.add_module(f"denseblock{block}", dense)
        self.features.add_module("norm5", nn.BatchNorm2d(features))
        self.classifier = nn.Linear(features, 10)

    def forward(self, x):
        x = torch.relu(self.features(x))
        return self.classifier(x.mean((2, 3)))


# Name: image shape, network.
NETWORKS = {
    "resnet18-cifar": ((32, 32, 3), lambda: resnet(18, "cifar")),
    "resnet18-cifar-grey": ((40, 36, 1), lambda: resnet(18, "cifar", 1)),
    "resnet18-imagenet": ((64, 64, 3), lambda: resnet(18, "imagenet")),
    "resnet18-cifar-dim10": (
        (32, 32, 3),
        lambda: resnet(18, "cifar", 3, 10),
    ),
    "resnet50-imagenet": ((72, 72, 3), lambda: resnet(50, "imagenet")),
    "vgg11": ((32, 32, 3), lambda: vgg(11, (256, 128))),
    "vgg13-no-hidden": ((32, 32, 3), lambda: vgg(13, ())),
    "densenet40-cifar": ((32, 32, 3), PlainDenseNet),
    "densenet100-cifar": (
        (32, 32, 3),
        lambda: densenet((16, 16, 16), 12, 24, "cifar"),
    ),
    "densenet121-imagenet": (
        (64, 64, 3),
        lambda: densenet((6, 12, 24, 16), 32, 64, "imagenet"),
    ),
}
# A step of these is not compared: it costs a test more than it tells.
OUTPUTS_ONLY = {
    "resnet18-cifar-grey",
    "resnet18-imagenet",
    "vgg13-no-hidden",
    "densenet100-cifar",
    "densenet121-imagenet",
}
LEARNING_RATE, MOMENTUM, WEIGHT_DECAY, STEPS = 0.01, 0.9, 5e-4, 2


def state(model):
    return {
        name: value
        for name, value in model.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }


def rounded(outputs):
    return [[float(f"{v:.8g}") for v in row] for row in outputs.tolist()]


def compute(shape, model, train):
    model = model.double()
    with torch.no_grad():
        for name, value in state(model).items():
            value.copy_(torch.tensor(torch_weights.weight(name, value.shape)))
    x = torch.tensor(torch_weights.images(shape)).permute(0, 3, 1, 2)
    y = torch.tensor(torch_weights.LABELS)
    before = {name: value.clone() for name, value in state(model).items()}
    record = {
        "shape": shape,
        "parameters": sum(p.numel() for p in model.parameters()),
        "outputs": rounded(model.eval()(x)),
    }
    return {**record, **two_steps(model, x, y, before)} if train else record


def two_steps(model, x, y, before):
    model.train()
    optimizer = torch.optim.SGD(
        model.parameters(), LEARNING_RATE, MOMENTUM, weight_decay=WEIGHT_DECAY
    )
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
    changes = {}
    for name, value in state(model).items():
        change = (value - before[name]).numpy()
        along = (change * torch_weights.direction(name, change.shape)).sum()
        length = (change**2).sum() ** 0.5
        changes[name] = [float(f"{v:.6g}") for v in (length, along)]
    return {
        "loss": loss.item(),
        "changes": changes,
        "outputs_after": rounded(model.eval()(x)),
    }


if __name__ == "__main__":
    record = {
        name: compute(shape, build(), name not in OUTPUTS_ONLY)
        for name, (shape, build) in NETWORKS.items()
    }
    path = pathlib.Path(__file__).with_name("torch_networks.json")
    path.write_text(json.dumps(record, separators=(",", ":")) + "\n")
