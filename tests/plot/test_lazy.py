"""Matplotlib comes with the first drawing, and its lack is explained."""

import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest

import nc_keras

ROOT = Path(__file__).parents[2]


def run(code):
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )


def test_without_matplotlib_the_extra_is_named():
    done = run(
        "import sys; sys.modules['matplotlib'] = None\n"
        "import nc_keras\n"
        "try:\n"
        "    nc_keras.plot.curves\n"
        "except ImportError as error:\n"
        "    print(error)\n"
    )
    assert "pip install 'nc_keras[plot]'" in done.stdout, done.stderr


def test_what_is_public_is_there():
    for name in nc_keras.plot.__all__:
        assert callable(getattr(nc_keras.plot, name))
        assert name in dir(nc_keras.plot)
    with pytest.raises(AttributeError, match="no attribute 'curve'"):
        nc_keras.plot.curve  # noqa: B018


def test_drawing_leaves_pyplot_and_settings_alone():
    before = dict(matplotlib.rcParams)
    nc_keras.plot.cosines(np.eye(3))
    assert dict(matplotlib.rcParams) == before
    if "matplotlib.pyplot" in sys.modules:
        assert not sys.modules["matplotlib.pyplot"].get_fignums()
