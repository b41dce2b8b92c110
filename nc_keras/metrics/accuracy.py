"""How often the head, and the nearest class mean, are right."""

import numpy as np

from nc_keras.measuring.examples import Examples
from nc_keras.measuring.registry import metric


@metric(
    "accuracy",
    "kernel",
    over="examples",
    group="Accuracy",
    title="accuracy of the head",
    note="the head is right",
    formula="share of examples where argmax(Wh + b) = y",
    goal="1",
)
def accuracy(examples: Examples) -> np.ndarray:
    """Share of examples with `argmax_c w_c h + b_c = y`."""
    return examples.decisions == examples.labels


@metric(
    "ncc_accuracy",
    "means",
    "train_means",
    over="examples",
    group="NC4",
    title="accuracy of the nearest class mean",
    note="nearest train mean is right",
    formula="share of examples whose nearest train class mean is their own",
    goal="1",
)
def ncc_accuracy(examples: Examples) -> np.ndarray:
    """Share of examples whose nearest train class mean is their class's."""
    return examples.nearest_means == examples.labels
