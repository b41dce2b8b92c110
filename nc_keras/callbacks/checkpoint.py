import functools
import importlib
import json
import os
import random
import re
import time
from collections.abc import Iterable
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from nc_keras.processes import is_first_process
from nc_keras.writers.snapshots import Snapshot
from nc_keras.writers.snapshots import SnapshotDirectory

_FORMAT = 1
# What Keras' own callbacks remember between epochs.
_REMEMBERED = {
    keras.callbacks.EarlyStopping: (
        *("wait", "stopped_epoch", "best", "best_epoch", "best_weights"),
    ),
    keras.callbacks.ReduceLROnPlateau: ("best", "wait", "cooldown_counter"),
    keras.callbacks.ModelCheckpoint: ("best",),
}


class Checkpoint(keras.callbacks.Callback):
    """Lets a training that was killed go on as if it had not been.

    `keras.callbacks.BackupAndRestore` brings back weights, optimizer and
    epoch. This one also brings back the seeds of Dropout and its like,
    `History`, the state of other callbacks, and Python's and NumPy's random
    numbers, so that on a CPU the rest of the training is the same, bit for
    bit.

    The order of the examples must follow from the epoch. That of arrays in
    `fit` does on JAX, whose permutations are NumPy's. On TensorFlow and torch
    let a dataset shuffle by a seed and the epoch, beginning at
    `finished_epochs`.

    A file is written before the next epoch begins, if all weights are finite,
    and the writing costs no more than the share `max_cost` of the time. By
    then callbacks such as `keras.callbacks.SwapEMAWeights` have put back the
    weights that are trained. What came after the last file is done again. The
    files stay until `delete()`.

    Place it last in the list of callbacks, and say where to begin:

    ```python
    checkpoint = nc_keras.callbacks.Checkpoint("run/checkpoints", [panels])
    model.fit(
        x,
        y,
        epochs=350,
        initial_epoch=checkpoint.finished_epochs,
        callbacks=[panels, checkpoint],
    )
    ```

    Args:
        directory: Where the checkpoints of this training are.
        callbacks: Those whose state is to be kept: the ones of `nc_keras`,
            Keras' `EarlyStopping`, `ReduceLROnPlateau` and `ModelCheckpoint`,
            and any with the methods `get_state()`, which returns a dictionary
            of numbers, strings, lists and NumPy arrays, and
            `set_state(state)`, called before the first epoch.
        config: Dictionary of settings of the training, or `None`. A
            checkpoint of other settings is refused.
        keep: Integer, how many checkpoints stay. Defaults to `2`.
        max_cost: Float, the share of the training time that writing may
            take, or `math.inf` to write after every epoch. Defaults to
            `0.02`.

    Raises:
        OSError: If the directory cannot be written to, in training.
        TypeError: If one of `callbacks` has a state that is not known.
        ValueError: If `keep` or `max_cost` is not positive, or, in training,
            if the checkpoint is of other settings, another network or
            another version, or `initial_epoch` is not `finished_epochs`.

    Example:

    >>> x, y = np.random.default_rng(0).normal(size=(30, 4)), np.arange(30) % 3
    >>> model = nc_keras.models.MLP((4,), 3, widths=(8,))
    >>> model.compile("sgd", loss=nc_keras.losses.CE())
    >>> directory = tempfile.mkdtemp()
    >>> checkpoint = nc_keras.callbacks.Checkpoint(directory)
    >>> _ = model.fit(x, y, epochs=3, callbacks=[checkpoint], verbose=0)
    >>> nc_keras.callbacks.Checkpoint(directory).finished_epochs in (1, 2)
    True
    """

    def __init__(
        self,
        directory: str | os.PathLike,
        callbacks: Iterable[keras.callbacks.Callback] = (),
        config: Mapping[str, Any] | None = None,
        keep: int = 2,
        max_cost: float = 0.02,
    ):
        super().__init__()
        if keep < 1 or not max_cost > 0:
            raise ValueError(
                "`keep` and `max_cost` must be positive. "
                f"Received: keep={keep}, max_cost={max_cost}."
            )
        self.callbacks = list(callbacks)
        for callback in self.callbacks:
            _remembered(callback)
        # As it will be when it is read again.
        self.config = json.loads(json.dumps(dict(config or {}), default=str))
        self.max_cost = max_cost
        self._directory = SnapshotDirectory(directory, keep)
        self._saved_at = None

    @functools.cached_property
    def _snapshot(self):
        return self._directory.newest()

    @property
    def finished_epochs(self) -> int:
        """The epochs that need not be trained again."""
        return self._snapshot.epoch if self._snapshot else 0

    def restore(self, model: keras.Model) -> None:
        """Sets the variables of a model and its optimizer, if there are any.

        Raises:
            ValueError: If the checkpoint is of another training.
        """
        if self._snapshot is None:
            return
        if not model.built:
            raise ValueError(
                "The model must be built before its weights can be restored. "
                f"Received: model {model.name!r}, which is not built."
            )
        self._refuse_another(model)
        variables, arrays = _variables(model), self._snapshot.arrays
        if [v.shape for v in arrays] != [tuple(v.shape) for v in variables]:
            raise ValueError(
                f"The checkpoint in {self._directory.directory} has other "
                "arrays than its record says. Delete it to begin anew. "
                f"Received: {len(arrays)} arrays for {len(variables)} "
                "variables, or others of their shapes."
            )
        for variable, value in zip(variables, arrays, strict=True):
            variable.assign(value)

    def delete(self) -> None:
        """Deletes the checkpoints: the training is over."""
        if is_first_process():
            self._directory.delete()
        self._forget()

    def on_train_begin(self, logs=None):
        self._history = {"epoch": [], "history": {}}
        self._resumes = self._snapshot is not None
        self._is_due = False
        self.restore(self.model)

    def on_epoch_begin(self, epoch, logs=None):
        if self._resumes:
            # Only now: the other callbacks have begun, and forgotten.
            self._resume(epoch)
            self._resumes = False
        # Whole networks: they are read again where they are needed again.
        self._forget()
        if self._saved_at is None:
            self._saved_at = time.perf_counter()
            self._cost = 0.0
        # Not at the end of the epoch before: weights may be swapped there,
        # for those that are to be measured and kept, and swapped back now.
        if self._is_due:
            self._save(epoch)

    def on_epoch_end(self, epoch, logs=None):
        self._history["epoch"].append(epoch)
        for key, value in (logs or {}).items():
            self._history["history"].setdefault(key, []).append(value)
        since = time.perf_counter() - self._saved_at
        self._is_due = since * self.max_cost >= self._cost

    def on_train_end(self, logs=None):
        self._saved_at = None

    def _forget(self):
        vars(self).pop("_snapshot", None)

    def _save(self, epoch):
        self._is_due = False
        if not is_first_process():
            return
        begin = time.perf_counter()
        arrays = [_to_numpy(variable) for variable in _variables(self.model)]
        if not all(np.isfinite(array).all() for array in arrays):
            return
        record = {
            "identity": self._identity(self.model),
            "history": self._history,
            "python": random.getstate(),
            "numpy": np.random.get_state(legacy=False),
            "callbacks": [_get_state(callback) for callback in self.callbacks],
        }
        self._directory.save(Snapshot(epoch, arrays, record))
        self._saved_at = time.perf_counter()
        self._cost = self._saved_at - begin

    def _resume(self, epoch):
        if epoch != self._snapshot.epoch:
            raise ValueError(
                f"{self._directory.directory} has a checkpoint after "
                f"{self._snapshot.epoch} epochs: pass "
                "`initial_epoch=checkpoint.finished_epochs` to `fit`, or "
                "delete it with `checkpoint.delete()`. "
                f"Received: initial_epoch={epoch}."
            )
        record = self._snapshot.record
        self._history = record["history"]
        history = self.model.history
        history.epoch = list(self._history["epoch"])
        history.history = {
            key: list(values)
            for key, values in self._history["history"].items()
        }
        version, numbers, gauss = record["python"]
        random.setstate((version, tuple(numbers), gauss))
        np.random.set_state(record["numpy"])
        states = record["callbacks"]
        for callback, state in zip(self.callbacks, states, strict=True):
            _set_state(callback, state)

    def _identity(self, model):
        """What must not differ between two parts of one training."""
        backend = keras.backend.backend()
        return {
            "format": _FORMAT,
            "keras": keras.__version__,
            "backend": f"{backend} {_version(backend)}",
            "optimizer": type(model.optimizer).__name__,
            "callbacks": [
                type(callback).__name__ for callback in self.callbacks
            ],
            "variables": [
                _describe(variable) for variable in _variables(model)
            ],
            **{f"config.{key}": value for key, value in self.config.items()},
        }

    def _refuse_another(self, model):
        mine = self._identity(model)
        theirs = self._snapshot.record["identity"]
        different = [
            _difference(key, theirs.get(key), mine.get(key))
            for key in dict.fromkeys([*theirs, *mine])
            if theirs.get(key) != mine.get(key)
        ]
        if different:
            raise ValueError(
                f"The checkpoint in {self._directory.directory} is of another "
                f"training: {'; '.join(different)}. Go back to those settings, "
                "or delete that directory to begin anew."
            )


def _variables(model):
    """All that training changes, but for metrics, which start each epoch."""
    optimizer = model.optimizer
    if not optimizer.built:
        optimizer.build(model.trainable_variables)
    return [*model.variables, *optimizer.variables]


def _to_numpy(variable):
    if keras.backend.standardize_dtype(variable.dtype) == "bfloat16":
        # NumPy's files have no bfloat16; float32 holds it exactly.
        return ops.convert_to_numpy(ops.cast(variable, "float32"))
    return ops.convert_to_numpy(variable)


def _describe(variable):
    # Keras' names count the layers that a process has made.
    name = re.sub(r"_\d+", "", variable.path.rpartition("/")[2])
    return f"{name} {list(variable.shape)} {variable.dtype}"


def _difference(key, theirs, mine):
    """Says in what two values differ; of long lists, the first difference."""
    if isinstance(theirs, list) and isinstance(mine, list):
        if len(theirs) != len(mine):
            return f"{key} has {len(theirs)} entries there and {len(mine)} here"
        pairs = enumerate(zip(theirs, mine, strict=True))
        index = next(i for i, (a, b) in pairs if a != b)
        key, theirs, mine = f"{key}[{index}]", theirs[index], mine[index]
    return f"{key} is {theirs} there and {mine} here"


def _remembered(callback):
    """The attributes to keep of a callback, or `None` if it keeps its own."""
    if hasattr(callback, "get_state") and hasattr(callback, "set_state"):
        return None
    for kind, attributes in _REMEMBERED.items():
        if isinstance(callback, kind):
            return attributes
    raise TypeError(
        "The state of a callback can be kept if it has the methods "
        "`get_state()` and `set_state(state)`. "
        f"Received: {type(callback).__name__}."
    )


def _get_state(callback):
    attributes = _remembered(callback)
    if attributes is None:
        return callback.get_state()
    return {name: getattr(callback, name) for name in attributes}


def _set_state(callback, state):
    if _remembered(callback) is None:
        callback.set_state(state)
        return
    for name, value in state.items():
        setattr(callback, name, value)


def _version(backend):
    # Not that of the distribution: `tensorflow-cpu` is a tensorflow, too.
    return importlib.import_module(backend).__version__
