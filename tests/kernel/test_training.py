"""What wide networks, and trainings, are known to do."""

import functools

import keras
import numpy as np
import pytest
from sklearn.datasets import load_digits

import nc_keras
from nc_keras import kernel

if keras.backend.backend() == "numpy":
    pytest.skip("NumPy has no gradients", allow_module_level=True)


def test_wide_networks_have_the_kernel_of_infinite_ones():
    x = np.random.default_rng(0).normal(size=(5, 3)).astype("float32")
    settings = {"sigma_w": 2**0.5, "sigma_b": 0.3}
    dense = functools.partial(nc_keras.layers.TangentDense, **settings)
    hidden = [dense(256, activation="relu") for _ in range(2)]
    model = keras.Sequential([keras.Input((3,)), *hidden, dense(1)])
    network = kernel.Network(model, x)
    random = np.random.default_rng(1)
    found = []
    for _ in range(200):
        shapes = [w.shape for w in model.weights]
        model.set_weights([random.normal(size=shape) for shape in shapes])
        found.append(kernel.gram(network, x).values)
    expected = kernel.infinite(depth=2, **settings).tangent(x)
    # Of the mean of 200: three standard errors, and 1 % of the finite width.
    error = 3 * np.std(found, axis=0) / 200**0.5 + 0.01 * expected.max()
    assert (np.abs(np.mean(found, axis=0) - expected) < error).all()
    assert (error < 0.05 * expected.max()).all()


def test_kernel_aligns_with_digits_as_their_features_collapse():
    # Each margin is half of the change that was seen.
    keras.utils.set_random_seed(0)
    x, y = load_digits(return_X_y=True)
    x = (x / 16).astype("float32")
    shown = np.concatenate([np.flatnonzero(y == c)[:20] for c in range(10)])
    model = nc_keras.models.MLP((64,), 10, (64, 64), head="linear")
    optimizer = nc_keras.optimizers.SGD(0.02, 0.9, weight_decay=1e-4)
    model.compile(optimizer, loss=nc_keras.losses.MSE("sum"))
    network = kernel.Network(model, x[shown], batch_size=200)

    def seen():
        gram = kernel.gram(network, x[shown])
        found = kernel.alignment(gram, y[shown], k=(9, 50))
        by_k = dict(zip(found.ks, found.centred_labels, strict=True))
        blocks = found.blocks
        return {
            "nc1": nc_keras.measure(model, x[shown], y[shown])["nc1"],
            "top_9": by_k[9],
            "top_50": by_k[50],
            "kta": found.centred_kta,
            "ratio": blocks.gamma_d / blocks.gamma_n,
            "r2": blocks.r2,
        }

    first = seen()
    model.fit(x[:1500], y[:1500], batch_size=50, epochs=10, verbose=0)
    last = seen()
    assert last["nc1"] < 0.5 * first["nc1"]
    assert last["top_9"] > first["top_9"] + 0.08
    assert last["top_50"] > first["top_50"] + 0.025
    assert last["kta"] > first["kta"] + 0.08
    assert last["ratio"] > 1.6 * first["ratio"]
    assert last["r2"] > first["r2"] + 0.2
