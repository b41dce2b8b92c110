"""Measures a share of the examples in one of two processes."""

import json
import sys

import keras
import numpy as np
from shared import data
from shared import network

import nc_keras


def main(process, first):
    keras.distribution.initialize()
    x, y = data()
    model = network()
    share = slice(first) if process == 0 else slice(first, None)
    options = {"across_processes": True, "batch_size": 100}
    values = {
        "kept": nc_keras.measure(model, x[share], y[share], **options),
        "streamed": nc_keras.measure(
            model, x[share], y[share], memory=1000, **options
        ),
        "test": nc_keras.measure(
            model, x[share], y[share], train_means=np.eye(10, 32), **options
        ),
    }
    report = nc_keras.report(
        model,
        (x[share], y[share]),
        (x[share], y[share]),
        ood=1 - x[:200],
        print_fn=lambda text: None,
        **options,
    )
    values |= {f"report_{name}": part for name, part in report.items()}
    model.compile(loss=nc_keras.losses.CE())
    collapse = nc_keras.callbacks.NeuralCollapse(
        x[share], y[share], loss=True, **options
    )
    collapse.set_model(model)
    values["loss"] = collapse.measure()["nc_loss"]
    layers = nc_keras.layerwise(model, x[share], y[share], **options)
    values["layers"] = list(layers.values())[-1]
    wrong = y[share].copy()
    wrong[:1] = 11 * (process == 0)
    try:
        nc_keras.measure(model, x[share], wrong, **options)
    except ValueError as error:
        values["error"] = str(error)
    print(json.dumps(values))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
