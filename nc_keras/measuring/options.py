"""The options that all measurements share, and what they are by default."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import TypedDict

import keras
import numpy as np

from nc_keras.measuring.extractor import FeatureExtractor
from nc_keras.measuring.extractor import extractor_of
from nc_keras.measuring.loss import MeanLoss
from nc_keras.measuring.pair_means import validate_sample
from nc_keras.measuring.passes import Measurement
from nc_keras.measuring.passes import measured
from nc_keras.measuring.source import MEMORY
from nc_keras.measuring.source import FeatureSource
from nc_keras.measuring.validation import validate_head
from nc_keras.processes import Gather
from nc_keras.processes import all_gather


class Options(TypedDict, total=False):
    """What `nc_keras.measure` documents, for the other entry points too."""

    head: Any
    features: Any
    pooling: str | None
    batch_size: int | None
    metrics: str | Iterable[str] | None
    num_classes: int | None
    ignore_label: int | None
    missing: str
    pairs: int | None
    memory: int
    across_processes: bool


@dataclasses.dataclass(frozen=True)
class Plan:
    """How a measurement is made: `Options`, with their defaults."""

    head: Any = None
    features: Any = None
    pooling: str | None = None
    batch_size: int | None = None
    metrics: str | Iterable[str] | None = None
    num_classes: int | None = None
    ignore_label: int | None = None
    missing: str = "raise"
    pairs: int | None = None
    memory: int = MEMORY
    across_processes: bool = False

    @classmethod
    def of(
        cls,
        options: Mapping[str, Any],
        without: Sequence[str] = (),
        **defaults: Any,
    ) -> Plan:
        """Returns the plan that options ask for.

        Args:
            options: `Options`.
            without: Strings, the options that are not free here.
            **defaults: Other defaults than those of `nc_keras.measure`.

        Raises:
            TypeError: If an option is not known.
            ValueError: If `pairs` is no number of pairs.
        """
        names = [field.name for field in dataclasses.fields(cls)]
        known = [name for name in names if name not in without]
        for name in options:
            if name not in known:
                near = difflib.get_close_matches(name, known, 1)
                hint = f"Did you mean {near[0]}? " if near else ""
                raise TypeError(
                    f"There is no option `{name}`. {hint}Besides its own "
                    f"arguments there are the options {', '.join(known)}."
                )
        validate_sample(options.get("pairs"))
        return cls(**{**defaults, **options})

    @property
    def gather(self) -> Gather | None:
        """What brings together what several processes have found."""
        return all_gather if self.across_processes else None

    def extractor(
        self, model: keras.Model | FeatureExtractor
    ) -> FeatureExtractor:
        """Returns what computes the features of a model."""
        return extractor_of(model, self.head, self.features, self.pooling)

    def source(
        self,
        extractor: Any,
        x: Any,
        y: Any = None,
        mask: Any = None,
        loss: MeanLoss | None = None,
    ) -> FeatureSource:
        """Returns the features of a data set.

        Args:
            extractor: A `FeatureExtractor`.
            x: As in `nc_keras.measure`; so for the other arguments.
            y: Labels.
            mask: Array.
            loss: As in `FeatureSource`.
        """
        return FeatureSource(
            extractor,
            x,
            y,
            self.batch_size,
            self.memory,
            mask=mask,
            ignore_label=self.ignore_label,
            may_be_empty=self.across_processes,
            loss=loss,
        )

    def measured(
        self,
        extractor: FeatureExtractor,
        source: FeatureSource,
        head: tuple[Any, Any] | None = None,
        **changes: Any,
    ) -> Measurement:
        """Measures one layer.

        Args:
            extractor: The `FeatureExtractor`, for its head.
            source: Its `FeatureSource`.
            head: Kernel and bias, if they were read before. (Of a layer's
                features the width is known after a pass, and so is then
                whether the head takes them: it must not depend on what was
                run before.)
            **changes: Other arguments of a `Measurement`.
        """
        kernel, bias = validate_head(
            *(head or (extractor.kernel, extractor.bias))
        )
        options = {
            "metrics": self.metrics,
            "missing": self.missing,
            "gather": self.gather,
            **changes,
        }
        classes = options.pop("num_classes", self.num_classes)
        if classes is None and kernel is not None:
            classes = len(kernel)
        means = options.get("train_means")
        if classes is None and means is not None and np.ndim(means) == 2:
            classes = len(means)
        return measured(source, kernel, bias, classes, **options)


def unpacked(data: Any) -> tuple[Any, Any, np.ndarray | None]:
    """Returns examples, labels, and weights where there are any.

    Args:
        data: A tuple `(x, y)` or `(x, y, weight)`, of which examples of weight
            zero are left out; or a dataset, which has all in its batches.
    """
    if not isinstance(data, tuple):
        return data, None, None
    x, y, weight = keras.utils.unpack_x_y_sample_weight(data)
    return x, y, None if weight is None else np.asarray(weight)
