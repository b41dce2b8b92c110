"""What `import nc_keras` says of a Keras that will not do."""

import os
import subprocess
import sys
import types
from pathlib import Path

import pytest

from nc_keras.compat import require_keras

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("version", ["2.15.0", "3.7.0"])
def test_an_old_keras_is_refused(version, monkeypatch):
    keras = types.SimpleNamespace(__version__=version)
    monkeypatch.setitem(sys.modules, "keras", keras)
    with pytest.raises(ImportError, match=rf"3\.8 or newer.*Keras {version}"):
        require_keras()


@pytest.mark.parametrize("version", ["3.8.0", "3.10.1", "4.0.0.dev1"])
def test_a_newer_keras_will_do(version, monkeypatch):
    keras = types.SimpleNamespace(__version__=version)
    monkeypatch.setitem(sys.modules, "keras", keras)
    require_keras()


@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_a_missing_backend_is_named(backend):
    missing = dict.fromkeys(("tensorflow", "jax", "torch"))
    script = f"import sys; sys.modules.update({missing}); import nc_keras"
    result = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    (error,) = [
        line
        for line in result.stderr.splitlines()
        if line.startswith("ImportError")
    ]
    assert f"here {backend}, which is not installed" in error
    assert "`pip install 'nc_keras[jax]'`" in error
    assert "KERAS_BACKEND" in error


def test_a_backend_that_is_there_is_offered(monkeypatch):
    def find_spec(name):
        return name if name == "torch" else None

    def without_backend(name, *args, **kwargs):
        if name == "keras":
            raise ModuleNotFoundError("No module", name="tensorflow")
        return imported(name, *args, **kwargs)

    imported = __import__
    monkeypatch.setattr("importlib.util.find_spec", find_spec)
    monkeypatch.setattr("builtins.__import__", without_backend)
    with pytest.raises(ImportError, match="one that is here: torch.*=torch;"):
        require_keras()
