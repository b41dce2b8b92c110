"""Normalises with two replicas, and prints how far that is from one device."""

import json

import keras
import numpy as np
import tensorflow as tf

import nc_keras

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0],
    [tf.config.LogicalDeviceConfiguration()] * 2,
)


def errors(strategy, dtype):
    rng = np.random.default_rng(0)
    # Each replica has half of a batch, about another mean.
    x = np.concatenate([rng.normal(m, 1, (8, 3)) for m in (0, 6)])
    x = x.astype(dtype)
    with strategy.scope():
        layer = nc_keras.layers.BatchNormalization(
            synchronized=True, dtype=dtype
        )
        layer.build((None, 3))
    step = tf.function(
        lambda part: strategy.run(
            lambda part: layer(part, training=True), args=(part,)
        )
    )
    batches = tf.data.Dataset.from_tensor_slices(x).batch(16)
    for batch in strategy.experimental_distribute_dataset(batches):
        parts = strategy.experimental_local_results(step(batch))
    outputs = np.concatenate([part.numpy() for part in parts])
    x = x.astype("float64")
    found = {
        "outputs": (outputs, (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5)),
        "mean": (layer.moving_mean, 0.1 * x.mean(0)),
        "variance": (layer.moving_variance, 0.9 + 0.1 * x.var(0, ddof=1)),
    }
    return {
        name: float(np.abs(keras.ops.convert_to_numpy(a) - b).max())
        for name, (a, b) in found.items()
    }


if __name__ == "__main__":
    both = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    print(json.dumps({d: errors(both, d) for d in ("float32", "float64")}))
