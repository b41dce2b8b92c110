"""Trains one network with one head by the papers' protocol."""

import contextlib
import dataclasses
import math
import pathlib
from collections.abc import Sequence

import keras
import numpy as np

import nc_keras
from nc_keras.experiments import locks
from nc_keras.experiments.datasets import Dataset
from nc_keras.experiments.datasets import ImageStream
from nc_keras.experiments.datasets import devices
from nc_keras.experiments.options.settings import Run
from nc_keras.experiments.options.settings import Settings
from nc_keras.experiments.results.record import fixed
from nc_keras.experiments.results.record import is_finished
from nc_keras.experiments.results.record import write_run
from nc_keras.experiments.training.losses import build_loss
from nc_keras.experiments.training.networks import build_model
from nc_keras.experiments.training.resumable import Resumable
from nc_keras.experiments.training.resumable import make_deterministic
from nc_keras.experiments.training.robustness import Robustness
from nc_keras.experiments.training.stopwatch import Stopwatch
from nc_keras.measuring.batch_size import suitable_batch_size
from nc_keras.metrics import METRICS
from nc_keras.processes import is_first_process


def train(
    settings: Settings,
    run: Run,
    dataset: Dataset | ImageStream,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> None:
    """Trains, and leaves curves, model and events in the folder of the run.

    Curves are on disk after each epoch, and checkpoints as often as they take
    2 % of the time: a run that was killed goes on from the last one. A run
    that is interrupted, or whose loss is no longer finite, leaves the model
    of the last checkpoint. One that is finished stays as it is.

    Args:
        settings: The settings of the recipe.
        run: Loss, head and seed.
        dataset: The data, with images of uint8.
        callbacks: More callbacks; they find all metrics in their logs.

    Raises:
        OSError: If another process trains in that folder, or it cannot be
            written to.
        ValueError: If its checkpoint is of other settings.
    """
    folder = settings.folder / run.name
    folder.mkdir(parents=True, exist_ok=True)
    writes = is_first_process()
    with locks.hold(folder) if writes else contextlib.nullcontext():
        if is_finished(folder):
            return
        shared_by = devices.claim(settings.devices, settings.batch_size)
        make_deterministic()
        keras.utils.set_random_seed(run.seed)
        with shared_by.scope():
            model = compiled_model(settings, run, dataset)
            facts = describe(model)
        # One head draws more numbers than another when it is built: dropout
        # and the like must not depend on that.
        keras.utils.set_random_seed(run.seed)
        if writes:
            write_run(folder, run, facts)
        training = Training(settings, run, dataset, model, shared_by, callbacks)
        training.finish()


class Training:
    """One training, from where it was to its end.

    Args:
        settings: The settings of the recipe.
        run: Loss, head and seed.
        dataset: The data.
        model: The compiled model of the run.
        shared_by: The devices that share each batch.
        callbacks: More callbacks.
    """

    def __init__(
        self,
        settings: Settings,
        run: Run,
        dataset: Dataset | ImageStream,
        model: keras.Model,
        shared_by: devices.Devices,
        callbacks: Sequence[keras.callbacks.Callback] = (),
    ):
        self.settings = settings
        self.run = run
        self.dataset = dataset
        self.model = model
        self.shared_by = shared_by
        self.folder = settings.folder / run.name
        self.stopwatch = Stopwatch()
        lasting = [
            *follow(model),
            self.stopwatch,
            panels(settings, run, dataset, model, self.folder),
        ]
        if settings.deepfool:
            lasting.append(Robustness(self.folder, dataset, settings.deepfool))
        if settings.kernel:
            lasting.append(kernel_alignment(settings, dataset, self.folder))
        self.resumable = Resumable(
            self.folder,
            dataclasses.asdict(run) | fixed(settings, dataset, run),
            [*lasting, *own_callbacks(settings, run, self.folder), *callbacks],
            lambda epoch: settings.learning_rate_at(epoch, run.loss),
        )

    def finish(self) -> None:
        """Trains to the end, and writes model and outcome, whatever comes."""
        try:
            self._fit()
        except OSError as error:
            # A full disk has no room for a model either.
            epoch = self.resumable.begin
            raise OSError(
                f"{error} The last good checkpoint of {self.run.name} is "
                f"after epoch {epoch}."
            ) from error
        except BaseException:
            self._write(finished=False)
            raise
        self._write(finished=True)
        self.resumable.checkpoint.delete()

    def _fit(self):
        settings, begin = self.settings, self.resumable.begin
        if begin and is_first_process():
            print(f"{self.run.name}: goes on after epoch {begin}")
        has_bar = settings.progress and is_first_process()
        self.resumable.fit(
            self.model,
            settings.epochs,
            f"{settings.dataset}, {self.run.name}" if has_bar else None,
            **self.dataset.fit_data(
                settings.batch_size,
                self.run.seed,
                begin,
                self.shared_by,
                settings.remainder,
            ),
        )

    def _write(self, finished):
        outcome = {
            "finished": finished,
            "failure": self.resumable.failure,
            "seconds_per_epoch": self.stopwatch.seconds_per_epoch,
        }
        if not finished or outcome["failure"]:
            # The weights are those of some step, or not finite.
            self.resumable.checkpoint.restore(self.model)
            outcome["model_epoch"] = self.resumable.begin
        if not is_first_process():
            return
        if outcome.get("model_epoch") != 0:
            self.resumable.keep(self.model)
        write_run(self.folder, self.run, describe(self.model) | outcome)


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


def compiled_model(
    settings: Settings, run: Run, dataset: Dataset | ImageStream
) -> keras.Model:
    """Returns the network of a run with its optimizer and loss."""
    policy = "mixed_bfloat16" if settings.precision == "bfloat16" else "float32"
    keras.config.set_dtype_policy(policy)
    model = build_model(settings, run.head, dataset, run.loss)
    model.compile(
        optimizer=nc_keras.optimizers.SGD(
            settings.rate(run.loss).value,
            settings.momentum,
            settings.weight_decay,
        ),
        loss=build_loss(settings, run.loss, class_counts(dataset)),
        metrics=["accuracy"],
        steps_per_execution=settings.steps_per_execution,
    )
    return model


def class_counts(dataset: Dataset | ImageStream) -> list[int]:
    """The training examples per class; zeros where only batches are known."""
    labels = getattr(dataset, "y_train", np.empty(0, int))
    return np.bincount(labels, minlength=dataset.num_classes).tolist()


def follow(model: keras.Model) -> list[keras.callbacks.Callback]:
    """The callback that a head which follows the class means needs."""
    head = model.layers[-1].layers[-1]
    if isinstance(head, nc_keras.layers.NearestETFClassifier):
        return [nc_keras.callbacks.FollowClassMeans()]
    return []


def own_callbacks(
    settings: Settings, run: Run, folder: pathlib.Path
) -> list[keras.callbacks.Callback]:
    """Returns the callbacks of the recipe's own, for one run.

    Raises:
        ValueError: If one of them is none.
    """
    made = []
    for name in settings.callbacks:
        own = settings.meant("callbacks", name)
        if not isinstance(own, keras.callbacks.Callback):
            own = own(run, folder)
        if not isinstance(own, keras.callbacks.Callback):
            raise ValueError(
                f"The callback {name!r} must be a keras.callbacks.Callback, "
                "or a function of the run and its folder that returns one. "
                f"Received: {type(own).__name__}."
            )
        made.append(own)
    return made


def measured_tags(settings: Settings) -> list[str] | None:
    """The tags of what is measured, or `None` for those by default."""
    if not settings.metrics:
        return None
    by_default = [
        tag
        for tag, one in METRICS.items()
        if one.default and not one.per_class and "ood" not in one.needs
    ]
    return list(dict.fromkeys([*by_default, *settings.metrics]))


def panels(
    settings: Settings,
    run: Run,
    dataset: Dataset | ImageStream,
    model: keras.Model,
    folder: pathlib.Path,
) -> keras.callbacks.Callback:
    """Returns the callback that measures training and test images."""
    size = suitable_batch_size(model)
    train, test = dataset.measured_train_data(size), dataset.test_data(size)
    # A stream is measured whole by every process.
    shared = devices.several_processes() and test[1] is not None
    if shared:
        train = devices.share_of_process(*train)
        test = devices.share_of_process(*test)
    return nc_keras.callbacks.NCTensorBoard(
        folder,
        *train,
        test if test[1] is not None else test[0],
        epochs=settings.measured_epochs,
        threshold=settings.threshold,
        across_processes=shared,
        metrics=measured_tags(settings),
        loss=True,
        hparams={"batch_size": settings.batch_size, "seed": run.seed},
    )


def kernel_alignment(
    settings: Settings, dataset: Dataset | ImageStream, folder: pathlib.Path
) -> keras.callbacks.Callback:
    """Returns the callback that measures the tangent kernel.

    Raises:
        ValueError: If the images are a stream, or several processes train.
    """
    x, y = dataset.measured_train_data(256)
    if y is None or devices.several_processes():
        raise ValueError(
            "The tangent kernel is measured of images in memory, by one "
            f"process. Received: kernel={settings.kernel}."
        )
    return nc_keras.callbacks.KernelAlignment(
        *(x, y),
        log_dir=folder,
        epochs=settings.measured_epochs,
        examples=settings.kernel,
    )
