"""The study of unconstrained features, with few classes and steps."""

import json

import keras
import numpy as np
import pytest
from PIL import Image

from nc_keras.experiments import studies
from recipes.studies import unconstrained_features as study

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow",
    reason="only TensorFlow makes many steps at once",
)
QUICK = "--classes 4 --examples 3 --dim 6 --epochs 4 --steps 200 "
QUICK += "--weight-decay 3e-2 --feature-decay 6e-2 --bias-decay 1 "
QUICK += "--learning-rate 0.3 --progress False --output"


def run(folder, *options):
    arguments = [*QUICK.split(), str(folder), *options]
    studies.main(study.STUDY, "", study.run, arguments)
    return json.loads((folder / "results.json").read_text())


def test_all_cases_reach_theory_and_are_not_trained_again(tmp_path, capsys):
    record = run(tmp_path)
    cases = {row["case"]: row for row in record["cases"]}
    assert list(cases) == [
        "CE",
        "CE, smoothed",
        "focal",
        "MSE, no bias",
        "MSE, free bias",
        "MSE, bias decay",
        "CE, trivial",
    ]
    for name, row in cases.items():
        assert row["off"] < 1e-4, name
        for key, value in row["predicted"].items():
            assert row["reached"][key] == pytest.approx(
                value, rel=1e-4, abs=1e-4
            )
        if not row["is_trivial"]:
            assert (row["nc2_etf_weights"] < 1e-4) == row["is_simplex"]
    simplex = [name for name, row in cases.items() if row["is_simplex"]]
    assert simplex == ["CE", "CE, smoothed", "focal", "MSE, free bias"]
    assert cases["CE, trivial"]["is_trivial"]
    assert cases["MSE, free bias"]["predicted"]["bias"] == 0.25
    assert "All 7 cases reach" in record["verdict"]
    curve = record["curves"]["CE"]["curve"]
    assert [p["step"] for p in curve] == list(range(0, 801, 200))
    assert curve[0]["off"] > 0.1
    printed = capsys.readouterr().out
    assert f"{cases['CE']['predicted']['margin']:.4f}" in printed
    pixels = np.asarray(Image.open(tmp_path / "figure.png").convert("RGB"))
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 20
    again = run(tmp_path)
    printed = capsys.readouterr().out
    assert printed.count("finished before, not trained again") == 7
    assert again["cases"] == record["cases"]
    with pytest.raises(SystemExit, match="is of other settings"):
        run(tmp_path, "--steps", "3")


def test_a_wrong_prediction_and_too_few_steps_are_told(monkeypatch):
    rows = [{"case": "a", "off": 1e-6}, {"case": "b", "off": 3e-4}]
    assert study.verdict(rows).startswith(
        "Not within 1e-04 of the minimiser: b"
    )
    rows[1]["off"] = float("nan")
    assert "b." in study.verdict(rows)
    assert "within 1e-06" in study.verdict(rows[:1])


def test_fewer_dimensions_than_classes_are_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        run(tmp_path, "--dim", "3")
    assert "`dim` must be at least `classes`" in capsys.readouterr().err
