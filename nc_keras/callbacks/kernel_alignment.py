"""The tangent kernel along a training."""

from __future__ import annotations

import math
import os
import pathlib
from collections.abc import Iterable
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from nc_keras.callbacks.epoch_observer import EpochObserver
from nc_keras.callbacks.kernel_pictures import kernel_image
from nc_keras.callbacks.kernel_pictures import plane_image
from nc_keras.errors import NonFiniteError
from nc_keras.kernel.alignment import Alignment
from nc_keras.kernel.alignment import alignment
from nc_keras.kernel.examples import examples_of
from nc_keras.kernel.gram import Gram
from nc_keras.kernel.gram import gram_of
from nc_keras.kernel.network import Network
from nc_keras.kernel.network import UntrainedError
from nc_keras.kernel.residual import curvature_root
from nc_keras.kernel.residual import kind_of
from nc_keras.kernel.residual import residual_of
from nc_keras.kernel.spectrum import Operator
from nc_keras.kernel.spectrum import sharpness
from nc_keras.kernel.targets import one_hot
from nc_keras.writers.json_lines import JSONLinesWriter

_VECTORS = ("labels", "outputs", "residual")
_NUMBERS = (
    "lambda_max",
    "effective_rank",
    "edge",
    "kta",
    "centred_kta",
    "gamma_d",
    "gamma_c",
    "gamma_n",
    "block_r2",
)
_PLANE_VECTORS = 4


class KernelAlignment(EpochObserver):
    """Measures the tangent kernel of a network while it trains.

    Puts into the `logs` of each measured epoch, each name after `"kernel_"`:

    * `labels_<k>`, `outputs_<k>`, `residual_<k>`: the share of the centred
      labels, of the outputs and of the residual in the top `k` eigenvectors;
    * `lambda_max` and `effective_rank`, trace over largest eigenvalue;
    * `edge`: the learning rate times the largest eigenvalue of the loss's
      Gauss-Newton matrix, that of the full kernel for the square loss.
      Gradient descent is stable below 2, and trainings climb to it. NaN for
      losses other than square losses and cross-entropy;
    * `kta` and `centred_kta`, alignment with the labels;
    * `gamma_d`, `gamma_c`, `gamma_n`: means over examples with themselves,
      pairs of one class, and pairs of two; and `block_r2`, the share of the
      kernel's variance that they explain.

    What is not defined is NaN, as all is of a network without trained
    weights. With `log_dir` the same is on disk at the end of each epoch, in
    `kernel.jsonl` with the top eigenvalues, and in the TensorBoard run
    `kernel`, with the spectrum as a histogram, the kernel as an image, its
    examples sorted by class, and, where the inputs are points of a plane, the
    top eigenvectors as images.

    Example:

    >>> x, y = np.random.default_rng(0).normal(size=(60, 4)), np.arange(60) % 3
    >>> model = nc_keras.models.MLP((4,), 3, widths=(8,))
    >>> model.compile(nc_keras.optimizers.SGD(0.1), loss=nc_keras.losses.MSE())
    >>> kernel = nc_keras.callbacks.KernelAlignment(x, y, examples=30)
    >>> history = model.fit(x, y, epochs=2, callbacks=[kernel], verbose=0)
    >>> len(history.history["kernel_labels_3"])
    2

    Args:
        x: Array (or structure of arrays) of examples.
        y: Integer or one-hot labels, or targets of shape `(N, C)`.
        log_dir: Directory of the TensorBoard run of the training, or `None`.
        epochs: As in `nc_keras.callbacks.NeuralCollapse`. Defaults to `1`.
        k: Integers, how many of the top eigenvectors; `C` is always among
            them. Defaults to `(10, 50)`, of which those above the size of the
            kernel are left out.
        outputs: As in `nc_keras.kernel.gram`. Defaults to `"trace"`.
        examples: Integer, how many examples are measured: the first ones of
            each class, as many of each as there are. Defaults to `200`.
        batch_size: Integer, the examples of one pass.

    Raises:
        ValueError: If an argument is out of its range, or, in training, if
            the outputs are no vectors or the labels do not fit them.

    Reference:

    - [Kopitkov & Indelman, 2019](https://arxiv.org/abs/1910.08720).
    - [Seleznova et al., 2023](https://arxiv.org/abs/2305.16427).
    """

    run = "kernel"

    def __init__(
        self,
        x: Any,
        y: Any,
        *,
        log_dir: str | os.PathLike | None = None,
        epochs: int | str | Iterable[int] = 1,
        k: int | Sequence[int] = (10, 50),
        outputs: str = "trace",
        examples: int = 200,
        batch_size: int = 64,
    ):
        super().__init__(epochs, log_dir)
        if outputs not in ("trace", "each", "full"):
            raise ValueError(
                '`outputs` must be "trace", "each" or "full". '
                f"Received: {outputs=}."
            )
        self.outputs = outputs
        self.k = [int(one) for one in np.atleast_1d(k)]
        if min(self.k, default=1) < 1 or examples < 2:
            raise ValueError(
                "`k` must be positive, and `examples` at least 2. "
                f"Received: {k=}, {examples=}."
            )
        self.batch_size = batch_size
        x, y = examples_of(x), np.asarray(y)
        if len(keras.tree.flatten(x)[0]) != len(y):
            raise ValueError(
                "There must be one label per example. Received: "
                f"{len(keras.tree.flatten(x)[0])} examples, {len(y)} labels."
            )
        rows = _balanced(y, examples)
        self.x = keras.tree.map_structure(lambda array: array[rows], x)
        self.y = y[rows]
        self._network: Any = None
        self._rows: Any = None

    @property
    def panels(self):
        tags = {
            "what the top eigenvectors hold of the labels": ["^labels/"],
            "of the outputs": ["^outputs/"],
            "of the residual": ["^residual/"],
            "edge of stability (2)": ["^edge$", "^edge_of_stability$"],
            "largest eigenvalue": ["^lambda_max$"],
            "effective rank": ["^effective_rank$"],
            "alignment with the labels": ["^kta$", "^centred_kta$"],
            "kernel of an example, a class, two classes": ["^gamma_"],
            "share of the kernel that blocks explain": ["^block_r2$"],
        }
        return {"Tangent kernel": tags}

    def get_state(self) -> dict:
        """What `Checkpoint` keeps; what was written is then on the disk."""
        if self._rows is not None:
            self._rows.sync()
        return super().get_state()

    def on_epoch_begin(self, epoch, logs=None):
        super().on_epoch_begin(epoch, logs)
        if self._rows is None and self.log_dir is not None:
            path = pathlib.Path(self.log_dir) / "kernel.jsonl"
            self._rows = JSONLinesWriter(path, self.first_step(epoch))

    def on_train_end(self, logs=None):
        super().on_train_end(logs)
        self._rows = None

    def on_train_begin(self, logs=None):
        super().on_train_begin(logs)
        self._rows = None

    def observe(self, epoch: int) -> dict[str, float]:
        measured = self._measure()
        values = dict.fromkeys(self._tags(), math.nan)
        row = {"epoch": epoch}
        if measured is not None:
            gram, found, edge = measured
            values |= _values(found) | {"edge": edge}
            top = np.atleast_2d(found.eigenvalues).mean(axis=0)
            row |= {f"lambda_{i}": v for i, v in _numbered(top)}
            if self._writer is not None:
                self._draw(epoch, gram.values, found, values)
        if self._rows is not None:
            self._rows.write(row | values)
        return {
            f"kernel_{tag.replace('/', '_')}": value
            for tag, value in values.items()
        }

    def _measure(self) -> tuple[Gram, Alignment, float] | None:
        """Kernel, alignment and edge now; `None` where there is no kernel."""
        model = self.model
        try:
            if self._network is None or self._network.is_stale(model):
                self._network = Network(model, self.x, self.batch_size)
            gram = gram_of(self._network, self.x, self.outputs)
        except (UntrainedError, NonFiniteError):
            return None
        operator = Operator(self._network, self.x)
        outputs, classes = operator.outputs(), gram.num_outputs
        residual, edge = None, math.nan
        kind = kind_of(model, classes)
        if kind is not None:
            targets = one_hot(self.y, classes)[1]
            residual = residual_of(model, outputs, targets, None)
            rate = ops.convert_to_numpy(model.optimizer.learning_rate)
            root = curvature_root(kind, outputs)
            edge = float(rate) * sharpness(operator, root)
        ks = [k for k in self.k if k <= gram.values.shape[-1]]
        return gram, alignment(gram, self.y, outputs, residual, ks), edge

    def _tags(self):
        """The names of all values, as far as they are known before."""
        network = self._network
        outputs = network and network.num_outputs
        outputs = outputs or one_hot(self.y)[1].shape[1]
        size = len(self.y) * (outputs if self.outputs == "full" else 1)
        ks = sorted({min(outputs, size), *(k for k in self.k if k <= size)})
        return [*(f"{v}/{k}" for v in _VECTORS for k in ks), *_NUMBERS]

    def _draw(self, epoch, kernel, found, values):
        finite = {t: v for t, v in values.items() if math.isfinite(v)}
        if "edge" in finite:
            finite["edge_of_stability"] = 2.0
        self.scalars(epoch, finite)
        self.histogram(epoch, "eigenvalues", found.eigenvalues.reshape(-1))
        if self.outputs != "trace":
            return
        labels = one_hot(self.y, found.num_outputs)[0]
        order = np.arange(len(kernel))
        if labels is not None:
            order = np.argsort(labels, kind="stable")
        image = kernel_image(kernel[np.ix_(order, order)])
        self._writer.image(epoch, "kernel", image)
        points = self.x
        if getattr(points, "ndim", 0) == 2 and points.shape[1] == 2:
            for number in range(min(_PLANE_VECTORS, len(points))):
                image = plane_image(points, found.eigenvectors[:, number])
                self._writer.image(epoch, f"eigenvector/{number + 1}", image)


def _values(found):
    values = {}
    for name in _VECTORS:
        of = "centred_labels" if name == "labels" else name
        energies = getattr(found, of)
        if energies is not None:
            values |= {
                f"{name}/{k}": float(v)
                for k, v in zip(found.ks, energies, strict=True)
            }
    for name in ("lambda_max", "effective_rank", "kta", "centred_kta"):
        values[name] = float(getattr(found, name))
    if found.blocks is not None:
        for name in ("gamma_d", "gamma_c", "gamma_n"):
            values[name] = getattr(found.blocks, name)
        values["block_r2"] = found.blocks.r2
    return values


def _numbered(values):
    """The first ten eigenvalues, and then fewer and fewer."""
    wanted = {*range(1, 11), 20, 50, 100, 200, 500, 1000}
    return [(i, float(v)) for i, v in enumerate(values, 1) if i in wanted]


def _balanced(y, examples):
    """The first examples of each class, in their order."""
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    labels = y.argmax(axis=1) if y.ndim == 2 else y
    classes, labels, counts = np.unique(
        labels, return_inverse=True, return_counts=True
    )
    if len(classes) > examples // 2 or len(y) <= examples:
        return np.arange(min(examples, len(y)))
    by_class = np.argsort(labels, kind="stable")
    starts = np.repeat(np.cumsum(counts) - counts, counts)
    is_first = np.arange(len(y)) - starts < examples // len(classes)
    return np.sort(by_class[is_first])
