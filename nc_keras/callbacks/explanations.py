"""What TensorBoard's text page says of the panels."""

from __future__ import annotations

from collections.abc import Iterable

from nc_keras.measuring.registry import GROUPS
from nc_keras.measuring.registry import Metric

_OF_GROUPS = {
    "NC1": "**Down is collapse**: features come closer to their class mean.",
    "NC2": (
        "**Down is collapse**: class means, and the rows of the head, become "
        "equally long and spread as far apart as can be, a simplex ETF. What "
        "is of the head alone is the same for training and validation data."
    ),
    "NC3": (
        "**Down is collapse**: the rows of the head come to point along the "
        "class means."
    ),
    "Imbalance": (
        "Classes are rare if they have fewer training examples than the "
        "geometric mean of the largest and the smallest class; there are none "
        "where classes are equal. **Cosines of 1 between rare classes are "
        "minority collapse**: the head cannot tell them apart."
    ),
    "NC4": (
        "**Down is collapse**, but for accuracies, which go up: the head "
        "decides as the nearest class mean does. 0 is not seen on a "
        "logarithmic axis."
    ),
}
LOSS = """\
Each run has two lines: `nc_train`, and `nc_validation` if there are \
validation data. The same curve once more, as `terminal_phase/...`, begins \
where the training error has vanished: from there on the papers look at \
collapse.

* **loss**, **error**: down is better. Both are measured after the epoch, in \
inference mode.
* **learning rate**: that of the next step.
* **terminal phase**: 1 once the training error has vanished, 0 before.
"""
MSE = """\
The MSE loss is the sum of three parts (Han, Papyan & Donoho 2022). **Down is \
collapse.** On the central path the last is small beside the others: the head \
is the best one for the features, and collapse of the features explains the \
loss.
"""
IMAGES = """\
The page *Images* has `cosines/means`, between the class means minus their \
mean, and `cosines/weights`, between the rows of the head. White is \
-1 / (C - 1), the cosine of a simplex ETF. **At collapse all is white but for \
the diagonal.** Red pairs are closer than that, blue ones farther apart.

The page *Histograms* has the singular values of both. **At collapse C - 1 of \
them are equal**, and one is zero.

Where the largest class has twice the training examples of the smallest, or \
more, classes come by their size, and `logits/means` has the outputs at the \
class means, a row per class.
"""


def explanations(metrics: Iterable[Metric]) -> dict[str, str]:
    """Returns a text for each category of panels, in Markdown.

    Args:
        metrics: The `Metric`s that are drawn.

    Example:

    >>> from nc_keras.callbacks.explanations import explanations
    >>> texts = explanations([nc_keras.metrics.METRICS["nc1"]])
    >>> print(texts["NC1 variability collapse"])
    **Down is collapse**: features come closer to their class mean.
    <BLANKLINE>
    | chart | metric | what it is | at collapse | source |
    |---|---|---|---|---|
    | tr(Sw Sb+) / C | `nc1` | tr(Sigma_W Sigma_B^+) / C | 0 | \
Papyan et al. 2020, Fig. 6 |
    """
    by_heading: dict[str, list[Metric]] = {}
    for metric in metrics:
        if not metric.per_class:
            by_heading.setdefault(GROUPS[metric.group][1], []).append(metric)
    texts = {}
    for heading, found in by_heading.items():
        first = [
            text
            for group, text in _OF_GROUPS.items()
            if GROUPS[group][1] == heading
        ]
        lines = [
            "| chart | metric | what it is | at collapse | source |",
            "|---|---|---|---|---|",
            *map(_row, found),
        ]
        texts[heading] = "\n\n".join([*first, "\n".join(lines)])
    return texts


def _row(metric):
    cells = (
        *(metric.title, f"`{metric.tag}`", metric.formula or metric.note),
        *(metric.goal, metric.source),
    )
    escaped = [cell.replace("|", "\\|") for cell in cells]
    return f"| {' | '.join(escaped)} |"
