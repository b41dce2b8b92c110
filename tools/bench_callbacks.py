#!/usr/bin/env python
"""Times what each callback costs, beside the steps of an epoch.

    python tools/bench_callbacks.py
    KERAS_BACKEND=jax python tools/bench_callbacks.py --output jax.json

ConvNet, 60,000 images of Fashion-MNIST, batches of 128. The cost of a callback
that measures at the end of epochs is what that end takes, the least of
several after the first, which compiles, over what the steps of as many images
take. The last column is its share where 50 of 350 epochs are measured, the
papers' schedule.

What works at each step is compared with training without it: epochs of 50
steps of two copies of the network in turns, the median of the ratios of
neighbours, and of several such pairs, for one copy may lie worse in memory.
The row of no callback says what that finds where there is nothing.
"""

import dataclasses
import functools
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
from nc_keras.experiments.results.record import machine  # noqa: E402

STEPS, BATCH_SIZE = 50, 128
PAIRS, TURNS = 3, 2  # pairs of copies, turns of each for an epoch of Options
LOG = 50 / 350  # the share of epochs that is measured
UNSCHEDULED = ("ForgettingEpochEnd",)  # looks at each of them


@dataclasses.dataclass(frozen=True)
class Options:
    """What to time."""

    images: int = 60_000
    """Images that callbacks measure, and of an epoch."""

    epochs: int = 3
    """Epochs that are timed, of each callback."""

    output: Path | None = None
    """A JSON file for the results."""


def main() -> None:
    """Prints a line for each callback."""
    options = tyro.cli(Options, description=__doc__)
    from tools.bench_measure import build

    data = build("conv_net", options.images)
    ends = {
        name: scheduled(make, *data, options)
        for name, make in at_the_end(*data[1:]).items()
    }
    epoch = min(epoch for epoch, _ in ends.values())
    rows = [
        {
            "callback": name,
            "share": end / epoch,
            "scheduled": end / epoch * (1 if name in UNSCHEDULED else LOG),
        }
        for name, (_, end) in ends.items()
    ]
    rows += [
        at_each_step(name, make, options) for name, make in always().items()
    ]
    show(rows)
    if options.output:
        record = {"machine": machine(), "callbacks": rows}
        options.output.write_text(json.dumps(record, indent=1))


def at_the_end(x: Any, y: Any) -> dict[str, Callable[[str], Any]]:
    """Functions of a folder that make a callback for the end of epochs."""
    import nc_keras

    ours = nc_keras.callbacks

    def logged(kind, **others):
        return lambda folder: kind(x, y, log_dir=folder, **others)

    return {
        "NeuralCollapse": lambda folder: ours.NeuralCollapse(x, y),
        "NCTensorBoard": lambda folder: ours.NCTensorBoard(folder, x, y),
        "LayerwiseCollapse": logged(ours.LayerwiseCollapse),
        "SignalToNoise": logged(ours.SignalToNoise),
        "NormalizedMargins": logged(ours.NormalizedMargins, batch_norm=True),
        "KernelAlignment": logged(ours.KernelAlignment),
        "WeightSpectrum": lambda folder: ours.WeightSpectrum(folder),
        "ForgettingEpochEnd": lambda folder: ours.ForgettingEpochEnd(x, y),
    }


def always() -> dict[str, Callable[[str], Any]]:
    """Functions of a folder that make one that works at each step."""
    import keras

    import nc_keras

    ours = nc_keras.callbacks
    return {
        "no callback": lambda folder: keras.callbacks.Callback(),
        "RunningCollapse": lambda folder: ours.RunningCollapse(),
        "TerminateOnNonFinite": lambda folder: ours.TerminateOnNonFinite(),
        "Checkpoint": lambda folder: ours.Checkpoint(folder),
        "Checkpoint, every epoch": lambda folder: ours.Checkpoint(
            folder, max_cost=float("inf")
        ),
    }


def at_each_step(name: str, make: Callable, options: Options) -> dict:
    """Compares with training without the callback."""
    shares = [_of_pair(make, options) for _ in range(PAIRS)]
    share = statistics.median(shares)
    # As a share of an epoch of all images, if it comes once an epoch.
    once = share * STEPS * BATCH_SIZE / options.images
    row = {"callback": name, "share": share, "scheduled": share}
    if "Checkpoint" in name:
        row |= {"share": once, "scheduled": once}
    print(row, flush=True)
    return row


def _of_pair(make, options):
    """What training with the callback takes longer, as a share."""
    from tools.bench_measure import build
    from tools.bench_measure import interleaved

    with tempfile.TemporaryDirectory() as folder:
        fits = {}
        for part in ("without", "with"):
            model, x, y = build("conv_net", STEPS * BATCH_SIZE)
            chosen = [attached(make(folder))] if part == "with" else []
            fits[part] = functools.partial(
                model.fit,
                *(x, y),
                batch_size=BATCH_SIZE,
                epochs=1,
                callbacks=chosen,
                verbose=0,
            )
        seconds = interleaved(fits, TURNS * options.epochs, list)
    pairs = zip(seconds["with"], seconds["without"], strict=True)
    return statistics.median(one / other for one, other in pairs) - 1


def attached(callback: Any) -> Any:
    """The callback, which stays in the compiled step of several `fit`s."""
    attach, known = callback.set_model, []

    def set_model(model):
        if not known:
            attach(model)
            known.append(model)

    callback.set_model = set_model
    if type(callback).__name__ == "RunningCollapse":
        callback.on_train_end = lambda logs=None: None
    return callback


def scheduled(make: Callable, model, x, y, options) -> tuple[float, float]:
    """The seconds of an epoch's steps, and of the end of an epoch."""
    import keras

    steps, ends = [], []

    class Before(keras.callbacks.Callback):
        """Comes first, and so sees when the steps are over."""

        def on_epoch_begin(self, epoch, logs=None):
            self.begin = time.perf_counter()

        def on_epoch_end(self, epoch, logs=None):
            float(logs["loss"])  # The steps were only asked for, on JAX.
            self.over = time.perf_counter()
            steps.append(self.over - self.begin)

    class After(keras.callbacks.Callback):
        """Comes last."""

        def on_epoch_end(self, epoch, logs=None):
            ends.append(time.perf_counter() - before.over)

    before, few = Before(), STEPS * BATCH_SIZE
    with tempfile.TemporaryDirectory() as folder:
        model.fit(
            *(x[:few], y[:few]),
            batch_size=BATCH_SIZE,
            epochs=options.epochs + 1,
            callbacks=[before, make(folder), After()],
            verbose=0,
        )
    return min(steps[1:]) * options.images / few, min(ends[1:])


def show(rows: list[dict]) -> None:
    """Prints the table."""
    table = Table(
        *("callback", "a measured epoch", "at the papers' schedule"),
        title="What callbacks cost, of the time of the training steps",
    )
    for row in rows:
        shares = (row["share"], row["scheduled"])
        table.add_row(row["callback"], *(f"{100 * s:.1f} %" for s in shares))
    Console().print(table)


if __name__ == "__main__":
    main()
