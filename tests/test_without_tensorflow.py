import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = """
import sys

sys.modules["tensorflow"] = None  # importing it now fails
from recipes.digits import SETTINGS
from nc_keras.experiments.command.comparison import run
import dataclasses, pathlib

settings = dataclasses.replace(
    SETTINGS,
    epochs=2,
    widths=(8, 16),
    heads=("linear", "etf"),
    progress=False,
    output=pathlib.Path(sys.argv[1]),
)
sys.exit(run(settings))
"""


@pytest.mark.parametrize(
    "backend", [pytest.param("jax", marks=pytest.mark.always), "torch"]
)
def test_a_recipe_with_its_panels_runs_without_tensorflow(backend, tmp_path):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)],
        env={**os.environ, "KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert result.returncode == 0, result.stderr
    assert "ce: at zero" in result.stdout
    assert list((tmp_path / "ce-etf-0" / "nc_train").glob("events.*"))
