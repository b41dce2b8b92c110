"""NC1, variability collapse: features become their class means."""

from typing import Any

from nc_keras.measuring.last_layer import LastLayer
from nc_keras.measuring.pairs import Pairs
from nc_keras.measuring.registry import metric


@metric(
    "nc1",
    "principal_variances",
    group="NC1",
    scale="log",
    title="tr(Sw Sb+) / C",
    note="within / between, C-1 axes",
    formula="tr(Sigma_W Sigma_B^+) / C",
    goal="0",
    source="Papyan et al. 2020, Fig. 6",
    limits=(0.1, 1.0),
)
def nc1(layer: LastLayer) -> Any:
    """`tr(Sigma_W Sigma_B^+) / C`, of Papyan et al. 2020, Figure 6.

    With singular values `s` and right singular vectors `v` of `M`,
    `Sigma_B = M'M / C` has eigenvalues `s^2 / C`, so that the value is
    `sum_j v_j' Sigma_W v_j / s_j^2` and no `D x D` matrix is inverted. Only
    directions in which the means differ by more than rounding count. It is
    NaN if they do in none.
    """
    xp = layer.xp
    s, _ = layer.principal_directions
    differ = s > layer.rounding
    ratios = layer.principal_variances / xp.where(differ, s, 1.0) ** 2
    value = xp.sum(xp.where(differ, ratios, 0.0))
    return xp.where(differ[0], value, float("nan"))


@metric(
    "nc1_trace_ratio",
    group="NC1",
    scale="log",
    title="tr Sw / tr Sb",
    note="within / between, traces",
    formula="tr Sigma_W / tr Sigma_B",
    goal="0",
    source="Tirer et al. 2023",
)
def nc1_trace_ratio(layer: LastLayer) -> Any:
    """`tr Sigma_W / tr Sigma_B`, of Tirer et al. 2023."""
    xp = layer.xp
    within = xp.sum(layer.counts * layer.variances) / xp.sum(layer.counts)
    return within / xp.mean(layer.mean_norms**2)


@metric(
    "nc1_cdnv",
    over="pairs",
    group="NC1",
    scale="log",
    title="class-distance normalised variance",
    note="spread / distance, pairs",
    formula=(
        "mean over c ≠ c' of (v_c + v_c') / (2 |mu_c - mu_c'|²), v_c = mean |h "
        "- mu_c|²"
    ),
    goal="0",
    source="Galanti et al. 2021",
)
def nc1_cdnv(pairs: Pairs) -> Any:
    """Class-distance normalised variance, of Galanti et al. 2021.

    The mean over pairs of classes of
    `(v_c + v_c') / (2 ||mu_c - mu_c'||^2)`, `v_c = mean ||h - mu_c||^2`.
    """
    return pairs.variances / (2 * pairs.squared_distances)
