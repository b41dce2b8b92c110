"""Measures with two replicas in one process, and prints the values."""

import json
import sys

import keras
from shared import data
from shared import network

import nc_keras
from nc_keras.measuring.devices import shared
from nc_keras.metrics import CollapseMetric


def strategy_scope():
    """TensorFlow's MirroredStrategy, or JAX' data parallelism."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.set_logical_device_configuration(
            tf.config.list_physical_devices("CPU")[0],
            [tf.config.LogicalDeviceConfiguration()] * 2,
        )
        return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope()
    devices = keras.distribution.list_devices()
    assert len(devices) == 2
    parallel = keras.distribution.DataParallel(devices=devices)
    keras.distribution.set_distribution(parallel)
    return parallel.scope()


def no_loss(labels, features):
    """Keras evaluates metrics only beside a loss."""
    return keras.ops.mean(features, axis=-1) * 0


def shares_of_function(model, x, y, size):
    """How many examples of a batch the devices see, as it is traced."""
    seen = []

    def inputs_of(inputs):
        seen.append(inputs.shape[0])
        return inputs

    function = nc_keras.FeatureExtractor(model, features=inputs_of)
    features, _ = function(x, y, size)
    assert (features == x.astype(features.dtype)).all()
    return seen


def main(size):
    with strategy_scope():
        x, y = data()
        model = network()
        model.compile(
            keras.optimizers.SGD(0.0),
            loss=nc_keras.losses.CE(),
        )
        features = keras.Model(model.inputs, model.layers[-1].input)
        features.compile(loss=no_loss, metrics=[CollapseMetric(10)])
    values = {"measure": nc_keras.measure(model, x, y, batch_size=size)}
    if keras.backend.backend() == "tensorflow":
        values["shares"] = shares_of_function(model, x, y, size)
    else:
        weights = [weight.value for weight in model.weights]
        values["shares"] = (
            [
                len(part.data)
                for part in shared(x[:size], weights).addressable_shards
            ]
            if size % 2 == 0
            else []
        )
    # The shares of the training must be even on JAX.
    x, y = x[:1792], y[:1792]
    running = nc_keras.callbacks.RunningCollapse(without_drift=False)
    collapse = nc_keras.callbacks.NeuralCollapse(
        x, y, metrics=["accuracy"], loss=True, batch_size=size
    )
    callbacks = [running, collapse]
    history = model.fit(
        x, y, batch_size=128, epochs=2, callbacks=callbacks, verbose=0
    ).history
    values["loss"] = history["nc_loss"][-1]
    values["running"] = {
        k: v[-1] for k, v in history.items() if k.startswith("running_nc")
    }
    evaluated = nc_keras.callbacks.EvaluatedCollapse()
    model.evaluate(x, y, batch_size=128, callbacks=[evaluated], verbose=0)
    values["evaluated"] = evaluated.values
    logs = features.evaluate(x, y, batch_size=128, verbose=0, return_dict=True)
    values["metric"] = {k: float(v) for k, v in logs.items() if "nc" in k}
    print(json.dumps(values))


if __name__ == "__main__":
    main(int(sys.argv[1]))
