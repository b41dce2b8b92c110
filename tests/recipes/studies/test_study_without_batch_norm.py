import dataclasses
import json

import keras
import pytest

from recipes.studies import without_batch_norm
from recipes.studies.without_batch_norm import STUDY

if keras.backend.backend() == "numpy":
    pytest.skip("NumPy has no gradients", allow_module_level=True)

TINY = dataclasses.replace(
    STUDY,
    dataset="digits",
    per_class=20,
    test_images=100,
    losses=("ce",),
    filters=(4, 8),
    epochs=3,
    progress=False,
)


def test_every_normalization_is_compared():
    # The settings name them again: they are read before Keras is imported.
    assert STUDY.norms == without_batch_norm.NORMS


def test_results_and_figure(tmp_path, capsys):
    study = dataclasses.replace(TINY, output=tmp_path)
    without_batch_norm.run(study)
    assert (tmp_path / "figure.png").stat().st_size > 10_000
    found = json.loads((tmp_path / "results.json").read_text())
    assert list(found["curves"]) == ["ce, batch", "ce, frn", "ce, none"]
    assert [row["epoch"] for row in found["curves"]["ce, none"]] == [1, 2, 3]
    first, last = found["table"][0]["epoch"].split(" → ")
    assert (first, last) == ("1", "3")
    model = keras.saving.load_model(tmp_path / "ce-frn" / "model.keras")
    assert not any(
        "moving" in weight.path for weight in model.non_trainable_weights
    )
    capsys.readouterr()
    without_batch_norm.run(study)
    assert capsys.readouterr().out.count("finished before") == 3


@pytest.mark.parametrize(
    "changes", [{"norms": ("group",)}, {"losses": ()}, {"norms": ()}]
)
def test_wrong_settings(tmp_path, changes):
    study = dataclasses.replace(TINY, output=tmp_path, **changes)
    with pytest.raises(ValueError, match="must name one or more of"):
        without_batch_norm.run(study)
