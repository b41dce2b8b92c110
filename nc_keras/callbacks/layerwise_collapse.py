"""Neural collapse at every layer, in the `logs` of a training."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable
from typing import Any

from typing_extensions import Unpack

from nc_keras.callbacks.epoch_observer import EpochObserver
from nc_keras.callbacks.positional import formerly_positional
from nc_keras.layerwise import layers_extractor
from nc_keras.layerwise import measured_layers
from nc_keras.layerwise import tags_of
from nc_keras.measuring.options import Options
from nc_keras.measuring.options import Plan
from nc_keras.metrics.alignment import alignment
from nc_keras.stages import num_classes_of
from nc_keras.weights import weights_of


class LayerwiseCollapse(EpochObserver):
    """Measures neural collapse at every layer while a network trains.

    Puts `<tag>/<layer>` into the `logs` of each measured epoch, for the tags
    of `nc_keras.layerwise`; and `alignment/<layer>`, see
    `nc_keras.layerwise.alignment`, where the layer is the input of a dense
    one and the network is a chain; and `separation_decay_ratio`, the factor
    by which the separation falls from layer to layer.

    Args:
        x: As in `nc_keras.layerwise`.
        y: As in `nc_keras.layerwise`.
        log_dir: Directory of the TensorBoard run of the training, or `None`.
            The curves are in its folder `layers`, a line for each layer.
        epochs: As in `nc_keras.callbacks.NeuralCollapse`. Defaults to `1`.
        layers: As in `nc_keras.layerwise`.
        mask: As in `nc_keras.layerwise`.
        **options: As in `nc_keras.layerwise`, but that of `metrics` those of
            one value per class cannot be logged: `logs` hold numbers, and
            `"all"` leaves them out.

    Raises:
        ValueError: If `metrics` are not known, need a head, or have one
            value per class; and, in training, if the layers cannot be found,
            or the data are invalid.

    Example:

    >>> x, y = np.random.default_rng(0).normal(size=(30, 4)), np.arange(30) % 3
    >>> model = nc_keras.models.HomogeneousNet((4,), 3, widths=(8, 6))
    >>> model.compile("sgd", loss=nc_keras.losses.MSE())
    >>> layers = nc_keras.callbacks.LayerwiseCollapse(x, y)
    >>> history = model.fit(x, y, epochs=2, callbacks=[layers], verbose=0)
    >>> [key for key in history.history if key.startswith("nc1/")]
    ['nc1/relu_1', 'nc1/relu_2']

    Reference:

    - [Rangamani et al., 2023](https://proceedings.mlr.press/v202/rangamani23a.html).
    """

    run = "layers"

    @formerly_positional(
        "log_dir",
        "epochs",
        "layers",
        "head",
        "pooling",
        "batch_size",
        "metrics",
        "memory",
    )
    def __init__(
        self,
        x: Any,
        y: Any = None,
        *,
        log_dir: str | os.PathLike | None = None,
        epochs: int | str | Iterable[int] = 1,
        layers: Any = None,
        mask: Any = None,
        **options: Unpack[Options],
    ):
        super().__init__(epochs, log_dir)
        self.x = x
        self.y = y
        self.layers = layers
        self.mask = mask
        plan = Plan.of(options, ("features",), pooling="average")
        tags = _tags(plan.metrics)
        self.plan = dataclasses.replace(plan, metrics=tags)
        self._extractor: Any = None
        charts = {tag: [f"^{tag}/"] for tag in (*tags, "alignment")}
        self.panels = {"Layers: neural collapse inside the network": charts}

    def observe(self, epoch: int) -> dict[str, float]:
        if self._extractor is None or self._extractor.model is not self.model:
            self._extractor = layers_extractor(
                self.model, self.layers, self.plan
            )
        plan = self.plan
        if plan.num_classes is None:
            classes = num_classes_of(self.model, plan.head)
            plan = dataclasses.replace(plan, num_classes=classes)
        data = (self.x, self.y, self.mask)
        result = measured_layers(self._extractor, plan, data)
        values = {
            f"{tag}/{name}": float(value)
            for name, found in result.items()
            for tag, value in found.items()
        }
        values |= self._alignments(result)
        if result.law is not None and len(result) > 1:
            values["separation_decay_ratio"] = result.law.decay_ratio
        self.scalars(epoch, values)
        return values

    def _alignments(self, result):
        """Of each layer whose output a dense one takes, in a chain."""
        weights = weights_of(self.model)
        if len(weights) != len(result) + 1:
            return {}
        found = {}
        for (name, means), after in zip(
            result.class_means.items(), weights[1:], strict=True
        ):
            if after.matrix.shape[1] == means.shape[1]:
                found[f"alignment/{name}"] = alignment(means, after.matrix)
        return found


def _tags(metrics):
    """The tags to log: those of one number for each layer."""
    tags = tags_of(metrics)
    wide = [tag for tag in tags if tag.startswith("per_class_")]
    if wide and metrics != "all":
        raise ValueError(
            "`logs` hold numbers, so that metrics of one value per class "
            "cannot be logged; `nc_keras.layerwise` measures them. "
            f"Received: metrics with {wide}."
        )
    return [tag for tag in tags if tag not in wide]
