import dataclasses
import json

import keras
import numpy as np
import pytest

from recipes.studies import finite_infinite
from recipes.studies.finite_infinite import STUDY

if keras.backend.backend() == "numpy":
    pytest.skip("NumPy has no gradients", allow_module_level=True)

TINY = dataclasses.replace(
    STUDY,
    per_class=10,
    test_images=60,
    epochs=20,
    widths=(4, 64),
    members=2,
    depth=1,
    progress=False,
)


def run(tmp_path, **changes):
    study = dataclasses.replace(TINY, output=tmp_path, **changes)
    finite_infinite.run(study)
    return json.loads((tmp_path / "results.json").read_text())


def test_results_and_figure(tmp_path):
    found = run(tmp_path)
    assert (tmp_path / "figure.png").stat().st_size > 10_000
    narrow, wide, whitened = found["table"]
    assert [narrow["width"], wide["width"]] == [4, 64]
    assert whitened["images"] == "ZCA" and whitened["width"] == 64
    assert wide["distance from infinite"] < narrow["distance from infinite"]
    assert wide["spread, centred"] < wide["spread"]
    assert len(found["ridges"]) == 4
    for row in found["ridges"]:
        assert row["ridge 0.001"] > 50
    seen = {row["observation"]: row for row in found["observations"]}
    near = seen["Wider networks are nearer to the infinite one"]
    assert near["here"] == "agreed"
    outputs = np.load(tmp_path / "pixels-64-plain-0.npy")
    assert outputs.shape == (60, 10)
    kept = {p: p.stat().st_mtime_ns for p in tmp_path.glob("*.npy")}
    again = run(tmp_path, members=3)
    assert all(p.stat().st_mtime_ns == t for p, t in kept.items())
    assert again["table"][0] != narrow
    with pytest.raises(ValueError, match="epochs is 20 there and 21 here"):
        run(tmp_path, epochs=21)


@pytest.mark.parametrize(
    "more, less, seen",
    [(98, 91, "agreed"), (91, 98, "not seen"), (98.3, 98.1, "cannot tell")],
)
def test_what_few_images_cannot_tell(more, less, seen):
    assert finite_infinite._seen(more, less, 360) == seen


def test_wrong_settings(tmp_path):
    with pytest.raises(ValueError, match="Two `members` are needed"):
        run(tmp_path, members=1)
    with pytest.raises(ValueError, match="Choose a smaller learning rate"):
        run(tmp_path, learning_rate=1e6)
