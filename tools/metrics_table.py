"""The tables of metrics in the documents, as metrics describe themselves."""

import os

from nc_keras.metrics import METRICS


def metrics_table(which: str) -> str:
    """Returns a table of metrics in Markdown.

    Metrics of one formula, such as those of class means and of weights, share
    a row.

    Args:
        which: `"default"` for what is always measured, `"more"` for what is
            chosen.
    """
    rows = {}
    for tag, metric in METRICS.items():
        if metric.default == (which == "default"):
            key = (metric.formula, metric.goal, metric.source)
            rows.setdefault(key, []).append(tag)
    lines = ["| key | formula | collapse | source |", "|---|---|---|---|"]
    for (formula, goal, source), tags in rows.items():
        cells = (_keys(tags), formula.replace("|", r"\|"), goal, source)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _keys(tags):
    """The first tag, and how others of the row end."""
    first, *others = tags
    shared = len(os.path.commonprefix(tags))
    ends = [tag[tag.rfind("_", 0, shared + 1) :] for tag in others]
    return ", ".join(f"`{key}`" for key in (first, *ends))
