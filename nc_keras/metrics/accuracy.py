"""How often the head, and the nearest class mean, are right."""

import numpy as np

from nc_keras.measuring.examples import Examples
from nc_keras.measuring.registry import metric


@metric("accuracy", "kernel", over="examples")
def accuracy(examples: Examples) -> np.ndarray:
    """Share of examples with `argmax_c w_c h + b_c = y`."""
    return examples.decisions == examples.labels


@metric("ncc_accuracy", "means", "train_means", over="examples")
def ncc_accuracy(examples: Examples) -> np.ndarray:
    """Share of examples whose nearest train class mean is their class's."""
    return examples.nearest_means == examples.labels
