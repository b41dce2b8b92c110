import os
import re
import subprocess
import sys
import typing
from pathlib import Path

import pytest

import nc_keras

ROOT = Path(__file__).parents[1]


LIBRARY = [
    path
    for path in sorted((ROOT / "nc_keras").rglob("*.py"))
    # The one sets up devices when it runs, the other has a file for each.
    if not {"experiments", "backends"} & set(path.parts)
]


@pytest.mark.parametrize("path", LIBRARY, ids=lambda p: p.name)
def test_the_library_names_no_backend(path):
    found = re.findall(
        r"^\s*(?:import|from) (tensorflow|jax|torch)\b",
        path.read_text(),
        re.MULTILINE,
    )
    assert not found


def modules_after(statement):
    code = f"import sys; {statement}; print(*sys.modules)"
    return set(
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            cwd=ROOT,
            check=True,
        ).stdout.split()
    )


def test_importing_takes_no_data_sets_or_plots_beyond_keras_own():
    added = modules_after("import nc_keras") - modules_after("import keras")
    assert "nc_keras.layers" in added
    assert not added & {
        "tensorflow_datasets",
        "matplotlib",
        "sklearn",
        "pandas",
        "scipy",
    }


def test_functions_stand_for_the_modules_they_hide():
    from nc_keras.layerwise import stages
    from nc_keras.report import Report

    assert nc_keras.layerwise.stages is stages
    assert nc_keras.report.Report is Report
    assert nc_keras.metrics.mse_decomposition.equivalent_decay
    assert nc_keras.metrics.collapse_metrics.metrics_from_statistics
    assert callable(nc_keras.layerwise) and callable(nc_keras.report)


def test_functions_stand_for_them_where_imports_are_deferred():
    code = (
        "import nc_keras\n"
        "from nc_keras.report import Report\n"
        "for _ in range(2):\n"
        "    assert callable(nc_keras.report) and callable(nc_keras.few_shot)\n"
        "    assert nc_keras.report.Report is Report\n"
        "assert 'report' in nc_keras.__all__\n"
    )
    environment = {**os.environ, "NC_KERAS_DEFER": "1"}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)


def public():
    """Every public class and function, by its name."""
    for module in vars(nc_keras.public).values():
        if str(getattr(module, "__name__", "")).startswith("nc_keras."):
            for name in dir(module):
                yield f"{module.__name__}.{name}", getattr(module, name)
    for name in nc_keras.public.__all__:
        yield f"nc_keras.{name}", getattr(nc_keras, name)


PUBLIC = [
    pytest.param(one, id=name)
    for name, one in public()
    if callable(one) and str(one.__module__).startswith("nc_keras")
]


@pytest.mark.parametrize("one", PUBLIC)
def test_type_hints_can_be_read(one):
    typing.get_type_hints(one.__init__ if isinstance(one, type) else one)
