"""A training in a folder: it can be killed, and the same command goes on."""

import contextlib
import importlib
import pathlib
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import keras

import nc_keras
from nc_keras.experiments.training.interrupts import Interrupts
from nc_keras.experiments.training.progress import EpochProgress
from nc_keras.writers.files import replace_atomically


class Resumable:
    """What goes on in a folder after the last checkpoint of it.

    Args:
        folder: The folder, which this process holds.
        identity: What a checkpoint must agree with.
        callbacks: Callbacks; the state of those that have any is kept.
        rate_at: The learning rate of an epoch, counted from 0; or `None` for
            the optimizer's own.

    Attributes:
        checkpoint: The `nc_keras.callbacks.Checkpoint`.
    """

    def __init__(
        self,
        folder: pathlib.Path,
        identity: Mapping[str, Any],
        callbacks: Sequence[keras.callbacks.Callback],
        rate_at: Callable[[int], float] | None = None,
    ):
        self._folder = folder
        self._finite = nc_keras.callbacks.TerminateOnNonFinite()
        self.checkpoint = nc_keras.callbacks.Checkpoint(
            folder / "checkpoints",
            [one for one in callbacks if can_be_kept(one)],
            identity,
        )
        self._callbacks = [self._finite, *callbacks, self.checkpoint]
        if rate_at is not None:
            schedule = keras.callbacks.LearningRateScheduler(
                lambda epoch, _: rate_at(epoch)
            )
            self._callbacks.insert(0, schedule)

    @property
    def begin(self) -> int:
        """The epochs that are over."""
        return self.checkpoint.finished_epochs

    @property
    def failure(self) -> str | None:
        """At which epoch the loss was no longer finite, if it was not."""
        # Keras sets it as the training begins.
        failed_at = getattr(self._finite, "failed_at", None)
        if failed_at is None:
            return None
        return f"the loss was not finite in epoch {failed_at[0]}"

    def fit(
        self,
        model: keras.Model,
        epochs: int,
        bar: str | None = None,
        **data: Any,
    ) -> None:
        """Trains to the last epoch.

        Args:
            model: The compiled model.
            epochs: The number of the last epoch.
            bar: What a progress bar says; or `None` for none.
            **data: What `keras.Model.fit` is to know of the data.
        """
        shown = [] if bar is None else [EpochProgress(bar)]
        with contextlib.ExitStack() as stack:
            # A bar is gone before an interrupt leaves.
            around = map(stack.enter_context, [Interrupts(), *shown])
            model.fit(
                **data,
                initial_epoch=self.begin,
                epochs=epochs,
                callbacks=[*self._callbacks, *around],
                verbose=0,
            )

    def keep(self, model: keras.Model) -> None:
        """Writes the model so that it is never half written."""
        replace_atomically(self._folder / "model.keras", model.save)


def can_be_kept(callback: keras.callbacks.Callback) -> bool:
    """Whether a checkpoint can keep the state of a callback."""
    try:
        nc_keras.callbacks.Checkpoint("unused", [callback])
    except TypeError:
        return False
    return True


def make_deterministic() -> None:
    """Makes a seed repeat a run exactly on the same machine."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        tensorflow = importlib.import_module("tensorflow")
        tensorflow.config.experimental.enable_op_determinism()
    elif backend == "torch":
        torch = importlib.import_module("torch")
        torch.use_deterministic_algorithms(True)
