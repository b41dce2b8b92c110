"""NC5, orthogonality of the class means to out-of-distribution data."""

from typing import Any

from nc_keras.measuring.last_layer import LastLayer
from nc_keras.measuring.registry import metric


@metric(
    "nc5",
    "ood",
    default=False,
    group="OOD",
    title="NC5: cosines of means and OOD",
    note="means orthogonal to OOD",
    formula="mean over c of |cos(mu_c, mean of the OOD features)|",
    goal="0",
    source="Ben Ammar et al. 2024, eq. 5",
)
def nc5(layer: LastLayer) -> Any:
    """`mean_c |cos(mu_c, mu_OOD)|`, of Ben Ammar et al. 2024, equation 5.

    arXiv:2310.06823. Neither the class means nor the mean `mu_OOD` of
    out-of-distribution features are centred, as in rhubarbwu's
    `neural_collapse`. It is NaN where `mu_OOD` or a class mean is zero.
    """
    xp, means, ood = layer.xp, layer.means, layer.ood_mean
    norms = xp.sqrt(xp.sum(means**2, axis=1) * xp.sum(ood**2))
    return xp.mean(xp.abs(xp.sum(means * ood, axis=1)) / norms)
