import dataclasses
import json

import pytest

from recipes.studies import layer_peeled
from recipes.studies.layer_peeled import STUDY


def test_results_and_figure(tmp_path, capsys):
    study = dataclasses.replace(STUDY, points=9, output=tmp_path)
    layer_peeled.run(study)
    assert (tmp_path / "figure.png").stat().st_size > 10_000
    found = json.loads((tmp_path / "results.json").read_text())
    assert all(one.endswith(": agreed.") for one in found["verdict"])
    by_majority = {row["frequent classes"]: row for row in found["table"]}
    # The values of the semidefinite program.
    assert by_majority[5]["R = 1"] == pytest.approx(-1 / 9, abs=1e-6)
    assert by_majority[5]["R = 10"] == pytest.approx(0.5175, abs=1e-4)
    assert by_majority[3]["R = 100"] == pytest.approx(0.31069, abs=1e-4)
    # No cosine where the classifiers are zero.
    assert by_majority[7]["R = 10"] is None
    assert "5 frequent classes" in capsys.readouterr().out


def test_claims_can_fail():
    points = [
        {"ratio": 1.0, "cosine": -0.1, "collapsed": False},
        {"ratio": 9.0, "cosine": 1.0, "collapsed": True},
    ]
    assert layer_peeled._claim("5", points, 4.0).endswith(": agreed.")
    assert layer_peeled._claim("5", points, 10.0).endswith(": not agreed.")
    points[0]["cosine"] = 1.5
    assert layer_peeled._claim("5", points, 4.0).endswith(": not agreed.")


@pytest.mark.parametrize(
    "change, match",
    [
        ({"majorities": (9,)}, "two classes for the minority"),
        ({"majorities": (0,)}, "two classes for the minority"),
        ({"majorities": ()}, "one of `majorities`"),
        ({"points": 1}, "two `points`"),
    ],
)
def test_what_is_refused(tmp_path, change, match):
    study = dataclasses.replace(STUDY, output=tmp_path, **change)
    with pytest.raises(ValueError, match=match):
        layer_peeled.run(study)
