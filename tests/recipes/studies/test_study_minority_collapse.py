import dataclasses
import json
import math

import keras
import numpy as np
import pytest

from recipes.studies import minority_collapse
from recipes.studies.minority_collapse import STUDY

if keras.backend.backend() == "numpy":
    pytest.skip("NumPy has no gradients", allow_module_level=True)

TINY = dataclasses.replace(
    STUDY,
    per_class=20,
    ratio=4.0,
    widths=(32,),
    features=16,
    decays=(0.4,),
    steps=60,
    epochs=2,
    progress=False,
)


def test_results_and_figure(tmp_path, capsys):
    study = dataclasses.replace(TINY, output=tmp_path)
    minority_collapse.run(study)
    assert (tmp_path / "figure.png").stat().st_size > 10_000
    found = json.loads((tmp_path / "results.json").read_text())
    (point,) = found["points"]
    # On the way to the minimum the rare classes are not one.
    assert point["trained"]["cos_minority"] < 0.9
    expected = point["predicted"]
    assert expected["square_majority"] > expected["square_minority"] > 0
    capsys.readouterr()
    minority_collapse.run(study)
    assert capsys.readouterr().out.count("finished before") == 2


def test_the_penalty_is_a_sum_over_the_examples():
    layer = minority_collapse.FeatureDecay(0.5)
    layer(np.full((6, 2), 3.0, "float32"))
    assert float(layer.losses[0]) == pytest.approx(0.25 * 6 * 2 * 9)
    config = keras.layers.serialize(layer)
    assert keras.layers.deserialize(config).decay == 0.5


def test_claims_can_fail():
    point = {"share": 0.4, "predicted": {"cos_minority": 0.1}}
    for cosine, verdict in ((0.105, "agreed"), (0.2, "not agreed")):
        found = point | {"trained": {"cos_minority": cosine}}
        assert minority_collapse._claim(found).endswith(f": {verdict}.")
    zero = {"cos_minority": math.nan}
    found = {"share": 1.5, "predicted": zero, "trained": zero}
    assert minority_collapse._claim(found).endswith(": agreed.")
    found["trained"] = {"cos_minority": 0.3}
    assert minority_collapse._claim(found).endswith(": not agreed.")


@pytest.mark.parametrize("change", [{"steps": 61}, {"decays": ()}])
def test_what_is_refused(tmp_path, change):
    study = dataclasses.replace(TINY, output=tmp_path, **change)
    with pytest.raises(ValueError, match="multiple of `epochs`"):
        minority_collapse.run(study)
