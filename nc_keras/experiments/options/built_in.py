"""What is built in: networks, losses and heads, and which go together."""

import re

FAMILIES = {
    "resnet": (18, 34, 50, 101, 152),
    "vgg": (11, 13, 16, 19),
    "densenet": (40, 100, 250, 121, 169, 201),
}
NETWORKS = (
    "mlp",
    "conv_net",
    *(f"{name}{depth}" for name, all_ in FAMILIES.items() for depth in all_),
)
LOSSES = ("ce", "mse", "rescaled_square")
# Of outputs that are cosines: features and rows of the head have length 1.
OF_COSINES = ("ldam", "dot_regression")
ALL_LOSSES = (*LOSSES, "logit_adjusted", "vs", *OF_COSINES)
# The papers' comparison: learned, fixed, fixed with d = C, weight-normalised.
HEADS = ("linear", "etf", "etf_dim_c", "weight_norm")
ALL_HEADS = (*HEADS, "etf_canonical", "nearest_etf")
# Heads that a loss cannot be trained with: their rows have lengths of their
# own, or would all become one, for nothing keeps them apart.
_UNFIT = {
    "ldam": ("weight_norm",),
    "dot_regression": ("linear", "weight_norm"),
}
# What else is measured of unequal classes.
OF_UNEQUAL = (
    *("balanced_accuracy", "accuracy_majority", "accuracy_minority"),
    *("cosine_majority_weights", "cosine_minority_weights"),
    *("cosine_majority_means", "cosine_minority_means"),
    *("norm_slope_weights", "nc1_majority", "nc1_minority"),
    *("nc2_nearest_etf_means", "seli_weights", "ufm_weights", "ufm_decay"),
)


def go_together(loss: str, head: str) -> bool:
    """Whether a head can be trained with a loss."""
    return head not in _UNFIT.get(loss, ())


def depth_of(network: str) -> tuple[str, int | None]:
    """Splits the name of a network: `resnet18` into `resnet` and 18."""
    family, depth = re.fullmatch(r"([a-z_]+)(\d*)", network).groups()
    return family, int(depth) if depth else None
