#!/usr/bin/env python
"""Times training epochs of the recipes beside plain PyTorch loops.

    python tools/bench_train.py                       # all networks, here
    python tools/bench_train.py --backends jax --networks mlp
    python tools/bench_train.py --images 50000 --bfloat16      # on a GPU

Every contender is a process of its own that waits for its turn: the epochs
are interleaved, so that a machine whose speed drifts slows all of them. The
first epochs, which compile, are not counted. All train the same network on
the same real images with the same batch and the same optimizer:

notebook   the style of the papers' notebook: a DataLoader that normalises
           image by image, and `loss.item()` after every batch
tuned      images that stay on the device, permuted there, no waiting;
           channels last, and on a GPU `torch.compile` (and bfloat16)
keras-*    the recipes' own `fit`, on a backend

Needs PyTorch for the first two. Images are Fashion-MNIST's, from data/, or
scikit-learn's digits, enlarged, where that is not prepared.
"""

import dataclasses
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Literal

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
from nc_keras.experiments.console.quiet import silenced  # noqa: E402
from nc_keras.experiments.results.record import machine  # noqa: E402

IMAGES = {"mlp": 12_800, "conv_net": 6_400, "resnet18": 512}
WIDTHS = {"mlp": (512, 512, 512), "conv_net": (32, 64, 128)}


@dataclasses.dataclass(frozen=True)
class Options:
    """What to time."""

    networks: tuple[Literal["mlp", "conv_net", "resnet18"], ...] = (
        "mlp",
        "conv_net",
        "resnet18",
    )
    """The networks."""

    backends: tuple[Literal["tensorflow", "jax", "torch"], ...] = (
        "tensorflow",
        "jax",
    )
    """The backends of Keras."""

    rivals: tuple[Literal["notebook", "tuned"], ...] = ("notebook", "tuned")
    """The PyTorch loops."""

    epochs: int = 7
    """Epochs to count, after two that are not."""

    images: int | None = None
    """Images an epoch; by default a few steps of each network."""

    batch_size: int = 128
    """Images a step."""

    bfloat16: bool = False
    """Compute in bfloat16 (Keras' mixed policy, PyTorch's autocast)."""

    steps_per_execution: int = 1
    """Steps that Keras makes at a time."""

    output: Path | None = None
    """A JSON file for the results."""


def main() -> None:
    """Runs the benchmark, or one contender of it."""
    if sys.argv[1:2] == ["--worker"]:
        return work(*sys.argv[2:])
    options = tyro.cli(Options, description=__doc__)
    results = [
        row for network in options.networks for row in compare(network, options)
    ]
    if options.output:
        record = {"machine": machine(), "rows": results}
        options.output.write_text(json.dumps(record, indent=1))


def compare(network: str, options: Options) -> list[dict]:
    """Times all contenders on one network, prints and returns rows."""
    names = [*options.rivals, *(f"keras-{name}" for name in options.backends)]
    settings = dataclasses.asdict(options) | {"network": network}
    settings["images"] = options.images or IMAGES[network]
    workers = {name: Worker(name, settings) for name in names}
    for worker in workers.values():
        worker.receive()
    for _ in range(options.epochs + 2):
        for worker in workers.values():
            worker.epoch()
    rows = [worker.end(settings) for worker in workers.values()]
    print_table(network, settings, rows)
    return rows


class Worker:
    """A contender: a process that trains an epoch when it is told to."""

    def __init__(self, name: str, settings: dict):
        self.name, self.seconds, self.facts = name, [], {}
        backend = name.partition("-")[2] or "torch"
        environment = os.environ | {
            "KERAS_BACKEND": backend,
            "TF_CPP_MIN_LOG_LEVEL": "3",
        }
        self.process = subprocess.Popen(
            [
                sys.executable,
                __file__,
                "--worker",
                name,
                json.dumps(settings, default=str),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )

    def receive(self) -> str:
        """Returns the next line that the process says to us."""
        for line in self.process.stdout:
            if line.startswith("> "):
                return line[2:].strip()
        raise RuntimeError(f"{self.name} ended. See what it printed above.")

    def epoch(self) -> None:
        """Has it train one epoch."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        self.seconds.append(float(self.receive()))

    def end(self, settings: dict) -> dict:
        """Ends it, and returns its row."""
        self.process.kill()
        self.process.communicate()
        counted = sorted(self.seconds[2:])
        seconds = statistics.median(counted)
        return {
            "network": settings["network"],
            "contender": self.name,
            "images": settings["images"],
            "batch_size": settings["batch_size"],
            "seconds": seconds,
            "least": counted[0],
            "most": counted[-1],
            "first": self.seconds[0],
            "images_per_second": settings["images"] / seconds,
        }


def print_table(network: str, settings: dict, rows: list[dict]) -> None:
    """Prints the rows of a network, with ratios to the PyTorch loops."""
    table = Table(
        *("", "s an epoch", "least", "most", "images/s", "first epoch, s"),
        title=f"{network}: {settings['images']:,} images per epoch, batch "
        f"{settings['batch_size']}",
    )
    rivals = [row for row in rows if not row["contender"].startswith("keras")]
    for rival in rivals:
        table.add_column(f"speed / {rival['contender']}")
    for row in rows:
        ratios = [
            f"{rival['seconds'] / row['seconds']:.2f}" for rival in rivals
        ]
        table.add_row(
            row["contender"],
            *(f"{row[key]:.3f}" for key in ("seconds", "least", "most")),
            f"{row['images_per_second']:,.0f}",
            f"{row['first']:.2f}",
            *ratios,
        )
    Console().print(table)


def work(name: str, settings: str) -> None:
    """Is one contender: says when it is ready, and how long epochs took."""
    settings = json.loads(settings)
    if name.startswith("keras"):
        return train_keras(settings)
    from tools.bench_torch import epochs

    run = epochs(name, settings, *load(settings))
    say("ready")
    while True:
        sys.stdin.readline()
        begin = time.perf_counter()
        next(run)
        say(time.perf_counter() - begin)


def say(what: object) -> None:
    """Tells the benchmark something."""
    print(f"> {what}", flush=True)


def load(settings: dict) -> tuple[np.ndarray, np.ndarray]:
    """Returns real images, uint8 `[N, 28, 28, 1]`, and labels."""
    from nc_keras.experiments import datasets

    if (ROOT / "data" / "fashion_mnist.npz").exists():
        data = datasets.load("fashion_mnist", ROOT / "data")
        x, y = data.x_train, data.y_train
    else:
        data = datasets.digits()
        x = np.repeat(np.repeat(15 * data.x_train, 4, 1), 4, 2)[:, 2:30, 2:30]
        y = data.y_train
    rows = np.arange(settings["images"]) % len(y)
    return x[rows], y[rows]


def train_keras(settings: dict) -> None:
    """Trains as the recipes do."""
    with silenced(2):
        import keras

        from nc_keras.experiments import datasets
        from nc_keras.experiments.training import one_run
    from nc_keras.experiments.options.settings import Run
    from nc_keras.experiments.options.settings import Settings

    class Turns(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            say("ready" if epoch == 0 else time.perf_counter() - self.begin)
            sys.stdin.readline()
            self.begin = time.perf_counter()

    x, y = load(settings)
    data = datasets.Dataset("fashion_mnist", 10, x, y, x[:256], y[:256])
    recipe = Settings(
        "fashion_mnist",
        network=settings["network"],
        widths=WIDTHS.get(settings["network"], ()),
        batch_size=settings["batch_size"],
        precision="bfloat16" if settings["bfloat16"] else "float32",
        steps_per_execution=settings["steps_per_execution"],
        rates={"ce": 0.01},
    )
    model = one_run.compiled_model(recipe, Run("ce", "linear", 0), data)
    watching = [
        one_run.Stopwatch(),
        one_run.nc_keras.callbacks.TerminateOnNonFinite(),
    ]
    model.fit(
        **data.fit_data(recipe.batch_size, 0),
        epochs=10**6,
        callbacks=[Turns(), *watching],
        verbose=0,
    )


if __name__ == "__main__":
    main()
