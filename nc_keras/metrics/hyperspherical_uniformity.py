"""GNC2, hyperspherical uniformity: class means repel each other evenly.

`d = ||theta_c - theta_c'||` is the distance of two class means that were
centred at `mu_G` and brought to length one. Of all arrangements the simplex
ETF, where it fits, has the least energy: every `d^2` is `2 C / (C - 1)`.
Liu et al. 2023, arXiv:2303.06484.
"""

import math
from typing import Any

import numpy as np

from nc_keras.measuring.last_layer import LastLayer
from nc_keras.measuring.pair_means import reduce_pairs
from nc_keras.measuring.pairs import Pairs
from nc_keras.measuring.pairs import tiles
from nc_keras.measuring.registry import METRICS
from nc_keras.measuring.registry import metric


@metric(
    "gnc2_log",
    over="pairs",
    default=False,
    group="NC2",
    title="logarithmic energy of the means",
    note="uniform on the sphere",
    formula=(
        "mean over pairs of log 1/d, d the distances of the normalised rows of "
        "M"
    ),
    goal="least",
    source="Liu et al. 2023",
)
def gnc2_log(pairs: Pairs) -> Any:
    """`mean log 1/d`, the logarithmic energy of Liu et al. 2023.

    It is `-log(2 C / (C - 1)) / 2` for a simplex ETF.
    """
    return pairs.log_energies


@metric(
    "gnc2_log_variance",
    over="pairs",
    reduce="variance",
    default=False,
    group="NC2",
    title="variance of the logarithmic energy",
    note="uniform on the sphere",
    formula="variance over pairs of log 1/d",
    goal="0",
    source="Wu & Papyan 2024",
)
def gnc2_log_variance(pairs: Pairs) -> Any:
    """Variance of `log 1/d`: 0 for every equiangular arrangement.

    The population variance over pairs, by which Wu & Papyan 2024,
    arXiv:2405.17767, measure GNC2 where classes outnumber dimensions.
    """
    return pairs.log_energies


@metric(
    "gnc2_riesz",
    over="pairs",
    default=False,
    group="NC2",
    title="Riesz energy of the means",
    note="uniform on the sphere",
    formula="mean of 1/d²",
    goal="least",
    source="Liu et al. 2023",
)
def gnc2_riesz(pairs: Pairs) -> Any:
    """`mean 1/d^2`, the Riesz energy of order 2.

    The order in public code of the loss of Liu et al. 2023, `HUG_MHE`. It is
    `(C - 1) / (2 C)` for a simplex ETF.
    """
    return 1 / pairs.unit_squared_distances


@metric(
    "gnc2_riesz_log",
    default=False,
    group="NC2",
    title="Riesz energy of the means, in logs",
    note="uniform on the sphere",
    formula="log(mean of d^-s)/s with s = D - 2",
    goal="least",
    source="Liu et al. 2023",
)
def gnc2_riesz_log(layer: LastLayer) -> Any:
    """`log(mean d^-s) / s` with `s = D - 2`: Riesz energy, in logs.

    The order is that of `riesz_kernel` in rhubarbwu's `neural_collapse`. At
    `D = 512`, `d^-s` itself leaves float64 for pairs closer than 0.25. The
    s-th root makes values of different widths comparable: like `gnc2_log`,
    which it tends to as `s` goes to 0 and is for `D = 2`, it is
    `-log(2 C / (C - 1)) / 2` for a simplex ETF.
    """
    xp, order = layer.xp, layer.dim - 2
    if not order:
        return reduce_pairs(layer, [METRICS["gnc2_log"]])["gnc2_log"]
    total = -math.inf
    for pairs, times in tiles(layer):
        exponents = order * pairs.log_energies
        exponents = xp.where(pairs.different > 0, exponents, -math.inf)
        part = _log_sum_exp(exponents, xp) + math.log(times)
        total = xp.logaddexp(total, part)
    count = layer.num_classes * (layer.num_classes - 1)
    return (total - math.log(count)) / order


def _log_sum_exp(values, xp):
    if xp is np:
        return np.logaddexp.reduce(values, axis=None)
    return xp.logsumexp(values)
