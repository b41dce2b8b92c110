import json
from pathlib import Path

import numpy as np
import pytest

from nc_keras.experiments import datasets
from nc_keras.experiments.options.settings import Settings
from tests import forked
from tests.helpers import rows_of

ROOT = Path(__file__).parents[2]
RUN = ["-m", "recipes.digits", "--epochs", 2, "--network", "mlp"]
RUN += ["--widths", 16, "--heads", "etf", "--losses", "ce"]
RUN += ["--progress", "False", "--output"]
OPTIONS = ["--imbalance", "step", "--ratio", 13, "--minority", 3]


def test_a_recipe_trains_on_unequal_classes(tmp_path):
    done = forked.run(*RUN, tmp_path, *OPTIONS, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "Classes are unequal (step): the largest has 13 times" in done.stdout
    record = json.loads((tmp_path / "results.json").read_text())
    largest = np.bincount(datasets.load("digits").y_train).min()
    assert record["data"]["train"] == 7 * largest + 3 * (largest // 13)
    assert record["data"]["ratio"] == 13
    assert len(rows_of(tmp_path / "ce-etf-0")) == 2
    # A folder belongs to its classes.
    again = forked.run(*RUN, tmp_path, cwd=ROOT)
    assert again.returncode == 1 and "imbalance" in again.stderr


@pytest.mark.parametrize(
    "options",
    [
        {"imbalance": "step"},
        {"ratio": 10.0},
        {"minority": 2},
        {"imbalance": "exponential", "ratio": 10.0, "minority": 2},
    ],
)
def test_what_is_refused(options):
    with pytest.raises(ValueError, match="go together"):
        Settings(dataset="digits", network="mlp", **options)
