"""Neural collapse at every layer, and the law of data separation."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from typing_extensions import Unpack

from nc_keras.measuring.extractor import FeatureExtractor
from nc_keras.measuring.options import Options
from nc_keras.measuring.options import Plan
from nc_keras.measuring.options import unpacked
from nc_keras.measuring.passes import Measurement
from nc_keras.measuring.passes import run
from nc_keras.measuring.registry import select
from nc_keras.metrics.alignment import alignment
from nc_keras.metrics.separation_law import SeparationLaw
from nc_keras.metrics.separation_law import separation_law
from nc_keras.stages import num_classes_of
from nc_keras.stages import stages
from nc_keras.tables import Table
from nc_keras.tables import Tabular

__all__ = [
    "Layerwise",
    "SeparationLaw",
    "alignment",
    "layerwise",
    "separation_law",
    "stages",
]
SEPARATION = "separation"
DEFAULT = (SEPARATION, "nc1", "nc1_trace_ratio", "nc1_cdnv", "ncc_accuracy")


def layerwise(
    model: keras.Model | FeatureExtractor,
    x: Any,
    y: Any = None,
    *,
    layers: Any = None,
    train: Any = None,
    mask: Any = None,
    **options: Unpack[Options],
) -> Layerwise:
    """Measures neural collapse at layers inside of a model.

    All layers are measured in one forward pass in inference mode, if their
    features fit into `memory`. Where they do not, a second forward pass takes
    the place of the features that were not kept, and memory is `O(C D)` for
    each layer; no matrix of the size `D x D` is made, however wide a layer is
    (but for metrics that need the whole covariance, such as `vci`).

    Besides the metrics of `nc_keras.metrics.METRICS` that need no head there
    is `separation`, the separation fuzziness of He & Su:
    `D = tr(SS_w SS_b^+)` with `SS_w = Sigma_W` and
    `SS_b = sum_c n_c (mu_c - m)(mu_c - m)' / N`, where `m` is the mean of all
    examples. It is `C` times `nc1` where classes are of equal size. Their law
    of data separation says that in a trained network `log D` falls by the
    same amount from layer to layer.

    Args:
        model: A built `keras.Model`, or a `FeatureExtractor` of a list of
            layers, to measure them again and again.
        x: As in `nc_keras.measure`.
        y: As in `nc_keras.measure`.
        layers: List of layers, or of their names, in the order of the model,
            whose outputs are measured; or `None` for what the function
            `stages` of this module finds: the output of each block of a
            residual network, of each Dense-BatchNorm-ReLU of others, up to
            the features that the head sees.
        train: Tuple `(x, y)` or dataset, the training set, if `x` is a test
            set. The class means that `ncc_accuracy` compares with are then
            those of `train`. Defaults to `None`: they are those of `x`.
        mask: As in `nc_keras.measure`.
        **options: As in `nc_keras.measure`, without `features`, and:
            `head` tells where `stages` ends.
            `pooling`: How features with positions, as of convolutions, become
            vectors: `"average"` for their mean over the positions (the
            default), `"flatten"` for all values in one row, as in the papers;
            or `None` where each position has its own label.
            `metrics`: Tags; or `None` for `separation`, `nc1`,
            `nc1_trace_ratio`, `nc1_cdnv` and `ncc_accuracy`; or `"all"` for
            every one that needs neither a head nor the whole covariance.
            `memory` is that of all layers together.

    Returns:
        A `Layerwise`, a dictionary from the names of layers to dictionaries
        from tags to values, which prints as a table. Its `law` is the law of
        data separation.

    Raises:
        TypeError: If an option is not known.
        ValueError: If the layers cannot be found, or the data are invalid.

    Example:

    >>> model = nc_keras.models.MLP((4,), 3, widths=(16, 8))
    >>> x, y = np.random.default_rng(0).normal(size=(60, 4)), np.arange(60) % 3
    >>> result = nc_keras.layerwise(model, x, y)
    >>> [dim for dim in result.dims.values()]
    [16, 8]
    >>> values = list(result.values())[-1]
    >>> bool(np.isclose(values["separation"], 3 * values["nc1"]))
    True
    >>> result.law.decay_ratio > 0
    True

    Reference:

    - [He & Su, 2023](https://arxiv.org/abs/2210.17020), for `separation`.
    - [Rangamani et al., 2023](https://proceedings.mlr.press/v202/rangamani23a.html),
      for neural collapse at intermediate layers.
    """
    plan = Plan.of(options, ("features",), pooling="average")
    if plan.num_classes is None:
        classes = num_classes_of(getattr(model, "model", model), plan.head)
        plan = dataclasses.replace(plan, num_classes=classes)
    extractor = layers_extractor(model, layers, plan)
    return measured_layers(extractor, plan, (x, y, mask), train)


def measured_layers(
    extractor: FeatureExtractor, plan: Plan, data: Any, train: Any = None
) -> Layerwise:
    """Measures the layers of an extractor.

    Args:
        extractor: A `FeatureExtractor` of a list of layers.
        plan: How; with `num_classes`, where there is a head.
        data: Tuple of `x`, `y` and `mask`, as in `layerwise`.
        train: As in `layerwise`.
    """
    tags = tags_of(plan.metrics)
    trained: list[Any] = [None] * len(extractor.names)
    if train is not None:
        once = dataclasses.replace(plan, memory=0)
        source = once.source(_Layers(extractor), *unpacked(train))
        trained = _measured(source, once, extractor, ["nc1_cdnv"], trained)
        classes = len(trained[0].class_means)
        plan = dataclasses.replace(plan, num_classes=classes)
    source = plan.source(_Layers(extractor), *data)
    found = _measured(source, plan, extractor, tags, trained)
    return Layerwise(
        {one.name: _ordered_as(tags, one.values(plan.pairs)) for one in found},
        {one.name: one.layer.dim for one in found},
        extractor.pooling,
        {one.name: one.class_means for one in found},
    )


def layers_extractor(
    model: keras.Model | FeatureExtractor,
    layers: Any = None,
    plan: Plan | None = None,
) -> FeatureExtractor:
    """Returns what computes the features of all layers in one forward pass.

    Args:
        model: As in `layerwise`; so for the other arguments.
        layers: List of layers.
        plan: Where the head is, and how features become vectors; `None` as
            `layerwise` does by default.

    Raises:
        ValueError: If an extractor is given that is not of a list of layers.
    """
    plan = plan or Plan(pooling="average")
    if isinstance(model, FeatureExtractor):
        if not model.is_list or layers is not None:
            raise ValueError(
                "To measure layers, an extractor must be of a list of them: "
                "`FeatureExtractor(model, features=[...])`. Received: one of "
                f"{', '.join(model.names)}, and layers={layers!r}."
            )
        return model
    if layers is None:
        layers = stages(model, plan.head)
    elif isinstance(layers, str | keras.Layer):
        layers = [layers]
    return FeatureExtractor(model, features=list(layers), pooling=plan.pooling)


class Layerwise(Tabular, dict):
    """Metrics by layer: a dictionary of dictionaries, printed as a table.

    The same table is a pandas frame (`to_frame`) or a text or file in CSV,
    LaTeX or Markdown (`to_csv`, `to_latex`, `to_markdown`).

    Args:
        values: Dictionary from the names of layers, in their order, to
            dictionaries from tags to values.
        dims: Dictionary from the names of layers to their dimension.
        pooling: As in `layerwise`.
        class_means: Dictionary from the names of layers to arrays of shape
            `(C, D)`, or `None`.

    Attributes:
        dims: Dictionary from the names of layers to their dimension.
        pooling: How features with positions became vectors.
        class_means: Dictionary from the names of layers to the class means of
            their features, `(C, D)`.
        law: The `SeparationLaw`, or `None` if `separation` was not measured.

    Example:

    >>> from nc_keras.layerwise import Layerwise
    >>> result = Layerwise(
    ...     {"relu": {"separation": 2.0}, "relu_1": {"separation": 0.5}},
    ...     {"relu": 64, "relu_1": 32},
    ... )
    >>> result.column("separation").tolist()
    [2.0, 0.5]
    >>> print(result)
    layer     D  separation
    relu     64           2
    relu_1   32         0.5
    From layer to layer, separation changes by the factor 0.25:
    slope of its logarithm = -1.386 (of two layers: a line fits always).
    """

    def __init__(
        self,
        values: Mapping[str, Mapping[str, Any]],
        dims: Mapping[str, int],
        pooling: str | None = None,
        class_means: Mapping[str, np.ndarray] | None = None,
    ):
        super().__init__(values)
        self.class_means = dict(class_means or {})
        self.dims = dict(dims)
        self.pooling = pooling
        self.law = None
        if all(SEPARATION in one for one in self.values()):
            self.law = separation_law(self.column(SEPARATION))

    def column(self, tag: str) -> np.ndarray:
        """Returns one metric of all layers, in their order.

        Args:
            tag: String, the tag of the metric.
        """
        return np.array([values[tag] for values in self.values()])

    def table(self) -> Table:
        """Returns the values, a row for each layer."""
        first: dict[str, Any] = next(iter(self.values()), {})
        tags = [tag for tag, value in first.items() if not np.ndim(value)]
        return Table(
            ("layer", "D", *tags),
            [
                (name, self.dims[name], *(values[tag] for tag in tags))
                for name, values in self.items()
            ],
            title="Layer by layer",
        )

    def __str__(self) -> str:
        table = self.table()
        lines = _aligned([table.columns, *table.texts()])
        lines += self._law_in_words()
        if self.pooling is not None:
            how = {"average": "their mean", "flatten": "all in one row"}
            lines.append(
                f"Features with positions, as of convolutions: "
                f'{how[self.pooling]} (pooling="{self.pooling}").'
            )
        return "\n".join(lines)

    def _law_in_words(self):
        law = self.law
        if law is None:
            return []
        if len(self) < 2:
            return ["One layer: the law of data separation needs more."]
        if not np.isfinite(law.slope):
            return ["No law of data separation: a value has no logarithm."]
        fit = f", Pearson's r = {law.correlation:.4g}."
        if len(self) == 2:
            fit = " (of two layers: a line fits always)."
        elif np.isnan(law.correlation):
            fit = ": it is the same everywhere."
        return [
            f"From layer to layer, separation changes by the factor "
            f"{law.decay_ratio:.4g}:",
            f"slope of its logarithm = {law.slope:.4g}{fit}",
        ]


def _distinct(names):
    """The names, numbered where layers of nested models share them."""
    seen = collections.Counter()
    distinct = []
    for name in names:
        seen[name] += 1
        times = seen[name]
        distinct.append(f"{name} ({times})" if times > 1 else name)
    return distinct


class _Features(list):
    """The features of one batch at each layer."""

    @property
    def nbytes(self):
        return sum(array.nbytes for array in self)


class _Layers:
    """An extractor of several layers, for a `FeatureSource`."""

    def __init__(self, extractor):
        self._extractor = extractor

    def batches(self, *args, **kwargs) -> Iterator[tuple[_Features, Any]]:
        for features, labels in self._extractor.layer_batches(*args, **kwargs):
            yield _Features(features), labels


def _measured(source, plan, extractor, tags, trained):
    """One measurement of each layer, all in the same passes."""
    return run(
        source,
        [
            Measurement(
                num_classes=plan.num_classes,
                name=name,
                train_means=one and one.class_means,
                train_counts=one and one.statistics.counts,
                is_training=one is None,
                missing=plan.missing,
                metrics=tags,
                gather=plan.gather,
                scatter=False,  # However wide a layer is.
            )
            for name, one in zip(
                _distinct(extractor.names), trained, strict=True
            )
        ],
    )


def _ordered_as(tags, values):
    first = {tag: values[tag] for tag in tags if tag in values}
    return first | values


def tags_of(metrics: str | Iterable[str] | None) -> list[str]:
    """The tags of what `layerwise` measures.

    Args:
        metrics: As in `layerwise`.

    Raises:
        ValueError: If one of them is not known, or needs a head.
    """
    have = {"means", "train_means", "class_sizes"}
    have |= {"principal_variances", "principal_scatter"}
    if isinstance(metrics, str) and metrics == "all":
        tags = [metric.tag for metric in select("all", have)]
        return [SEPARATION, *(tag for tag in tags if tag != SEPARATION)]
    metrics = DEFAULT if metrics is None else metrics
    tags = [metrics] if isinstance(metrics, str) else list(metrics)
    select(tags, have | {"scatter"})
    return tags


def _aligned(rows):
    """Lines of a table whose first column is text and others are numbers."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for name, *others in rows:
        cells = [name.ljust(widths[0])]
        for cell, width in zip(others, widths[1:], strict=True):
            cells.append(cell.rjust(width))
        lines.append("  ".join(cells))
    return lines
