"""Trains one network with one head by the papers' protocol."""

import contextlib
import importlib
import time
from collections.abc import Iterator

import keras

import nc_keras
from recipes.datasets import Dataset
from recipes.progress import EpochProgress
from recipes.settings import Settings

LOSSES = {
    "ce": nc_keras.losses.CE,
    "mse": nc_keras.losses.MSE,
    "rescaled_square": lambda: nc_keras.losses.RescaledSquare(k=1, M=15),
}


def train(settings: Settings, head: str, dataset: Dataset) -> None:
    """Trains, and leaves curves, model and events in `settings.folder / head`.

    Curves and model are on disk after each epoch: a run that is interrupted,
    or whose loss is no longer finite, leaves the last good epoch.

    Args:
        settings: The settings of the run.
        head: The head to train.
        dataset: The standardised data.
    """
    folder = settings.folder / head
    make_deterministic()
    keras.utils.set_random_seed(settings.seed)
    model = build_model(settings, head, dataset)
    validation = (dataset.x_test, dataset.y_test)
    panels = nc_keras.callbacks.NCTensorBoard(
        folder,
        dataset.x_train,
        dataset.y_train,
        validation,
        epochs=1 if settings.measure == "every" else "log",
        threshold=settings.threshold,
        hparams={"batch_size": settings.batch_size, "seed": settings.seed},
    )
    callbacks = [
        keras.callbacks.LearningRateScheduler(
            lambda epoch, _: settings.learning_rate_at(epoch)
        ),
        nc_keras.callbacks.TerminateOnNonFinite(folder / "model.keras"),
        Stopwatch(),
        panels,
    ]
    with progress_bar(settings, head) as bar:
        model.fit(
            dataset.x_train,
            dataset.y_train,
            batch_size=settings.batch_size,
            epochs=settings.epochs,
            validation_data=validation,
            validation_batch_size=256,
            callbacks=[*callbacks, *bar],
            verbose=0,
        )


def build_model(settings: Settings, head: str, dataset: Dataset) -> keras.Model:
    """Returns the compiled network."""
    network = {"mlp": nc_keras.models.MLP, "conv_net": nc_keras.models.ConvNet}
    model = network[settings.network](
        dataset.image_shape,
        dataset.num_classes,
        settings.widths,
        head=head,
    )
    model.compile(
        optimizer=nc_keras.optimizers.SGD(
            settings.learning_rate, settings.momentum, settings.weight_decay
        ),
        loss=LOSSES[settings.loss](),
        metrics=["accuracy"],
    )
    return model


@contextlib.contextmanager
def progress_bar(settings: Settings, head: str) -> Iterator[list]:
    """Yields the callbacks that draw progress: one, or none."""
    if not settings.progress:
        yield []
        return
    with EpochProgress(f"{settings.dataset}, {head} head") as bar:
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
    """Puts the seconds since training began into `logs`."""

    def on_train_begin(self, logs=None):
        self._start = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        logs["seconds"] = round(time.perf_counter() - self._start, 3)
