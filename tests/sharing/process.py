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
    wrong = y[share].copy()
    wrong[:1] = 11 * (process == 0)
    try:
        nc_keras.measure(model, x[share], wrong, **options)
    except ValueError as error:
        values["error"] = str(error)
    print(json.dumps(values))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
