"""Measures of language models, of many more classes than dimensions.

Wu & Papyan 2024, "Linguistic Collapse", arXiv:2405.17767, as in the authors'
code, rhubarbwu/linguistic-collapse.
"""

from typing import Any

from nc_keras.measuring.last_layer import LastLayer
from nc_keras.measuring.pairs import Pairs
from nc_keras.measuring.registry import metric


@metric(
    "nc1_cdnv_quartic",
    over="pairs",
    default=False,
    degrees=(-2, 0),
    group="NC1",
    scale="log",
    title="class-distance normalised variance, quartic",
    note="spread / distance^4",
    formula="CDNV with |mu_c - mu_c'|⁴ (not scale invariant)",
    goal="0",
    source="Wu & Papyan 2024",
)
def nc1_cdnv_quartic(pairs: Pairs) -> Any:
    """`mean (v_c + v_c') / (2 ||mu_c - mu_c'||^4)`: CDNV of exponent 2.

    `v_c = mean ||h - mu_c||^2`. Unlike `nc1_cdnv`, whose exponent is 1, it
    changes with the scale of the features, by its inverse square.
    """
    return pairs.variances / 2 / pairs.squared_distances**2


@metric(
    "unc3_cosine",
    "kernel",
    default=False,
    group="NC3",
    title="variance of the alignment",
    note="equally aligned",
    formula="variance over classes of cos(w_c, mu_c - mu_G)",
    goal="0",
    source="Wu & Papyan 2024",
)
def unc3_cosine(layer: LastLayer) -> Any:
    """Variance over classes of `cos(w_c, mu_c - mu_G)`, with `C - 1`.

    UNC3, uniform duality: every class is as far from self-duality as every
    other.
    """
    return _variance(duality_cosines(layer), layer.xp)


@metric(
    "unc3_distance",
    "kernel",
    default=False,
    group="NC3",
    title="variance of the distance of head and means",
    note="equally aligned",
    formula="variance over classes of |w_c/|w_c| - m_c/|m_c||",
    goal="0",
    source="Wu & Papyan 2024",
)
def unc3_distance(layer: LastLayer) -> Any:
    """Variance over classes of `||w_c/||w_c|| - m_c/||m_c||||`, with `C - 1`.

    `m_c = mu_c - mu_G`. UNC3, as `unc3_cosine` is, of distances.
    """
    xp = layer.xp
    weights = layer.kernel_of_means / layer.weight_norms[:, None]
    means = layer.centered_means / layer.mean_norms[:, None]
    distances = xp.sqrt(xp.sum((weights - means) ** 2, axis=1))
    return _variance(distances, xp)


def duality_cosines(layer: LastLayer) -> Any:
    """`cos(w_c, mu_c - mu_G)` of each class, shape `(C,)`."""
    products = layer.kernel_of_means * layer.centered_means
    norms = layer.weight_norms * layer.mean_norms
    return layer.xp.sum(products, axis=1) / norms


def _variance(values, xp):
    return xp.sum((values - xp.mean(values)) ** 2) / (values.shape[0] - 1)
