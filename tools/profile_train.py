#!/usr/bin/env python
"""Says where the time of a training step goes, on TensorFlow or JAX.

    python tools/profile_train.py --network conv_net
    KERAS_BACKEND=jax python tools/profile_train.py --network mlp

Times the parts of a step one after another, each compiled by itself, as a
recipe would run them: gathering a batch (which `fit` does in a thread beside
the step), the forward pass, the forward and backward pass, the update of the
weights, and the whole step as `fit` calls it. Medians of interleaved calls.

The floor is what no framework can be faster than: the matrix products alone
that dense layers and convolutions are made of, in NumPy's BLAS, with operands
at hand. (A convolution may need fewer, by Winograd's or Fourier's transforms.)
"""

import dataclasses
import math
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
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
    backend = os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    model, fit_data = compiled(options)
    on_backend = {"tensorflow": by_tensorflow, "jax": by_jax}
    if backend not in on_backend:
        sys.exit(f"error: Choose TensorFlow or JAX. Received: {backend}.")
    parts = {
        "floor: products": floor(model, options.batch_size),
        **on_backend[backend](model, fit_data),
    }
    for call in parts.values():
        call()
    seconds = {name: [] for name in parts}
    for _ in range(options.calls):
        for name, call in parts.items():
            begin = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - begin)
    whole = statistics.median(seconds["step"])
    print(f"{options.network}, batch {options.batch_size}, {backend}")
    for name, times in seconds.items():
        part = statistics.median(times)
        print(f"{name:20} {1000 * part:8.2f} ms {part / whole:6.0%}")


def compiled(options: Options) -> tuple[Any, dict[str, Any]]:
    """Returns a model that has made some steps, and what it fits."""
    with silenced(2):
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
    return model, data.fit_data(options.batch_size, 0)


def floor(model: Any, batch_size: int) -> Callable[[], object]:
    """Returns the matrix products of a step, as a function.

    A layer of `(fan_in, units)` has three, for its outputs and the gradients
    of its kernel and inputs; the first layer, of the images, has two.
    """
    rng = np.random.default_rng(0)
    products = []
    for layer in model._flatten_layers():
        kernel = getattr(layer, "kernel", None)
        if kernel is None or len(kernel.shape) not in (2, 4):
            continue
        positions = math.prod(layer.output.shape[1:-1])
        fan_in, units = math.prod(kernel.shape[:-1]), kernel.shape[-1]
        rows, columns, gradients = (
            rng.random(shape, "float32")
            for shape in (
                (batch_size * positions, fan_in),
                (fan_in, units),
                (batch_size * positions, units),
            )
        )
        products += [(rows, columns), (rows.T, gradients)]
        if len(products) > 2:
            products.append((gradients, columns.T))
    outs = [np.empty((len(a), b.shape[1]), "float32") for a, b in products]

    def run():
        for (a, b), out in zip(products, outs, strict=True):
            np.matmul(a, b, out=out)

    return run


def by_tensorflow(
    model: Any, fit_data: dict[str, Any]
) -> dict[str, Callable[[], object]]:
    """Returns the parts of a step, as functions that wait for their end."""
    import tensorflow as tf

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


def by_jax(
    model: Any, fit_data: dict[str, Any]
) -> dict[str, Callable[[], object]]:
    """Returns the parts of a step, as functions that wait for their end."""
    import jax

    batches = iter(fit_data["x"])
    images, labels = next(batches)
    optimizer = model.optimizer
    weights, others, slots = (
        [variable.value for variable in variables]
        for variables in (
            model.trainable_variables,
            model.non_trainable_variables,
            optimizer.variables,
        )
    )

    def loss(weights):
        outputs, _ = model.stateless_call(
            weights, others, images, training=True
        )
        return model.loss(labels, outputs)

    forward, backward = jax.jit(loss), jax.jit(jax.grad(loss))
    update = jax.jit(optimizer.stateless_apply)
    gradients = backward(weights)
    # A step takes the buffers of its state, so it has a copy of its own.
    state = jax.tree.map(
        lambda value: value.copy(),
        (weights, others, slots, [v.value for v in model.metrics_variables]),
    )

    def step():
        nonlocal state
        logs, state = model.train_function(state, iter([(images, labels)]))
        return jax.block_until_ready(logs)

    return {
        "batch (beside)": lambda: next(batches),
        "forward": lambda: forward(weights).block_until_ready(),
        "forward and backward": lambda: jax.block_until_ready(
            backward(weights)
        ),
        "update": lambda: jax.block_until_ready(
            update(slots, gradients, weights)
        ),
        "step": step,
    }


if __name__ == "__main__":
    main()
