"""Trains one network with one head by the papers' protocol."""

import contextlib
import importlib
import math
import pathlib
import statistics
import time
from collections.abc import Iterator

import keras
import numpy as np

import nc_keras
from recipes.datasets import Dataset
from recipes.datasets import ImageStream
from recipes.networks import build_model
from recipes.progress import EpochProgress
from recipes.results import write_run
from recipes.robustness import Robustness
from recipes.settings import Run
from recipes.settings import Settings

LOSSES = {
    "ce": lambda classes: nc_keras.losses.CE(),
    "mse": lambda classes: nc_keras.losses.MSE(),
    # Hui & Belkin 2020, as others transcribe it: for 1,000 classes, and below.
    "rescaled_square": lambda classes: (
        nc_keras.losses.RescaledSquare(k=15, M=30)
        if classes >= 1000
        else nc_keras.losses.RescaledSquare(k=1, M=15)
    ),
}


def train(settings: Settings, run: Run, dataset: Dataset | ImageStream) -> None:
    """Trains, and leaves curves, model and events in the folder of the run.

    Curves and model are on disk after each epoch: a run that is interrupted,
    or whose loss is no longer finite, leaves the last good epoch.

    Args:
        settings: The settings of the recipe.
        run: Loss, head and seed.
        dataset: The data, with images of uint8.
    """
    folder = settings.folder / run.name
    make_deterministic()
    keras.utils.set_random_seed(run.seed)
    model = compiled_model(settings, run, dataset)
    write_run(folder, run, describe(model))
    x, y = dataset.train_data(settings.batch_size, run.seed)
    finite = nc_keras.callbacks.TerminateOnNonFinite(folder / "model.keras")
    stopwatch = Stopwatch()
    callbacks = [
        keras.callbacks.LearningRateScheduler(
            lambda epoch, _: settings.learning_rate_at(epoch, run.loss)
        ),
        finite,
        stopwatch,
        panels(settings, run, dataset, folder),
    ]
    if settings.deepfool:
        callbacks.append(Robustness(folder, dataset, settings.deepfool))
    # One head draws more numbers than another when it is built: the order of
    # the images must not depend on that.
    keras.utils.set_random_seed(run.seed)
    finished = False
    try:
        with progress_bar(settings, run) as bar:
            model.fit(
                x,
                y,
                **fit_options(dataset, y, settings.batch_size),
                validation_freq=settings.measured_epochs,
                epochs=settings.epochs,
                callbacks=[*callbacks, *bar],
                verbose=0,
            )
        finished = True
    finally:
        outcome = {
            "finished": finished,
            "failure": failure(finite),
            "seconds_per_epoch": stopwatch.seconds_per_epoch,
        }
        write_run(folder, run, describe(model) | outcome)


def describe(model: keras.Model) -> dict:
    """Returns the sizes of a compiled model, in numbers and bytes."""
    model.optimizer.build(model.trainable_variables)
    state = [*model.variables, *model.optimizer.variables]
    return {
        "feature_dim": model.layers[-1].layers[-1].input.shape[-1],
        "parameters": sum(math.prod(w.shape) for w in model.weights),
        "trainable_parameters": sum(
            math.prod(w.shape) for w in model.trainable_weights
        ),
        "state_bytes": sum(
            math.prod(v.shape) * np.dtype(v.dtype).itemsize for v in state
        ),
    }


def failure(finite: nc_keras.callbacks.TerminateOnNonFinite) -> str | None:
    """Says at which epoch the loss was no longer finite, if it was not."""
    if getattr(finite, "failed_at", None) is None:
        return None
    return f"the loss was not finite in epoch {finite.failed_at[0]}"


def compiled_model(
    settings: Settings, run: Run, dataset: Dataset | ImageStream
) -> keras.Model:
    """Returns the network of a run with its optimizer and loss."""
    model = build_model(settings, run.head, dataset)
    model.compile(
        optimizer=nc_keras.optimizers.SGD(
            settings.rate(run.loss).value,
            settings.momentum,
            settings.weight_decay,
        ),
        loss=LOSSES[run.loss](dataset.num_classes),
        metrics=["accuracy"],
    )
    return model


def panels(
    settings: Settings,
    run: Run,
    dataset: Dataset | ImageStream,
    folder: pathlib.Path,
) -> keras.callbacks.Callback:
    """Returns the callback that measures training and test images."""
    x, y = dataset.measured_train_data(256)
    test = dataset.test_data(256)
    return nc_keras.callbacks.NCTensorBoard(
        folder,
        x,
        y,
        test if test[1] is not None else test[0],
        epochs=settings.measured_epochs,
        threshold=settings.threshold,
        hparams={"batch_size": settings.batch_size, "seed": run.seed},
    )


def fit_options(
    dataset: Dataset | ImageStream, y: np.ndarray | None, batch_size: int
) -> dict:
    """How Keras makes batches: of arrays itself, of streams not at all."""
    test = dataset.test_data(256)
    if y is None:
        return {"shuffle": False, "validation_data": test[0]}
    return {
        "batch_size": batch_size,
        "validation_data": test,
        "validation_batch_size": 256,
    }


@contextlib.contextmanager
def progress_bar(settings: Settings, run: Run) -> Iterator[list]:
    """Yields the callbacks that draw progress: one, or none."""
    if not settings.progress:
        yield []
        return
    with EpochProgress(f"{settings.dataset}, {run.name}") as bar:
        yield [bar]


def make_deterministic() -> None:
    """Makes a seed repeat a run exactly on the same machine."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        tensorflow = importlib.import_module("tensorflow")
        tensorflow.config.experimental.enable_op_determinism()
    elif backend == "torch":
        torch = importlib.import_module("torch")
        torch.use_deterministic_algorithms(True)


class Stopwatch(keras.callbacks.Callback):
    """Puts the seconds since training began into `logs`.

    Attributes:
        seconds_per_epoch: The median over the epochs of the seconds that the
            training steps took, without compiling, validating and measuring,
            or `None` before the first has ended.
    """

    # Keras then calls `on_train_batch_end` from a thread of its own, once the
    # step is done: elsewhere, JAX' steps have been asked for, not made.
    async_safe = True

    def __init__(self):
        super().__init__()
        self._seconds = []

    @property
    def seconds_per_epoch(self) -> float | None:
        # The first epoch compiles.
        seconds = self._seconds[1:] or self._seconds
        return round(statistics.median(seconds), 4) if seconds else None

    def on_train_begin(self, logs=None):
        self._start = time.perf_counter()

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch_start = time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        self._last_step = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        self._seconds.append(self._last_step - self._epoch_start)
        logs["seconds"] = round(time.perf_counter() - self._start, 3)
