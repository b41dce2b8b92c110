#!/usr/bin/env python
"""Says where the time of a recipe goes, from the command to the report.

    python tools/profile_recipe.py digits
    KERAS_BACKEND=jax python tools/profile_recipe.py fashion_mnist_mlp \\
        --epochs 30

Runs the recipe with the options that follow its name, in a new folder, and
times its parts where they are called: a part inside another counts for itself
alone. `first steps` are those before the second step of a training ends: they
compile. What no part accounts for is `rest`.
"""

import contextlib
import importlib
import os
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

START = time.perf_counter()
ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT)]
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from nc_keras.experiments.console.quiet import import_keras  # noqa: E402

TRAINING = ("train", "first steps")
# What is timed: a module, a function or `Class.method`, and the part.
CALLS = [
    ("experiments.command.comparison", "prepare", "images"),
    ("experiments.training.one_run", "compiled_model", "build"),
    ("experiments.training.one_run", "describe", "build"),
    ("experiments.training.one_run", "Training._write", "save"),
    ("callbacks.neural_collapse", "NeuralCollapse.measure", "measure"),
    ("callbacks.nc_tensorboard", "NCTensorBoard.on_epoch_end", "panels"),
    ("callbacks.nc_tensorboard", "NCTensorBoard.on_train_end", "panels"),
    ("callbacks.nc_tensorboard", "NCTensorBoard.on_train_begin", "panels"),
    ("callbacks.nc_tensorboard", "NCTensorBoard.on_epoch_begin", "panels"),
    ("callbacks.checkpoint", "Checkpoint.on_epoch_end", "checkpoint"),
    ("experiments.command.comparison", "plot_comparison", "figures"),
    ("experiments.command.comparison", "write_report", "page"),
    ("experiments.command.comparison", "build_record", "page"),
    ("experiments.command.comparison", "print_summary", "page"),
]


class Parts:
    """The seconds of parts; of nested ones the inner alone."""

    def __init__(self):
        self.seconds = defaultdict(float)
        self._open = []
        self._since = time.perf_counter()

    def _turn(self):
        now = time.perf_counter()
        name = self._open[-1] if self._open else "rest"
        self.seconds[name] += now - self._since
        self._since = now

    def begin(self, name):
        self._turn()
        self._open.append(name)

    def end(self):
        self._turn()
        self._open.pop()

    @contextlib.contextmanager
    def part(self, name):
        self.begin(name)
        try:
            yield
        finally:
            self.end()

    def time(self, module, path, name):
        """Times each call of a function, wherever it is looked up."""
        owner = importlib.import_module(f"nc_keras.{module}")
        *classes, last = path.split(".")
        for one in classes:
            owner = getattr(owner, one)
        function = getattr(owner, last)

        def timed(*args, **kwargs):
            with self.part(name):
                return function(*args, **kwargs)

        setattr(owner, last, timed)


def main() -> None:
    """Runs a recipe, and prints a line for each part."""
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    name, *arguments = sys.argv[1:]
    parts = Parts()
    parts.seconds["import"] = time.perf_counter() - START
    with parts.part("import"):
        recipe = importlib.import_module(f"recipes.{name}")
        import_keras(seed=0)
    watch(parts)
    for call in CALLS:
        parts.time(*call)
    from nc_keras.experiments.command.cli import parse
    from nc_keras.experiments.command.comparison import run

    with tempfile.TemporaryDirectory() as folder:
        given = ["--output", folder, "--progress", "False", *arguments]
        run(parse(recipe.SETTINGS, arguments=given))
    parts.begin("rest")
    show(name, parts.seconds)


def watch(parts: Parts) -> None:
    """Times the phases of `fit`, by a callback that is always there."""
    import keras

    from nc_keras.experiments.training import one_run

    class Phases(keras.callbacks.Callback):
        """Opens and closes the parts as Keras goes through them."""

        def on_train_begin(self, logs=None):
            self.steps = 0
            parts.begin("first steps")

        def on_epoch_begin(self, epoch, logs=None):
            if self.steps > 2:
                parts.begin("train")

        def on_train_batch_end(self, batch, logs=None):
            self.steps += 1
            if self.steps == 2:
                parts.end()
                parts.begin("train")

        def on_test_begin(self, logs=None):
            parts.begin("validate")

        def on_test_end(self, logs=None):
            parts.end()

        def on_epoch_end(self, epoch, logs=None):
            parts.end()

    own = one_run.own_callbacks
    one_run.own_callbacks = lambda *given: [Phases(), *own(*given)]


def show(name: str, seconds: dict[str, float]) -> None:
    """Prints the parts, and how much of all is not training."""
    whole = sum(seconds.values())
    for part, time_taken in sorted(seconds.items(), key=lambda x: -x[1]):
        print(f"{part:12} {time_taken:8.2f} s {time_taken / whole:7.1%}")
    other = 1 - sum(seconds[part] for part in TRAINING) / whole
    print(f"{name}: {whole:.1f} s, of which {other:.1%} is not training")


if __name__ == "__main__":
    main()
