"""Weights and images that PyTorch's and Keras' networks are compared on."""

import zlib

import numpy as np
from sklearn.datasets import load_digits


def weight(name, shape):
    """A tensor in PyTorch's layout, drawn from the name of the weight."""
    draw = np.random.default_rng(zlib.crc32(name.encode()))
    if len(shape) > 1:
        fan_in = np.prod(shape[1:])
        return draw.normal(size=shape) * np.sqrt(2 / fan_in)
    if name.endswith("weight"):
        return draw.uniform(0.3, 0.8, size=shape)
    if name.endswith("running_var"):
        return draw.uniform(0.5, 1.5, size=shape)
    return draw.normal(size=shape) * 0.1


def direction(name, shape):
    """A random direction, to tell a whole tensor by one number."""
    draw = np.random.default_rng(zlib.crc32(f"{name} direction".encode()))
    return draw.normal(size=shape)


def images(shape, count=8):
    """Handwritten digits, one a channel, enlarged and standardised."""
    height, width, channels = shape
    digits = load_digits().images[: count * channels]
    digits = digits.reshape(count, channels, 8, 8).transpose(0, 2, 3, 1)
    digits = digits.repeat(height // 8, 1).repeat(width // 8, 2)
    rows, columns = height - digits.shape[1], width - digits.shape[2]
    digits = np.pad(digits, ((0, 0), (0, rows), (0, columns), (0, 0)))
    return (digits - digits.mean()) / digits.std()


LABELS = np.arange(8) % 5
