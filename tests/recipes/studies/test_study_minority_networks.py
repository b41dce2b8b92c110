import dataclasses
import json
import math

import keras
import numpy as np
import pytest

from recipes.studies import minority_networks
from recipes.studies.minority_networks import STUDY

if keras.backend.backend() == "numpy":
    pytest.skip("NumPy has no gradients", allow_module_level=True)

TINY = dataclasses.replace(
    STUDY,
    dataset="digits",
    per_class=40,
    test_images=100,
    ratios=(1.0, 8.0, math.inf),
    oversample=8,
    filters=(4, 8),
    batch_size=32,
    epochs=2,
    progress=False,
)


def test_results_and_figure(tmp_path, capsys):
    study = dataclasses.replace(TINY, output=tmp_path)
    minority_networks.run(study)
    assert (tmp_path / "figure.png").stat().st_size > 10_000
    found = json.loads((tmp_path / "results.json").read_text())
    ratios = [point["ratio"] for point in found["points"]]
    assert ratios == ["1", "8", "inf", "8"]
    often = found["points"][-1]
    assert often["oversample"] == 8 and often["counts"] == [40] * 10
    absent = found["points"][2]
    assert absent["counts"] == [40] * 5 + [0] * 5
    assert absent["measured"]["test accuracy, rare"] == 0.0
    # The rows of classes that no example has moved apart.
    assert absent["measured"]["cosine, rare"] > -0.2
    capsys.readouterr()
    minority_networks.run(study)
    assert capsys.readouterr().out.count("finished before") == 4


def test_the_prediction_is_of_the_decay_and_the_counts():
    predicted = minority_networks._predicted
    counts = np.array([50, 50, 5, 5])
    threshold = 5**0.5 / 110
    below = predicted(counts, 0.5 * threshold, relu=False)
    beyond = predicted(counts, 1.5 * threshold, relu=False)
    assert -1 / 3 < below < beyond == pytest.approx(1.0)
    assert predicted(counts, None, relu=False) is None
    assert predicted(np.array([5, 5]), 1e-3, relu=False) is None
    # Of classes without an example there is no theory.
    assert predicted(np.array([5, 5, 0]), 1e-3, relu=False) is None
    # A negative one is no decay: the network is not at a minimum.
    assert predicted(counts, -1e-3, relu=True) is None


def test_claims_can_fail():
    def point(ratio, cosine, accuracy, oversample=0):
        measured = {"cosine, rare": cosine, "test accuracy, rare": accuracy}
        return {
            "ratio": ratio,
            "oversample": oversample,
            "measured": measured,
        }

    points = [point(1, -0.1, 0.9), point(9, 0.2, 0.5), point("inf", 0.9, 0.0)]
    claims = minority_networks._claims([*points, point(9, 0.1, 0.6, 9)])
    assert [one.endswith(": agreed.") for one in claims] == [True] * 3
    points[1] = point(9, 0.95, 0.95)
    claims = minority_networks._claims([*points, point(9, 0.96, 0.6, 9)])
    assert [one.endswith(": not agreed.") for one in claims] == [True] * 3


def test_ratios_rise():
    with pytest.raises(ValueError, match="must rise"):
        minority_networks.run(dataclasses.replace(TINY, ratios=(8.0, 1.0)))
