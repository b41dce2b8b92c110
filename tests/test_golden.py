"""What trainings compute: short fixed ones give what is kept of them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import pytest

pytest.importorskip("sklearn")

from tools import golden
from tools import registry

# The first waits for all of them.
pytestmark = pytest.mark.always

ROOT = Path(__file__).parents[1]
BACKEND = keras.backend.backend()
SCRIPT = """
import json
from tools import golden
print(json.dumps(golden.trajectories()))
"""


@pytest.fixture(scope="module")
def now():
    # In a process of its own: recipes make TensorFlow deterministic for good.
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=ROOT,
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
    )
    assert not done.returncode, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("case", golden.CASES)
def test_a_trajectory_is_what_it_was(case, now):
    moved = golden.moved(golden.kept()[BACKEND][case], now[case])
    stale = registry.made_with(BACKEND, case)
    assert not moved, "\n".join(
        [
            *moved,
            "Trainings give something else. If that is meant, keep it "
            f"(KERAS_BACKEND={BACKEND} python -m tools.golden --write) and "
            f"make again: ./tools/results {' '.join(stale)}",
        ]
    )


def test_each_result_has_a_trajectory():
    for result in registry.RESULTS.values():
        if result.is_timed or result.name == "layer_peeled":
            continue  # Nothing is trained.
        assert result.golden and set(result.golden) <= set(golden.CASES)
        assert len(golden.fingerprint(result.backend, result.golden)) == 16


def test_a_trajectory_moves_by_more_than_rounding():
    before = {"run/loss": [2.0, 1.0]}
    assert not golden.moved(before, {"run/loss": [2.0, 1.0 + 1e-5]})
    assert golden.moved(before, {"run/loss": [2.0, 1.01]})
    assert golden.moved(before, {"run/loss": [2.0]})
    assert golden.moved(before, {"run/loss": [2.0, float("nan")]})
    assert golden.moved(before, {"run/loss": [2.0, None]})
    assert golden.moved(before, {"run/nc1": [2.0, 1.0]})
