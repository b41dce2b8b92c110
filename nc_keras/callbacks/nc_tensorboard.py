"""Neural collapse, drawn live in TensorBoard."""

from __future__ import annotations

import math
import numbers
import os
import pathlib
from collections.abc import Iterable
from typing import Any

import numpy as np
from keras import ops
from typing_extensions import Unpack

from nc_keras.callbacks.explanations import IMAGES
from nc_keras.callbacks.explanations import LOSS
from nc_keras.callbacks.explanations import MSE
from nc_keras.callbacks.explanations import explanations
from nc_keras.callbacks.geometry_pictures import matrices
from nc_keras.callbacks.geometry_pictures import pictures
from nc_keras.callbacks.neural_collapse import NeuralCollapse
from nc_keras.callbacks.neural_collapse import log_key
from nc_keras.callbacks.neural_collapse import validate_metrics
from nc_keras.callbacks.panels import LOSS_PANELS
from nc_keras.callbacks.panels import MSE_PANELS
from nc_keras.callbacks.panels import panels_of
from nc_keras.callbacks.positional import formerly_positional
from nc_keras.callbacks.schedule import measured_only
from nc_keras.callbacks.terminal_phase import TerminalPhase
from nc_keras.measuring.options import Options
from nc_keras.measuring.registry import METRICS
from nc_keras.measuring.validation import names_of
from nc_keras.measuring.verdict import verdict
from nc_keras.writers.files import writable_directory
from nc_keras.writers.json_lines import JSONLinesWriter
from nc_keras.writers.tensorboard import TensorBoardWriter

_RUNS = {"": "nc_train", "val_": "nc_validation"}
# The first columns of the page HParams, and the results in it.
_COMPARED = ("head", "loss", "learning_rate", "weight_decay")
_RESULTS = (
    ("accuracy", "val_"),
    ("accuracy", ""),
    ("nc1", ""),
    ("nc2_equiangular_means", ""),
    ("nc3", ""),
    ("nc4", ""),
)


class NCTensorBoard(NeuralCollapse):
    """Measures neural collapse and draws it live in TensorBoard.

    Does all that `NeuralCollapse` and `TerminalPhase` do, and writes, with
    the `tensorboard` package alone and on every backend:

    * `log_dir/nc_train` and `log_dir/nc_validation`: the scalars `nc/<tag>`,
      `loss`, `error` (as measured, in inference mode), `learning_rate` and
      `terminal_phase`, with the number of finished epochs as step, and
      `running/<tag>` where `RunningCollapse` comes before; the parts of the
      MSE loss as `mse/<part>` where it is the loss; loss and
      error of the terminal phase once more, so that their curves are marked
      there; images of the cosines of the class means, in which a simplex ETF
      is white off the diagonal, and their singular values as histograms; of
      the head both once, in `nc_train`.
    * `log_dir`: the layout of the panels on the page *Custom Scalars*, what
      each of them means on the page *Text*, and for the page *HParams* the
      settings of the run, with columns for what one compares.
    * `log_dir/metrics.jsonl`: the `logs` of every epoch, one JSON object a
      line, without what was not measured in that epoch.

    `keras.callbacks.TensorBoard` may write to the same `log_dir`: its runs,
    `train` and `validation`, are others. (Of two files of one run that grow
    at the same time TensorBoard's classic loader would read one.)

    Everything is on disk at the end of each epoch. A training that resumes in
    the same `log_dir` at a later epoch continues the curves where they were.
    One that starts at the first epoch takes their place; the earlier
    `metrics.jsonl` is kept, as `metrics.1.jsonl` and so on.

    Args:
        log_dir: Directory of this run, made if it does not exist.
        x: As in `NeuralCollapse`.
        y: As in `NeuralCollapse`.
        validation_data: As in `NeuralCollapse`.
        epochs: As in `NeuralCollapse`.
        threshold: As in `TerminalPhase`.
        stop_after: As in `TerminalPhase`.
        images_every: Integer, the least number of epochs between two images
            or histograms; the last measurement has them too. Defaults to
            `10`.
        hparams: Dictionary of settings (numbers, strings, booleans) to show
            beside those that are found: loss, head, optimizer and the like.
        class_names: Strings, one per class, for the images; or `None` for
            numbers.
        decompose: As in `NeuralCollapse`.
        mask: As in `NeuralCollapse`.
        loss: As in `NeuralCollapse`; of the validation data it is drawn where
            `fit` does not validate.
        **options: As in `NeuralCollapse`.

    Raises:
        OSError: If `log_dir` cannot be written to.
        ValueError: If `hparams` holds other values, and as `NeuralCollapse`.

    Example:

    >>> x, y = np.random.default_rng(0).normal(size=(30, 4)), np.arange(30) % 3
    >>> model = nc_keras.models.MLP((4,), 3, widths=(8,))
    >>> model.compile("sgd", loss=nc_keras.losses.CE(), metrics=["accuracy"])
    >>> log_dir = tempfile.mkdtemp()
    >>> panels = nc_keras.callbacks.NCTensorBoard(log_dir, x, y)
    >>> _ = model.fit(x, y, epochs=2, callbacks=[panels], verbose=0)
    >>> sorted(os.listdir(log_dir))[-2:]
    ['metrics.jsonl', 'nc_train']
    """

    @formerly_positional(
        "epochs",
        "head",
        "batch_size",
        "missing",
        "threshold",
        "stop_after",
        "images_every",
        "hparams",
        "metrics",
        "memory",
        "ignore_label",
        "across_processes",
        "decompose",
    )
    def __init__(
        self,
        log_dir: str | os.PathLike,
        x: Any,
        y: Any = None,
        validation_data: Any = None,
        *,
        epochs: int | str | Iterable[int] = 1,
        threshold: float = 0.999,
        stop_after: int | None = None,
        images_every: int = 10,
        hparams: dict[str, Any] | None = None,
        class_names: Iterable[str] | None = None,
        decompose: bool | None = None,
        mask: Any = None,
        loss: bool = False,
        **options: Unpack[Options],
    ):
        has_head = options.get("features") is None or options.get("head")
        if options.get("metrics") is not None and has_head:
            # The terminal phase is told by the accuracy.
            chosen = validate_metrics(options["metrics"])
            options["metrics"] = [*chosen, "accuracy"]
        super().__init__(
            x,
            y,
            validation_data,
            epochs=epochs,
            decompose=decompose,
            mask=mask,
            loss=loss,
            **options,
        )
        self.log_dir = pathlib.Path(log_dir)
        self.images_every = images_every
        self.class_names = None if class_names is None else list(class_names)
        self.hparams = hparams or {}
        for name, value in self.hparams.items():
            if not isinstance(value, str | numbers.Real):
                raise ValueError(
                    "`hparams` must be numbers, strings or booleans. "
                    f"Received: hparams[{name!r}]={value!r}."
                )
        self.terminal_phase = TerminalPhase(
            threshold, log_key("accuracy"), stop_after
        )

    def set_model(self, model):
        super().set_model(model)
        self.terminal_phase.set_model(model)

    def on_train_begin(self, logs=None):
        super().on_train_begin(logs)
        kernel = self._extractor.kernel if self._extractor else None
        if kernel is not None:
            names_of(self.class_names, kernel.shape[1])
        writable_directory(self.log_dir)
        self.terminal_phase.on_train_begin(logs)
        self._writers = {}
        self._run_writer = None
        self._last_measured = self._last_drawn = 0
        self._next_image = 0

    def get_state(self) -> dict:
        """What `Checkpoint` keeps; what was written is then on the disk."""
        for writer in (self._rows, self._run_writer, *self._writers.values()):
            writer.sync()
        return {
            **super().get_state(),
            "terminal_phase": self.terminal_phase.get_state(),
            "last_measured": self._last_measured,
            "last_drawn": self._last_drawn,
            "next_image": self._next_image,
        }

    def set_state(self, state: dict) -> None:
        """Goes on where `get_state()` was called."""
        super().set_state(state)
        self.terminal_phase.set_state(state["terminal_phase"])
        self._last_measured = state["last_measured"]
        self._last_drawn = state["last_drawn"]
        self._next_image = state["next_image"]

    def on_epoch_begin(self, epoch, logs=None):
        # Only here is it known at which epoch a resumed training starts.
        if not self._writers:
            self._open(epoch + 1)

    def on_epoch_end(self, epoch, logs=None):
        logs = {} if logs is None else logs
        super().on_epoch_end(epoch, logs)
        self.terminal_phase.on_epoch_end(epoch, logs)
        logs["learning_rate"] = self._learning_rate()
        step = epoch + 1
        if not self._has_settings:
            # Only after a step is every model built.
            self._find_features()
            settings = self._settings()
            self._run_writer.columns(
                settings, [*_COMPARED, *self.hparams], self._results(logs)
            )
            self._run_writer.hparams(str(self.log_dir), settings)
            self._has_settings = True
        measured = measured_only(logs)
        self._write_scalars(step, measured)
        self._rows.write({"epoch": step} | measured)
        if any(log_key(tag) in measured for tag in METRICS):
            self._last_measured = step
            self._write_verdict(step, measured)
            if step >= self._next_image:
                self._write_geometry(step)

    def on_train_end(self, logs=None):
        super().on_train_end(logs)
        if not self._writers:
            return
        if self._last_measured > self._last_drawn:
            self._write_geometry(self._last_measured)
        self._run_writer.finish()
        self._writers = {}

    def _open(self, first_epoch):
        self._rows = JSONLinesWriter(
            self.log_dir / "metrics.jsonl", first_epoch, every_epoch=True
        )
        earlier = self._rows.earlier
        self.terminal_phase.epoch = next(
            (row["epoch"] for row in earlier if row.get("terminal_phase")),
            None,
        )
        runs = dict(_RUNS)
        if self.validation_data is None:
            del runs["val_"]
        self._writers = {
            prefix: TensorBoardWriter(
                writable_directory(self.log_dir / run), first_epoch
            )
            for prefix, run in runs.items()
        }
        self._run_writer = TensorBoardWriter(
            self.log_dir, first_epoch if earlier else 0
        )
        if not earlier:
            decomposed = {} if self.decay is None else MSE_PANELS
            chosen = [
                metric
                for tag, metric in METRICS.items()
                if (
                    metric.default
                    if self.plan.metrics is None
                    else tag in self.plan.metrics
                )
            ]
            self._run_writer.layout(
                panels_of(chosen) | LOSS_PANELS | decomposed
            )
            texts = explanations(chosen)
            texts |= dict.fromkeys(LOSS_PANELS, LOSS)
            texts |= dict.fromkeys(decomposed, MSE)
            texts["Images and histograms"] = IMAGES
            for heading, text in texts.items():
                self._run_writer.text(0, f"what it means/{heading}", text)
        self._has_settings = bool(earlier)

    def _settings(self):
        model, head = self.model, self._extractor.head
        # Under mixed_float16 the loss is scaled by an optimizer around it.
        optimizer = model.optimizer
        optimizer = getattr(optimizer, "inner_optimizer", optimizer)
        settings = {
            "model": model.name,
            "head": type(head).__name__ if head else None,
            "scale": getattr(head, "scale", None),
            "loss": getattr(model.loss, "name", str(model.loss)),
            **{
                name: getattr(model.loss, name, None)
                for name in ("label_smoothing", "class_reduction", "k", "M")
            },
            "optimizer": type(optimizer).__name__,
            "learning_rate": self._learning_rate(),
            "momentum": getattr(optimizer, "momentum", None),
            "weight_decay": optimizer.weight_decay,
            "trainable_parameters": sum(
                math.prod(weight.shape) for weight in model.trainable_weights
            ),
            **self.hparams,
        }
        return {k: v for k, v in settings.items() if v is not None}

    def _results(self, logs):
        """The columns of results: run, tag and heading."""
        columns = []
        for tag, prefix in _RESULTS:
            run = _RUNS[prefix]
            if prefix in self._writers and prefix + log_key(tag) in logs:
                where = run.removeprefix("nc_")
                columns.append((run, f"nc/{tag}", f"{tag}, {where}"))
        return columns

    def _learning_rate(self):
        return float(ops.convert_to_numpy(self.model.optimizer.learning_rate))

    def _write_scalars(self, step, logs):
        for prefix, writer in self._writers.items():
            scalars = {
                f"nc/{tag}": logs[key]
                for tag in METRICS
                if (key := prefix + log_key(tag)) in logs
            }
            for part in ("nc1", "nc23", "perp", "perp_share"):
                if prefix + "mse_" + part in logs:
                    scalars[f"mse/{part}"] = logs[prefix + "mse_" + part]
            marked = {}
            for key in (prefix + log_key("loss"), prefix + "loss"):
                if key in logs:
                    marked["loss"] = logs[key]
            if prefix + log_key("accuracy") in logs:
                marked["error"] = 1 - logs[prefix + log_key("accuracy")]
            scalars.update(marked)
            if logs["terminal_phase"]:
                for tag, value in marked.items():
                    scalars[f"terminal_phase/{tag}"] = value
            writer.scalars(step, scalars)
        scalars = {k: logs[k] for k in ("learning_rate", "terminal_phase")}
        for key, value in logs.items():
            if key.startswith("running_"):
                scalars["running/" + key.removeprefix("running_")] = value
        self._writers[""].scalars(step, scalars)

    def _write_verdict(self, step, logs):
        found = verdict(
            logs,
            zero_error=self.terminal_phase.threshold,
            num_classes=self.layers[""].num_classes,
        )
        lines = [
            f"* {group}: {one.state}, {one.number}"
            for group, one in found.findings.items()
        ]
        text = "\n".join([f"**{found.sentence}**", "", *lines])
        self._run_writer.text(step, "verdict", text)

    def _write_geometry(self, step):
        self._last_drawn = step
        self._next_image = step + self.images_every
        for prefix, writer in self._writers.items():
            layer = self.layers[prefix]
            names = self._names(layer)
            for name, picture in pictures(layer, names, not prefix).items():
                writer.image(step, name, picture)
            for name, rows in matrices(layer, not prefix).items():
                writer.histogram(
                    step,
                    f"singular_values/{name}",
                    np.linalg.svd(rows, compute_uv=False),
                )

    def _names(self, layer):
        """The names of all classes, also of those without examples."""
        count = layer.num_classes
        if layer.kernel is not None:
            count = len(layer.kernel)
        elif layer.classes is not None:
            count = int(max(layer.classes)) + 1
        return np.array(names_of(self.class_names, count))
