import dataclasses
import json

import keras
import pytest

from recipes.studies import direct_feedback
from recipes.studies.direct_feedback import STUDY

if keras.backend.backend() == "numpy":
    pytest.skip("NumPy has no gradients", allow_module_level=True)

TINY = dataclasses.replace(
    STUDY,
    dataset="digits",
    per_class=20,
    test_images=100,
    epochs=3,
    progress=False,
    widths=(16, 12),
    losses=("ce",),
)


def run(tmp_path, **changes):
    study = dataclasses.replace(TINY, output=tmp_path, **changes)
    direct_feedback.run(study)
    return json.loads((tmp_path / "results.json").read_text())


def test_results_and_figure(tmp_path):
    found = run(tmp_path)
    assert (tmp_path / "figure.png").stat().st_size > 10_000
    rules = ["ce, backpropagation", "ce, dfa", "ce, sign"]
    assert list(found["curves"]) == rules
    ends = [rows[-1]["nc1"] for rows in found["curves"].values()]
    assert len(set(ends)) == 3


def test_wrong_settings(tmp_path):
    with pytest.raises(ValueError, match="must name one or more of"):
        run(tmp_path, rules=("hebb",))
