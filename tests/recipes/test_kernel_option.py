import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from nc_keras.experiments.options.settings import Settings
from nc_keras.experiments.training.one_run import kernel_alignment
from tests import forked
from tests.helpers import rows_of

ROOT = Path(__file__).parents[2]
RUN = ["-m", "recipes.digits", "--epochs", 2, "--network", "mlp"]
RUN += ["--widths", 16, "--heads", "etf", "--losses", "mse"]
RUN += ["--progress", "False", "--output"]


def test_a_recipe_measures_the_kernel(tmp_path):
    done = forked.run(*RUN, tmp_path, "--kernel", 20, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    rows = rows_of(tmp_path / "mse-etf-0", "kernel.jsonl")
    assert [row["epoch"] for row in rows] == [1, 2]
    assert rows[-1]["gamma_d"] > rows[-1]["gamma_n"]
    settings = json.loads((tmp_path / "settings.json").read_text())
    assert settings["kernel"] == 20
    again = forked.run(*RUN, tmp_path, cwd=ROOT)
    assert again.returncode == 1 and "kernel" in again.stderr


def test_what_is_refused():
    with pytest.raises(ValueError, match="`kernel` must be positive"):
        Settings(dataset="digits", network="mlp", kernel=0)
    stream = SimpleNamespace(measured_train_data=lambda size: ([], None))
    settings = Settings(dataset="digits", network="mlp", kernel=9)
    with pytest.raises(ValueError, match="images in memory"):
        kernel_alignment(settings, stream, ROOT)
