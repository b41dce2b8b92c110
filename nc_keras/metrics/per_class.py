"""One value per class, for tables and histograms."""

from typing import Any

from nc_keras.measuring.examples import Examples
from nc_keras.measuring.last_layer import LastLayer
from nc_keras.measuring.registry import metric
from nc_keras.metrics.linguistic import duality_cosines


@metric(
    "per_class_variance",
    default=False,
    degrees=(2, 0),
    group="Others",
    formula="v_c = mean |h - mu_c|²",
)
def per_class_variance(layer: LastLayer) -> Any:
    """`v_c = mean ||h - mu_c||^2` over the examples of each class."""
    return layer.variances


@metric(
    "per_class_norm_means",
    default=False,
    degrees=(1, 0),
    group="Others",
    formula="|mu_c - mu_G|",
)
def per_class_norm_means(layer: LastLayer) -> Any:
    """`||mu_c - mu_G||`."""
    return layer.mean_norms


@metric(
    "per_class_norm_weights",
    "kernel",
    default=False,
    degrees=(0, 1),
    group="Others",
    formula="|w_c|",
)
def per_class_norm_weights(layer: LastLayer) -> Any:
    """`||w_c||`."""
    return layer.weight_norms


@metric(
    "per_class_duality",
    "kernel",
    default=False,
    group="Others",
    formula="cos(w_c, mu_c - mu_G)",
    goal="1",
)
def per_class_duality(layer: LastLayer) -> Any:
    """`cos(w_c, mu_c - mu_G)`, which goes to 1."""
    return duality_cosines(layer)


@metric(
    "per_class_accuracy",
    "kernel",
    over="examples",
    reduce="classes",
    default=False,
    group="Others",
    formula="share of examples where argmax(Wh + b) = y = c",
    goal="1",
)
def per_class_accuracy(examples: Examples) -> Any:
    """Share of the examples of each class with `argmax_c w_c h + b_c = y`."""
    return examples.decisions == examples.labels
