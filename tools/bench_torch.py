"""Plain PyTorch training loops, what `bench_train.py` compares with."""

import contextlib
from collections.abc import Iterator

import numpy as np
import torch
from torch import nn
from torch.nn import functional

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def epochs(
    style: str, settings: dict, x: np.ndarray, y: np.ndarray
) -> Iterator[None]:
    """Returns an iterator of which every step trains an epoch.

    Args:
        style: "notebook" or "tuned".
        settings: The options of the benchmark, and the network.
        x: Images, uint8 `[N, 28, 28, 1]`.
        y: Labels, `[N]`.
    """
    torch.manual_seed(0)
    model = build(settings["network"]).to(DEVICE)
    images = torch.from_numpy(x).permute(0, 3, 1, 2)
    if settings["network"] == "resnet18":
        images = functional.pad(images, (2, 2, 2, 2))
    labels = torch.from_numpy(y).long()
    optimizer = torch.optim.SGD(
        model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4
    )
    mean, deviation = float(x.mean()), float(x.std())
    run = notebook if style == "notebook" else tuned
    return run(settings, model, optimizer, images, labels, mean, deviation)


def notebook(
    settings, model, optimizer, images, labels, mean, deviation
) -> Iterator[None]:
    """As the papers' notebook: a DataLoader, and a number every batch."""

    class Images(torch.utils.data.Dataset):
        def __len__(self):
            return len(labels)

        def __getitem__(self, index):
            image = images[index].float().div(255)
            image = image.sub(mean / 255).div(deviation / 255)
            return image, int(labels[index])

    loader = torch.utils.data.DataLoader(
        Images(), settings["batch_size"], shuffle=True
    )
    losses = []
    while True:
        model.train()
        for x, y in loader:
            x, y = x.to(DEVICE), y.to(DEVICE)
            optimizer.zero_grad()
            outputs = model(x)
            loss = functional.cross_entropy(outputs, y)
            loss.backward()
            optimizer.step()
            correct = torch.argmax(outputs, dim=1).eq(y).sum().item()
            losses.append((loss.item(), correct / len(y)))
        yield


def tuned(
    settings, model, optimizer, images, labels, mean, deviation
) -> Iterator[None]:
    """The images stay on the device, and nothing waits for it."""
    layout = torch.channels_last
    model = model.to(memory_format=layout)
    images = images.to(DEVICE).contiguous(memory_format=layout)
    labels = labels.to(DEVICE)
    step = model
    if DEVICE.type == "cuda":
        torch.set_float32_matmul_precision("high")
        step = torch.compile(model)
    precision = contextlib.nullcontext()
    if settings["bfloat16"]:
        precision = torch.autocast(DEVICE.type, torch.bfloat16)
    while True:
        model.train()
        total = torch.zeros((), device=DEVICE)
        correct = torch.zeros((), device=DEVICE, dtype=torch.long)
        order = torch.randperm(len(labels), device=DEVICE)
        for rows in order.split(settings["batch_size"]):
            x, y = images[rows].float().sub_(mean).div_(deviation), labels[rows]
            optimizer.zero_grad(set_to_none=True)
            with precision:
                outputs = step(x)
                loss = functional.cross_entropy(outputs, y)
            loss.backward()
            optimizer.step()
            total += loss.detach() * len(y)
            correct += (outputs.argmax(1) == y).sum()
        float(total)
        yield


def build(network: str) -> nn.Module:
    """Returns a network of the recipes."""
    if network == "mlp":
        sizes = (784, 512, 512, 512)
        layers = [nn.Flatten()]
        for a, b in zip(sizes[:-1], sizes[1:], strict=True):
            layers += [
                nn.Linear(a, b, bias=False),
                nn.BatchNorm1d(b),
                nn.ReLU(),
            ]
        return nn.Sequential(*layers, nn.Linear(512, 10))
    if network == "conv_net":
        layers, last = [], 1
        for i, filters in enumerate((32, 64, 128)):
            layers += [*conv(last, filters), nn.ReLU()]
            layers += [nn.MaxPool2d(2)] if i < 2 else []
            last = filters
        pool = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10)]
        return nn.Sequential(*layers, *pool)
    stages = zip(
        (64, 64, 128, 256), (64, 128, 256, 512), (1, 2, 2, 2), strict=True
    )
    blocks = []
    for last, filters, stride in stages:
        blocks += [Block(last, filters, stride), Block(filters, filters, 1)]
    return nn.Sequential(
        *(*conv(1, 64), nn.ReLU(), *blocks),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10)),
    )


def conv(channels: int, filters: int, stride: int = 1) -> list[nn.Module]:
    """Returns a 3x3 convolution and its batch normalisation."""
    layer = nn.Conv2d(channels, filters, 3, stride, padding=1, bias=False)
    return [layer, nn.BatchNorm2d(filters)]


class Block(nn.Module):
    """The basic block of a ResNet."""

    def __init__(self, channels: int, filters: int, stride: int):
        super().__init__()
        self.body = nn.Sequential(
            *conv(channels, filters, stride), nn.ReLU(), *conv(filters, filters)
        )
        self.shortcut = nn.Sequential()
        if stride > 1 or channels != filters:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels, filters, 1, stride, bias=False),
                nn.BatchNorm2d(filters),
            )

    def forward(self, x):
        return functional.relu(self.body(x) + self.shortcut(x))
