import numpy as np
import pytest

from nc_keras.experiments.training.progress import EpochProgress


@pytest.mark.parametrize(
    "logs, state",
    [
        (
            {"loss": 0.5, "accuracy": 0.9, "nc1": 2.0},
            "loss 0.5000  error 10.00%  NC1 2",
        ),
        ({"loss": 0.5, "accuracy": 0.9}, "loss 0.5000  error 10.00%"),
        ({"loss": 0.5}, "loss 0.5000"),  # a regression
        ({"loss": np.nan}, "loss nan"),
        (None, ""),
    ],
)
def test_state(logs, state):
    progress = EpochProgress("training")
    progress.set_params({"epochs": 3})
    progress.on_epoch_end(0, logs)
    (task,) = progress._progress.tasks
    assert (task.completed, task.total) == (1, 3)
    assert task.fields["state"] == state
