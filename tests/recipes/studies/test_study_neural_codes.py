import dataclasses
import json

import keras
import pytest

from recipes.studies import neural_codes
from recipes.studies.neural_codes import STUDY

if keras.backend.backend() == "numpy":
    pytest.skip("NumPy has no gradients", allow_module_level=True)

TINY = dataclasses.replace(
    STUDY,
    dataset="digits",
    per_class=60,
    test_images=200,
    widths=(2, 32),
    epochs=4,
    progress=False,
)


def test_results_and_figure(tmp_path):
    neural_codes.run(dataclasses.replace(TINY, output=tmp_path))
    assert (tmp_path / "figure.png").stat().st_size > 10_000
    found = json.loads((tmp_path / "results.json").read_text())
    narrow, wide = found["table"]
    # Two units have four codes.
    assert narrow["redundancy, test"] >= 1 - 4 / 200
    assert wide["redundancy, test"] < 0.3
    assert wide["neighbours, %"] > 70 > narrow["neighbours, %"]
    assert all("agreed." in claim for claim in found["verdict"])


def test_wrong_settings(tmp_path):
    study = dataclasses.replace(TINY, output=tmp_path, widths=())
    with pytest.raises(ValueError, match="`widths` must be positive"):
        neural_codes.run(study)
