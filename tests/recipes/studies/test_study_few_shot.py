import dataclasses
import json

import keras
import pytest

from recipes.studies import few_shot
from recipes.studies.few_shot import STUDY

if keras.backend.backend() == "numpy":
    pytest.skip("NumPy has no gradients", allow_module_level=True)

TINY = dataclasses.replace(
    STUDY,
    dataset="digits",
    per_class=40,
    test_images=100,
    epochs=3,
    progress=False,
    filters=(4, 8),
    losses=("ce",),
    episodes=50,
)


def run(tmp_path, **changes):
    study = dataclasses.replace(TINY, output=tmp_path, **changes)
    few_shot.run(study)
    return json.loads((tmp_path / "results.json").read_text())


def test_results_and_figure(tmp_path):
    found = run(tmp_path)
    assert (tmp_path / "figure.png").stat().st_size > 10_000
    (rows,) = found["curves"].values()
    assert len(rows) == 3
    for row in rows:
        assert 1 / 3 - 0.1 < row["novel_1_shot"] <= row["novel_5_shot"] + 0.1
        assert 0 < row["novel_cdnv_directional"] < row["novel_cdnv"]
    model = keras.saving.load_model(tmp_path / "ce" / "model.keras")
    assert model.output_shape == (None, 7)


def test_wrong_settings(tmp_path):
    with pytest.raises(ValueError, match="Two classes must be held out"):
        run(tmp_path, novel=9)
    with pytest.raises(ValueError, match="must name one or more of"):
        run(tmp_path, losses=("hinge",))
