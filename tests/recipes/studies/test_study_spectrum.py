import dataclasses
import json

import keras
import numpy as np
import pytest
from PIL import Image

from nc_keras.writers.json_lines import read_json_lines
from recipes.studies import spectrum
from recipes.studies.spectrum import Spectrum

if keras.backend.backend() == "numpy":
    pytest.skip("NumPy has no gradients", allow_module_level=True)

STUDY = Spectrum(
    "spectrum",
    points=100,
    widths=(16, 16),
    epochs=9,
    steps=9,
    progress=False,
)


def test_results_figure_and_no_second_training(tmp_path, capsys):
    study = dataclasses.replace(STUDY, output=tmp_path)
    spectrum.run(study)
    assert (tmp_path / "figure.png").stat().st_size > 10_000
    found = json.loads((tmp_path / "results.json").read_text())
    assert len(found["observations"]) == 7
    rows = read_json_lines(tmp_path / "spectrum.jsonl")
    assert [row["step"] for row in rows][:3] == [0, 1, 2]
    for row in rows:
        energies = [v for v in row["labels"].values() if v is not None]
        assert np.all(np.diff(energies) >= -1e-9)
        assert energies[-1] == pytest.approx(1, abs=1e-6)
        values = np.array(row["eigenvalues"])
        assert (np.diff(values) <= 0).all() and values[0] == row["lambda_max"]
        expected = row["rate"] * values[0] / 100
        assert row["edge"] == pytest.approx(expected)
        # N of the residual's square are twice the loss.
        total = np.sum(row["projections"]) / 200
        assert total == pytest.approx(row["loss"], rel=1e-4)
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert rows[0]["rate"] == 0.25 and rows[-1]["rate"] == 0.0625
    # Of so small a step the kernel tells all.
    assert rows[-1]["step_cosine"] > 0.99
    capsys.readouterr()
    spectrum.run(study)
    assert "not trained again" in capsys.readouterr().out
    assert read_json_lines(tmp_path / "spectrum.jsonl") == rows
    with pytest.raises(ValueError, match="slope"):
        spectrum.run(dataclasses.replace(study, slope=0.1))


def test_a_picture_is_the_right_way_up(tmp_path):
    pixels = np.zeros((10, 20), np.uint8)
    pixels[0, 10:] = 255  # on top, at the right
    pixels[:, 19] = 255
    Image.fromarray(pixels).save(tmp_path / "picture.png")
    study = dataclasses.replace(
        STUDY, image=tmp_path / "picture.png", points=2000
    )
    x, y = spectrum.points_of(study, 0)
    is_white = ((x[:, 0] > 0.5) & (x[:, 1] > 0.9)) | (x[:, 0] >= 0.95)
    np.testing.assert_array_equal(y[:, 0] > 0, is_white)
    assert abs(y.mean()) < 1e-5 and y.std() == pytest.approx(1, rel=1e-5)


def rows_of_the_paper():
    """Values as the reference run has them, which agree with the paper."""
    base = {"outputs": {"100": 0.998}, "test_outputs": {"100": 0.997}}
    base |= {"step_cosine": 0.99}
    table = [
        (0, 0.79, 950, 0.291, 0.588, 0.507),
        (10, 1.27, 1500, 0.694, 0.907, 0.804),
        (2999, 2.09, 2500, 0.598, 0.981, 0.389),
        (3300, 1.24, 3000, 0.371, 0.980, 0.001),
        (8999, 1.18, 5680, 0.478, 0.989, 0.004),
    ]
    return [
        base
        | {
            "step": step,
            "edge": edge,
            "lambda_max": largest,
            "labels": {"5": five, "50": fifty},
            "residual": {"20": residual},
        }
        for step, edge, largest, five, fifty, residual in table
    ]


def test_observations_agree_and_can_fail():
    rows = rows_of_the_paper()
    found = spectrum.observations(rows, 9000)
    assert [row["verdict"] for row in found] == ["agreed"] * 7
    rows[3] |= {"residual": {"20": 0.3}, "edge": 2.0}
    rows[-1] |= {"lambda_max": 1000}
    rows[2] |= {"step_cosine": 0.2}
    found = spectrum.observations(rows, 9000)
    wrong = [
        number for number, row in enumerate(found) if row["verdict"] != "agreed"
    ]
    assert wrong == [2, 3, 5, 6]


@pytest.mark.parametrize(
    "change, match",
    [
        ({"points": 50}, "points=50"),
        ({"steps": 10}, "multiple of `epochs`"),
        ({"epochs": 3, "steps": 3}, "epochs=3"),
        ({"image": "nowhere.png"}, "must be a picture"),
    ],
)
def test_what_is_refused(tmp_path, change, match):
    study = dataclasses.replace(STUDY, output=tmp_path, **change)
    with pytest.raises(ValueError, match=match):
        spectrum.run(study)
