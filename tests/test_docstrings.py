import doctest
import importlib
import os
import pkgutil
import re
import tempfile
from pathlib import Path

import keras
import numpy as np
import pytest

import nc_keras
from nc_keras.measuring.registry import METRICS

MODULES = [
    name
    for _, name, is_package in pkgutil.walk_packages(
        nc_keras.__path__, "nc_keras."
    )
    if not is_package
]
if keras.backend.backend() == "jax":
    # XLA compiles every shape of every layer of the large networks.
    LARGE = {f"nc_keras.models.{n}" for n in ("resnet", "vgg", "densenet")}
    MODULES = [name for name in MODULES if name not in LARGE]
ROOT = Path(__file__).parents[1]
PAGES = [
    page
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
    if "```python" in page.read_text()
]
# Of the modules that name no `__all__`.
_PUBLIC = {
    "nc_keras.geometry": ["simplex_etf", "cosines"],
    "nc_keras.weights": ["weights_of", "homogeneous_weights", "rho", "ranks"],
}
NAMES = {
    "keras": keras,
    "nc_keras": nc_keras,
    "np": np,
    "os": os,
    "tempfile": tempfile,
}


@pytest.mark.parametrize("name", MODULES)
def test_examples_of_docstrings(name):
    module = importlib.import_module(name)
    finder = doctest.DocTestFinder(exclude_empty=True)
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    # The engine's examples are for who reads it: its own names are known.
    own = vars(module) if name.startswith("nc_keras.experiments") else {}
    for test in finder.find(module, name, globs={**own, **NAMES}):
        runner.run(test)
    assert runner.summarize(verbose=False).failed == 0


def public_objects():
    for module in (
        nc_keras,
        nc_keras.callbacks,
        nc_keras.geometry,
        nc_keras.kernel,
        nc_keras.layers,
        nc_keras.losses,
        nc_keras.models,
        nc_keras.optimizers,
        nc_keras.plot,
        nc_keras.weights,
    ):
        for name in getattr(module, "__all__", _PUBLIC.get(module.__name__)):
            value = getattr(module, name)
            if callable(value):
                yield pytest.param(value, id=f"{module.__name__}.{name}")


@pytest.mark.parametrize("value", list(public_objects()))
def test_public_docstrings_have_arguments_and_an_example(value):
    assert "Args:" in value.__doc__
    assert ">>> " in value.__doc__


@pytest.mark.always("tensorflow")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_examples_of_the_pages(page, digits, tmp_path, monkeypatch):
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    x, y = digits
    names = {
        **NAMES,
        "x": x[:300],
        "y": y[:300],
        "x_test": x[300:600],
        "y_test": y[300:600],
    }
    registered = dict(METRICS)
    try:
        for block in blocks:
            # The README trains for long; two epochs show that it runs.
            exec(re.sub(r"epochs=\d+", "epochs=2", block), names)
    finally:
        # One of them registers a metric, which other tests do not know.
        METRICS.clear()
        METRICS.update(registered)
