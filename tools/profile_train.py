#!/usr/bin/env python
"""Says where the time of a training step goes, on TensorFlow.

    python tools/profile_train.py --network conv_net

Times the parts of a step one after another, each compiled by itself, as a
recipe would run them: gathering a batch (which `fit` does in a thread beside
the step), the forward pass, the forward and backward pass, the update of the
weights, and the whole step as `fit` calls it. Medians of interleaved calls.
"""

import dataclasses
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import tyro

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]
from nc_keras.experiments.console.quiet import silenced  # noqa: E402


@dataclasses.dataclass(frozen=True)
class Options:
    """What to time."""

    network: str = "conv_net"
    """mlp, conv_net or resnet18."""

    batch_size: int = 128
    """Images in a step."""

    calls: int = 30
    """How often each part is timed."""


def main() -> None:
    """Prints a line for each part."""
    options = tyro.cli(Options, description=__doc__)
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    parts = step_parts(options)
    for call in parts.values():
        call()
    seconds = {name: [] for name in parts}
    for _ in range(options.calls):
        for name, call in parts.items():
            begin = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - begin)
    whole = statistics.median(seconds["step"])
    print(f"{options.network}, batch {options.batch_size}, TensorFlow")
    for name, times in seconds.items():
        part = statistics.median(times)
        print(f"{name:20} {1000 * part:8.2f} ms {part / whole:6.0%}")


def step_parts(options: Options) -> dict[str, Callable[[], object]]:
    """Returns the parts of a step, as functions that wait for their end."""
    with silenced(2):
        import tensorflow as tf

        from nc_keras.experiments import datasets
        from nc_keras.experiments.options.settings import Run
        from nc_keras.experiments.options.settings import Settings
        from nc_keras.experiments.training import one_run
        from tools import bench_train
    x, y = bench_train.load({"images": 20 * options.batch_size})
    data = datasets.Dataset("fashion_mnist", 10, x, y, x[:256], y[:256])
    recipe = Settings(
        "fashion_mnist",
        network=options.network,
        widths=bench_train.WIDTHS.get(options.network, ()),
        batch_size=options.batch_size,
        rates={"ce": 0.01},
    )
    model = one_run.compiled_model(recipe, Run("ce", "linear", 0), data)
    fit_data = data.fit_data(options.batch_size, 0)
    model.fit(**fit_data, verbose=0)
    batches = iter(fit_data["x"])
    images, labels = next(batches)
    steps = iter(tf.data.Dataset.from_tensors((images, labels)).repeat())

    @tf.function
    def forward():
        return model(images, training=True)

    @tf.function
    def backward():
        with tf.GradientTape() as tape:
            loss = model.loss(labels, model(images, training=True))
        return tape.gradient(loss, model.trainable_weights)

    gradients = backward()

    @tf.function
    def update():
        model.optimizer.apply(gradients, model.trainable_weights)

    return {
        "batch (beside)": lambda: next(batches),
        "forward": lambda: forward().numpy(),
        "forward and backward": lambda: backward()[0].numpy(),
        "update": update,
        "step": lambda: model.train_function(steps)["loss"].numpy(),
    }


if __name__ == "__main__":
    main()
