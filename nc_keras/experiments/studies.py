"""What the studies share: images, training that can be killed, a record."""

import datetime
import json
import pathlib
from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from matplotlib.figure import Figure
from rich.table import Table

import nc_keras
from nc_keras.experiments import datasets
from nc_keras.experiments import locks
from nc_keras.experiments.console.consoles import console
from nc_keras.experiments.console.frame import run_command
from nc_keras.experiments.console.quiet import import_keras
from nc_keras.experiments.datasets.order import Order
from nc_keras.experiments.datasets.subsets import part_of
from nc_keras.experiments.options.study import Study
from nc_keras.experiments.options.study import parse
from nc_keras.experiments.results.identity import require_same
from nc_keras.experiments.results.record import machine
from nc_keras.experiments.results.record import write_json
from nc_keras.experiments.training.resumable import Resumable
from nc_keras.experiments.training.resumable import make_deterministic
from nc_keras.plot.style import new_figure
from nc_keras.plot.style import styled
from nc_keras.writers.files import replace_atomically
from nc_keras.writers.files import writable_directory
from nc_keras.writers.json_lines import read_json_lines


def main(
    default: Study,
    description: str,
    run: Callable[[Any], None],
    arguments: Sequence[str] | None = None,
) -> None:
    """Runs a study with the settings of the command line.

    The exit status is 0, or 130 after Ctrl-C, or 1 after an error.

    Args:
        default: The settings of the study; each is an option of the command.
        description: String, the text of `--help`.
        run: Function of the settings.
        arguments: The options; by default those of the command line.
    """

    def work():
        study = parse(default, description, arguments)
        import_keras(study.seed)
        run(study)

    run_command(work)


def load(study: Study) -> datasets.Dataset:
    """Loads the images of a study, uint8, or a balanced part of them."""
    writable_directory(study.folder)
    dataset = datasets.load(study.dataset, study.data_dir)
    return part_of(dataset, study.per_class, study.test_images)


def require_balanced(dataset: datasets.Dataset) -> None:
    """Sees that all classes have as many training images.

    Raises:
        ValueError: If they have not.
    """
    counts = np.bincount(dataset.y_train, minlength=dataset.num_classes)
    if np.ptp(counts):
        raise ValueError(
            "The theory is for classes of equal size. Choose as many images "
            f"of each, such as --per-class {counts.min()}. Received: "
            f"{dataset.name} with {counts.tolist()} images."
        )


def require_known(
    name: str, given: Sequence[str], known: Collection[str]
) -> None:
    """Sees that a setting has names, and that each of them is known.

    Raises:
        ValueError: If it has none, or one that is not.
    """
    if not given or not set(given) <= set(known):
        raise ValueError(
            f"`{name}` must name one or more of {', '.join(known)}. "
            f"Received: {name}={given}."
        )


def standardized(
    dataset: datasets.Dataset, network: keras.Model
) -> keras.Model:
    """A network behind the standardisation of the pixels, for uint8 images."""
    mean, deviation = dataset.pixel_statistics()
    standardization = nc_keras.layers.Standardization(mean, deviation)
    return keras.Sequential(
        [keras.Input(dataset.image_shape), standardization, network]
    )


def scale(network: keras.Model, rho: float) -> None:
    """Scales all layers alike, so that the product of their norms is `rho`."""
    weights = network.get_weights()
    factor = (rho / nc_keras.weights.rho(network)) ** (1 / len(weights))
    network.set_weights([factor * kernel for kernel in weights])


def train(
    study: Study,
    name: str,
    build: Callable[[], keras.Model],
    dataset: datasets.Dataset,
    *,
    batch_size: int,
    epochs: int | None = None,
    settings: Mapping[str, Any] | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    rate_at: Callable[[int], float] | None = None,
    measured: Any = "log",
    metrics: Sequence[str] | None = None,
    steps_per_epoch: int | None = None,
) -> tuple[keras.Model, list[dict]]:
    """Trains one model of a study, or reads what an earlier command trained.

    Curves are on disk after each epoch. A training that was killed goes on
    from its last checkpoint, and one that has ended is not repeated.

    Args:
        study: The settings of the study.
        name: The name of the run, and of its folder.
        build: Function that returns a compiled model.
        dataset: The images, as the model takes them.
        batch_size: Images in a step, at most all of them.
        epochs: Passes over the images; those of the study by default.
        settings: What else a checkpoint must agree with.
        callbacks: More callbacks, whose logs are kept; they may have a state.
        rate_at: The learning rate of an epoch, counted from 0; or `None` for
            the optimizer's own.
        measured: The epochs at which neural collapse is measured.
        metrics: The tags of what is measured; or `None` for those by default.
        steps_per_epoch: Steps that are called an epoch; or `None` for those
            of one pass over the images.

    Returns:
        The trained model, and the logs of every epoch.

    Raises:
        OSError: If another process trains in that folder.
        ValueError: If its checkpoint is of other settings.
    """
    folder = study.folder / name
    folder.mkdir(parents=True, exist_ok=True)
    epochs = epochs or study.epochs
    identity = {
        "name": name,
        "dataset": study.dataset,
        "seed": study.seed,
        "data_digest": dataset.digest,
        "epochs": epochs,
        "batch_size": batch_size,
        "backend": keras.backend.backend(),
        "steps_per_epoch": steps_per_epoch,
        "remainder": study.remainder,
        **(settings or {}),
    }
    with locks.hold(folder):
        finished = folder / "finished.json"
        if finished.exists():
            require_same(folder, json.loads(finished.read_text()), identity)
            print(f"{name}: finished before, not trained again")
            model = keras.saving.load_model(folder / "model.keras")
            return model, read_json_lines(
                folder / "metrics.jsonl", every_epoch=True
            )
        make_deterministic()
        keras.utils.set_random_seed(study.seed)
        model = build()
        is_partial = len(np.unique(dataset.y_train)) < dataset.num_classes
        panels = nc_keras.callbacks.NCTensorBoard(
            folder,
            dataset.x_train,
            dataset.y_train,
            (dataset.x_test, dataset.y_test),
            epochs=measured,
            metrics=metrics,
            missing="skip" if is_partial else "raise",
        )
        resumable = Resumable(folder, identity, [*callbacks, panels], rate_at)
        steps = Order(
            dataset.pass_positions, remainder=study.remainder
        ).num_batches(batch_size)
        # Where an epoch is no pass, the pass in which this one begins.
        first = resumable.begin * (steps_per_epoch or steps) // steps
        data = dataset.fit_data(
            batch_size, study.seed, first, remainder=study.remainder
        )
        data["steps_per_epoch"] = steps_per_epoch or steps
        bar = name if study.progress else None
        resumable.fit(model, epochs, bar, **data)
        if resumable.failure is not None:
            raise ValueError(
                f"{name}: {resumable.failure}. Choose a smaller learning rate "
                "or decay."
            )
        resumable.checkpoint.delete()
        resumable.keep(model)
        write_json(finished, identity)
    return model, read_json_lines(folder / "metrics.jsonl", every_epoch=True)


def last_measured(rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Returns the last of the logs in which neural collapse was measured."""
    return [row for row in rows if row.get("nc1") is not None][-1]


def print_table(
    title: str, rows: Sequence[Mapping[str, Any]], across: bool = False
) -> None:
    """Prints dictionaries of the same keys as a table.

    Args:
        title: Above the table.
        rows: The dictionaries.
        across: Whether each is a column, with its first value as heading.
    """
    names, cells = (
        list(rows[0]),
        [list(map(text, row.values())) for row in rows],
    )
    if across:
        names, *cells = [list(one) for one in zip(names, *cells, strict=True)]
    table = Table(*names, title=title, title_justify="left")
    for index, column in enumerate(table.columns):
        column.justify = "right" if index else "left"
        column.overflow = "fold"
    for row in cells:
        table.add_row(*row)
    console().print(table)


def text(value: Any) -> str:
    """A value as a table shows it: numbers to four digits."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return "–" if value is None else str(value)


def finish(
    study: Study,
    record: Mapping[str, Any],
    draw: Callable[[Figure], None] | None = None,
    size: tuple[float, float] = (9.0, 3.6),
) -> pathlib.Path:
    """Writes `results.json`, and the figure, and says where they are.

    Args:
        study: The settings of the study.
        record: What was found, in numbers and strings.
        draw: Function that draws into a Matplotlib figure.
        size: Width and height of the figure in inches.

    Returns:
        The path of `results.json`.
    """
    folder = study.folder
    whole = {
        "study": study.name,
        "settings": {k: v for k, v in vars(study).items() if k != "name"},
        "machine": machine(),
        "date": datetime.date.today().isoformat(),
        **record,
    }
    write_json(
        folder / "results.json", json.loads(json.dumps(whole, default=str))
    )
    if draw is not None:
        with styled():
            figure = new_figure(*size)
            draw(figure)
            replace_atomically(
                folder / "figure.png",
                lambda path: figure.savefig(path, dpi=130, format="png"),
            )
        print(f"figure   {folder / 'figure.png'}")
    print(f"results  {folder / 'results.json'}")
    if any(folder.rglob("events.out.*")):
        print(f"panels   tensorboard --logdir {folder}")
    return folder / "results.json"
