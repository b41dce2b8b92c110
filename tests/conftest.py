import json
import pathlib

import keras
import numpy as np
import pytest
from sklearn.datasets import load_digits

DURATIONS = pathlib.Path(__file__).parent / "durations.json"


def pytest_addoption(parser):
    parser.addoption(
        "--under",
        type=float,
        metavar="SECONDS",
        help="leave out tests that took longer (tests/durations.json), but for "
        "those marked `always`",
    )


def pytest_collection_modifyitems(config, items):
    limit = config.getoption("--under")
    if limit is None:
        return
    measured = json.loads(DURATIONS.read_text("utf-8"))
    # What was not measured on a backend is as slow as on TensorFlow.
    backend = keras.backend.backend()
    took = measured["tensorflow"] | measured.get(backend, {})
    kept, left = [], []
    for item in items:
        is_kept = took.get(item.nodeid, 0) < limit
        always = item.get_closest_marker("always")
        if always is not None:
            is_kept |= not always.args or backend in always.args
        (kept if is_kept else left).append(item)
    items[:] = kept
    config.hook.pytest_deselected(items=left)


@pytest.fixture(autouse=True)
def fresh_state():
    keras.utils.set_random_seed(0)
    yield
    keras.config.set_dtype_policy("float32")


@pytest.fixture(scope="session")
def digits():
    """Real handwritten digits: images `[1797, 8, 8, 1]` and labels."""
    data = load_digits()
    images = ((data.images - 4.9) / 6.0).astype("float32")[..., None]
    return images, data.target.astype("int32")


@pytest.fixture
def rng():
    return np.random.default_rng(0)
