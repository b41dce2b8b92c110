import json

import numpy as np
import pytest

from nc_keras.experiments import datasets
from nc_keras.experiments.options.settings import Run
from nc_keras.experiments.options.settings import Settings
from nc_keras.experiments.training.one_run import compiled_model
from nc_keras.experiments.training.robustness import Robustness


@pytest.fixture
def measured(tmp_path):
    """A callback with an untrained network, at the start of 200 epochs."""
    digits = datasets.load("digits")
    settings = Settings("digits", network="mlp", widths=(16,))
    model = compiled_model(settings, Run("ce", "linear", 0), digits)
    callback = Robustness(tmp_path, digits, 5)
    callback.set_model(model)
    callback.set_params({"epochs": 200})
    callback.on_train_begin()
    return callback, tmp_path / "robustness.jsonl"


def test_ten_epochs_and_the_one_of_zero_error(measured):
    callback, path = measured
    for epoch in range(200):
        callback.on_epoch_end(epoch, {"terminal_phase": int(epoch >= 99)})
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    epochs = [row["epoch"] for row in rows]
    assert 100 in epochs and epochs[0] == 1 and epochs[-1] == 200
    assert len(epochs) == 11
    # The network was not trained, so neither did its robustness change.
    assert len({row["deepfool"] for row in rows}) == 1
    assert all(row["found"] == row["images"] == 5 for row in rows)


def test_images_are_standardised_and_logged(measured):
    callback, path = measured
    network = callback.model.layers[-1]
    pixels = callback._standardised
    mean, deviation = datasets.load("digits").pixel_statistics()
    assert abs(pixels.mean()) < 0.5 and pixels.min() >= (
        -mean[0] / deviation[0] - 1e-5
    )
    logs = {}
    callback.on_epoch_end(0, logs)
    perturbed = callback._deepfool(pixels)
    relative = np.linalg.norm(
        perturbed.perturbations.reshape(5, -1), axis=1
    ) / np.linalg.norm(pixels.reshape(5, -1), axis=1)
    assert logs["deepfool"] == pytest.approx(relative.mean(), rel=1e-5)
    moved = np.asarray(network(pixels + perturbed.perturbations)).argmax(1)
    assert (moved != np.asarray(network(pixels)).argmax(1)).all()


def test_a_run_that_broke_off_is_not_measured(measured):
    callback, path = measured
    callback.model.stop_training = True
    callback.on_epoch_end(0, {})
    assert not path.exists()
