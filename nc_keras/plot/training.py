"""Curves of the metrics over the epochs of one training or of several."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from nc_keras.measuring.registry import GROUPS
from nc_keras.measuring.registry import METRICS
from nc_keras.plot.grid import finish
from nc_keras.plot.grid import panels_of
from nc_keras.plot.lines import Curve
from nc_keras.plot.lines import draw
from nc_keras.plot.lines import epochs_axis
from nc_keras.plot.lines import log_scale
from nc_keras.plot.lines import mean_curve
from nc_keras.plot.lines import readable_log
from nc_keras.plot.sources import Run
from nc_keras.plot.sources import runs_by_name
from nc_keras.plot.spread import SPREADS
from nc_keras.plot.spread import validate_spread
from nc_keras.plot.style import BAND
from nc_keras.plot.style import INK
from nc_keras.plot.style import look
from nc_keras.plot.style import styled
from nc_keras.plot.titles import metric_of
from nc_keras.plot.titles import title_of

# What is drawn where it is not said: the papers' figures.
DEFAULT = (
    "loss",
    "accuracy",
    "nc1",
    "nc2_equinorm_means",
    "nc2_equinorm_weights",
    "nc2_equiangular_means",
    "nc2_equiangular_weights",
    "nc2_max_angle_means",
    "nc2_max_angle_weights",
    "nc3",
    "nc4",
)
_TRAIN, _VAL = "-", "--"


def curves(
    source: Any,
    metrics: str | Iterable[str] | None = None,
    *,
    spread: str = "range",
    columns: int = 4,
    title: str = "",
    ax: Axes | None = None,
) -> Figure:
    """Draws metrics over the epochs, a panel each.

    Training data are solid, validation data dashed; several sources have a
    colour and a marker each. Several runs under one name, as the seeds of a
    comparison, are their mean, with a band for their spread. A dotted upright
    line is where the training error had vanished, if the source knows it.
    Epochs are logarithmic, and so is what falls by factors, as NC1.

    Example:

    >>> x, y = np.random.default_rng(0).normal(size=(30, 4)), np.arange(30) % 3
    >>> model = nc_keras.models.MLP((4,), 3, widths=(8,))
    >>> model.compile("sgd", loss=nc_keras.losses.CE())
    >>> watch = nc_keras.callbacks.NeuralCollapse(x, y)
    >>> history = model.fit(x, y, epochs=3, callbacks=[watch], verbose=0)
    >>> figure = nc_keras.plot.curves(history, ["nc1", "nc3"])
    >>> [axis.get_yscale() for axis in figure.axes]
    ['log', 'linear']

    Args:
        source: A Keras `History` or its dictionary; a folder with
            `metrics.jsonl` or the path of such a file, as `NCTensorBoard`
            writes it; a folder with the `results.json` of a comparison; a
            list of these; or a dictionary from names to these, where a list
            is the seeds of one curve.
        metrics: Keys of `logs`, or tags of metrics, without `val_`; or
            `None` for the loss, the accuracy and what is in the papers'
            figures; or `"all"` for every metric that was measured, in the
            order of NC1 to NC4.
        spread: String, what the band over seeds is: `"range"`, from the
            smallest to the largest; `"std"`, the mean ± the standard
            deviation; `"ci95"`, the 95 % interval of the mean by Student's t.
        columns: Integer, how many panels are side by side.
        title: String, above the figure.
        ax: Matplotlib axes to draw one metric in, or `None` for a new figure.

    Returns:
        The `matplotlib.figure.Figure`.

    Raises:
        OSError: If a file cannot be read.
        ValueError: If the source is none of these, or has none of the
            metrics.

    Of runs of different epochs the mean is over the epochs that all have.
    Epochs that were not measured are left out, not drawn as zero.
    """
    validate_spread(spread)
    runs = runs_by_name(source)
    keys = _chosen(metrics, runs)
    looks = {name: look(number) for number, name in enumerate(runs)}
    with styled():
        figure, axes = panels_of(keys, ax, columns, (2.7, 2.1), (0.3, 0.6))
        drawn = set()
        for number, (axis, key) in enumerate(zip(axes, keys, strict=True)):
            drawn |= _panel(axis, key, runs, looks, spread)
            if number >= len(keys) - columns:
                axis.set_xlabel("epoch")
        if not drawn:
            raise ValueError(
                "There is nothing to draw: the runs of one name are averaged "
                "over the epochs that all of them have, and these have none "
                f"in common. Received: {', '.join(map(str, runs))}."
            )
        entries = _entries(runs, looks, spread, drawn)
        finish(figure, entries, title, ax)
    return figure


def _chosen(metrics, runs):
    """The keys to draw, of those there are."""
    there = {
        key for all_ in runs.values() for run in all_ for key in run.series
    }
    if metrics is None:
        wanted = [_key(tag, there) for tag in DEFAULT]
        keys = [key for key in wanted if key in there]
        if not keys:
            keys = sorted(k for k in there if not k.startswith("val_"))
        return _some(keys, there, metrics)
    if isinstance(metrics, str) and metrics == "all":
        found = [_key(tag, there) for tag in METRICS]
        keys = [key for key in found if {key, f"val_{key}"} & there]
        return _some(sorted(keys, key=_place), there, metrics)
    tags = [metrics] if isinstance(metrics, str) else list(metrics)
    keys = [_key(tag, there) for tag in tags]
    lacking = [k for k in keys if not {k, f"val_{k}"} & there]
    return _some([] if lacking else keys, there, metrics, lacking)


def _some(keys, there, metrics, lacking=()):
    """The keys, of which there must be some."""
    if not keys:
        raise ValueError(
            f"The source has no values of {', '.join(lacking) or 'these'}. "
            f"It has: {', '.join(sorted(there))}. "
            f"Received: metrics={metrics!r}."
        )
    return keys


def _place(key):
    """The groups of the metrics are in order; before them is what is none."""
    metric = metric_of(key)
    return -1 if metric is None else list(GROUPS).index(metric.group)


def _key(tag, there):
    """What `logs` call a metric: that of the accuracy is not Keras' own."""
    is_ours = tag == "accuracy" and {"nc_accuracy", "val_nc_accuracy"} & there
    return "nc_accuracy" if is_ours else tag


def _panel(axis, key, runs, looks, spread):
    """Draws one metric, and returns which kinds of lines it has."""
    drawn, shown = [], set()
    metric = metric_of(key)
    for name, seeds in runs.items():
        color, marker = looks[name]
        of_train = _mean(seeds, key, spread)
        of_val = _mean(seeds, f"val_{key}", spread)
        if of_val == of_train:
            of_val = None  # The head is the same, whatever the data.
        for curve, style in ((of_train, _TRAIN), (of_val, _VAL)):
            if curve is None:
                continue
            draw(axis, curve, color, marker, style)
            drawn.append(curve)
            shown.add(style)
            if curve.low != curve.high:
                shown.add("band")
        ends = [run.terminal_epoch for run in seeds if run.terminal_epoch]
        if ends:
            axis.axvline(sum(ends) / len(ends), color=color, lw=1.2, ls=":")
            shown.add(":")
    epochs_axis(axis)
    _scale(axis, metric, drawn)
    axis.set_title(title_of(key), loc="left")
    return shown


def _mean(seeds: list[Run], key: str, spread: str) -> Curve | None:
    """The mean over the seeds, at the epochs that every one has."""
    return mean_curve([run.series.get(key) for run in seeds], spread)


def _scale(axis, metric, drawn):
    """What goes to zero begins there; what falls by factors is in logs."""
    is_log = metric is not None and metric.scale == "log"
    scale = log_scale(drawn) if is_log else None
    if scale is not None:
        axis.set_yscale(**scale)
        if scale["value"] == "symlog":
            axis.set_ylim(bottom=0)
        else:
            readable_log(axis)
    elif metric is not None and metric.goal == "0":
        axis.set_ylim(bottom=0)


def _entries(runs, looks, spread, drawn):
    entries = {}
    if len(runs) > 1:
        for name, (color, marker) in looks.items():
            entries[name] = Line2D([], [], color=color, marker=marker, ms=4)
    color = INK if len(runs) > 1 else looks[next(iter(runs))][0]
    for style, label in (
        (_TRAIN, "training data"),
        (_VAL, "validation data"),
        (":", "zero training error"),
    ):
        if style in drawn:
            entries[label] = Line2D([], [], color=color, ls=style, lw=1.4)
    if "band" in drawn:
        entries[SPREADS[spread]] = Patch(color=color, alpha=BAND, lw=0)
    return entries
