"""A training to be killed: `python resumable.py FOLDER`.

Has all that must come back: Dropout's seeds, an order of the images, a rate
that drops, running statistics, callbacks with a memory.
"""

import math
import pathlib
import sys

import keras
import numpy as np
from sklearn.datasets import load_digits

import nc_keras

EPOCHS = 30


def batches(x, y, first_epoch):
    """Endless batches, whose order follows from the epoch."""
    epoch = first_epoch
    while True:
        rows = np.random.default_rng((1, epoch)).permutation(len(x))
        for batch in np.split(rows, range(100, len(x), 100)):
            yield x[batch], y[batch]
        epoch += 1


def make_model():
    keras.utils.set_random_seed(3)
    model = keras.Sequential(
        [
            keras.Input((64,)),
            keras.layers.Dense(32, "relu"),
            nc_keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.3, seed=5),
            nc_keras.layers.ETFClassifier(10, seed=1),
        ]
    )
    model.compile(
        nc_keras.optimizers.SGD(0.1, momentum=0.9, weight_decay=1e-3),
        loss=nc_keras.losses.CE(),
        metrics=["accuracy"],
    )
    return model


def train(folder, epochs=EPOCHS, extra=(), max_cost=math.inf):
    """Trains, or goes on, and returns model, history and checkpoint."""
    x, y = load_digits(return_X_y=True)
    x, y = x[:430].astype("float32") / 16, y[:430].astype("int32")
    panels = nc_keras.callbacks.NCTensorBoard(
        folder, x, y, epochs="log", threshold=0.9, images_every=3
    )
    plateau = keras.callbacks.ReduceLROnPlateau("loss", patience=1, verbose=0)
    checkpoint = nc_keras.callbacks.Checkpoint(
        pathlib.Path(folder, "checkpoints"),
        [panels, plateau],
        {"epochs": epochs},
        max_cost=max_cost,
    )
    model = make_model()
    begin = checkpoint.finished_epochs
    history = model.fit(
        batches(x, y, begin),
        steps_per_epoch=5,
        shuffle=False,
        initial_epoch=begin,
        epochs=epochs,
        callbacks=[panels, plateau, *extra, checkpoint],
        verbose=0,
    )
    return model, history, checkpoint


if __name__ == "__main__":
    model, history, checkpoint = train(sys.argv[1])
    path = pathlib.Path(sys.argv[1])
    np.savez(path / "weights.npz", *model.get_weights())
    names = sorted(history.history)
    values = [np.array(history.history[name]) for name in names]
    np.savez(
        path / "history.npz",
        epoch=history.epoch,
        **dict(zip(names, values, strict=True)),
    )
    (path / "done").touch()
