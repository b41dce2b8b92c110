import dataclasses
import json

import keras
import pytest

from recipes.studies import forgetting
from recipes.studies.forgetting import STUDY

if keras.backend.backend() == "numpy":
    pytest.skip("NumPy has no gradients", allow_module_level=True)

TINY = dataclasses.replace(
    STUDY,
    dataset="digits",
    per_class=30,
    test_images=100,
    epochs=12,
    progress=False,
    widths=(24,),
    learning_rate=0.2,
)


def run(tmp_path, **changes):
    study = dataclasses.replace(TINY, output=tmp_path, **changes)
    forgetting.run(study)
    return json.loads((tmp_path / "results.json").read_text())


def test_results_and_figure(tmp_path, capsys):
    found = run(tmp_path)
    assert (tmp_path / "figure.png").stat().st_size > 10_000
    facts = found["forgetting"]
    assert facts["most events"] >= 1
    assert 0 < facts["unforgettable, %"] <= 100
    assert len(found["table"]) == 3
    # A test image is none of those that are counted.
    capsys.readouterr()
    again = run(tmp_path)
    assert capsys.readouterr().out.count("finished before") == 3
    assert again["forgetting"] == facts


def test_wrong_settings(tmp_path):
    with pytest.raises(ValueError, match="`drop` must be in"):
        run(tmp_path, drop=1.0)
