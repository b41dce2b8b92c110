import pathlib

import keras
import numpy as np
from keras import ops

import nc_keras
from nc_keras.epochs import log_spaced_epochs
from nc_keras.experiments.datasets import Dataset
from nc_keras.experiments.datasets import ImageStream
from nc_keras.experiments.datasets.devices import several_processes
from nc_keras.processes import is_first_process
from nc_keras.writers.json_lines import JSONLinesWriter

_TIMES = 10


class Robustness(keras.callbacks.Callback):
    """Measures how far test images are from another decision (Figure 8).

    Puts `deepfool`, the mean of |r| / |x| over standardised test images x and
    DeepFool's perturbations r, into `logs`. `robustness.jsonl` also has the
    number of images for which one was found, the others being left out.
    Measured at ten log-spaced epochs, the last among them, and at the one at
    which the training error vanished. Comes after the callback that knows it.

    Args:
        folder: Where to write.
        dataset: The data, whose test images are taken.
        count: Integer, how many images.
    """

    def __init__(
        self,
        folder: pathlib.Path,
        dataset: Dataset | ImageStream,
        count: int,
    ):
        super().__init__()
        self._path = folder / "robustness.jsonl"
        self._images = some_test_images(dataset, count)

    def on_train_begin(self, logs=None):
        self._measured = log_spaced_epochs(self.params["epochs"], _TIMES)
        self._terminal = False
        self._rows = None
        self._network = network = self.model.layers[-1]
        if several_processes():
            # One process measures, on a copy that the others need not feed.
            network = keras.models.clone_model(network)
        self._deepfool = nc_keras.DeepFool(network)
        standardised = self._images
        for layer in self.model.layers[:-1]:
            standardised = layer(standardised)
        self._standardised = ops.convert_to_numpy(standardised)

    def get_state(self) -> dict:
        """What `nc_keras.callbacks.Checkpoint` keeps."""
        if self._rows is not None:
            self._rows.sync()
        return {"terminal": self._terminal}

    def set_state(self, state: dict) -> None:
        """Goes on where `get_state()` was called."""
        self._terminal = state["terminal"]

    def on_epoch_end(self, epoch, logs=None):
        begins = bool(logs.get("terminal_phase")) and not self._terminal
        self._terminal = self._terminal or begins
        if self.model.stop_training or not (
            begins or epoch + 1 in self._measured
        ):
            return
        if not is_first_process():
            return
        if self._rows is None:
            self._rows = JSONLinesWriter(self._path, epoch + 1)
        if self._deepfool.model is not self._network:
            self._deepfool.model.set_weights(self._network.get_weights())
        result = self._deepfool(self._standardised)
        row = {"images": len(result.found), "found": int(result.found.sum())}
        if row["found"]:
            row["deepfool"] = float(np.nanmean(result.relative_norms))
            logs["deepfool"] = row["deepfool"]
        self._rows.write({"epoch": epoch + 1, **row})


def _first(batches, count):
    images = []
    for batch, _ in batches:
        images.append(np.asarray(batch))
        if sum(map(len, images)) >= count:
            break
    return np.concatenate(images)[:count]


def some_test_images(dataset: Dataset | ImageStream, count: int) -> np.ndarray:
    """Returns test images, the same at every call.

    Of arrays they are drawn at random; of a stream they are the first ones,
    which are in no order of classes.

    Raises:
        ValueError: If there are fewer.
    """
    if count > dataset.num_test:
        raise ValueError(
            f"There are {dataset.num_test:,} test images. "
            f"Received: deepfool={count}."
        )
    x, y = dataset.test_data(count)
    if y is None:
        return _first(x, count)
    chosen = np.random.default_rng(0).choice(len(x), count, replace=False)
    return x[np.sort(chosen)]
