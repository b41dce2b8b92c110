"""What many tests need: a compiled network, and what a training wrote."""

import json

import keras
from tensorboard.backend.event_processing.plugin_event_accumulator import (
    EventAccumulator,
)

import nc_keras


def compiled(model, loss=None, sgd=(0.05, 0.9), metrics=("accuracy",)):
    """The model with an SGD of rate, momentum and decay, and CE as its loss."""
    model.compile(
        nc_keras.optimizers.SGD(*sgd),
        loss=loss or nc_keras.losses.CE(),
        metrics=list(metrics),
    )
    return model


def digits_mlp(loss=None, sgd=(0.05, 0.9), widths=(32,), **options):
    """A small MLP for the digits, which begins the same each time."""
    keras.utils.set_random_seed(0)
    model = nc_keras.models.MLP((8, 8, 1), 10, widths, **options)
    return compiled(model, loss, sgd)


def rows_of(folder, name="metrics.jsonl"):
    """The rows of a file of JSON lines, whatever they hold."""
    lines = (folder / name).read_text().splitlines()
    return [json.loads(line) for line in lines]


def rows_without_times(folder):
    rows = rows_of(folder)
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


def events_of(run_dir):
    """All that TensorBoard reads in a folder, and not a sample of it."""
    sizes = {"tensors": 0}
    return EventAccumulator(str(run_dir), size_guidance=sizes).Reload()
