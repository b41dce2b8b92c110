"""How often the head, and the nearest class mean, are right."""

from typing import Any

import numpy as np

from nc_keras.metrics.last_layer import LastLayer
from nc_keras.metrics.registry import metric


@metric("accuracy", "kernel", "examples")
def accuracy(layer: LastLayer) -> Any:
    """Share of examples with `argmax_c w_c h + b_c = y`."""
    return np.mean(layer.examples.decisions == layer.examples.labels)


@metric("ncc_accuracy", "train_means", "examples")
def ncc_accuracy(layer: LastLayer) -> Any:
    """Share of examples whose nearest train class mean is their class's."""
    return np.mean(layer.examples.nearest_means == layer.examples.labels)
