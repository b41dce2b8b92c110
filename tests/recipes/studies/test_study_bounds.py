"""The study of the bounds, on digits and for a few epochs."""

import json

import keras
import numpy as np
import pytest
from PIL import Image

from nc_keras.experiments import datasets
from nc_keras.experiments import studies
from recipes.studies import bounds

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow",
    reason="the studies are tested on one backend",
)
QUICK = "--dataset digits --epochs 3 --widths 4 6 --depth 2 "
QUICK += "--learning-rate 0.1 --progress False --output"
NAMES = ("convolutional", "positions", "dense", "spectral")


@pytest.fixture(autouse=True)
def not_for_the_other_tests(monkeypatch):
    monkeypatch.setattr(studies, "make_deterministic", lambda: None)


def run(folder, *options):
    arguments = [*QUICK.split(), str(folder), *options]
    studies.main(bounds.STUDY, "", bounds.run, arguments)
    return json.loads((folder / "results.json").read_text())


def test_results_figure_and_no_second_training(tmp_path, capsys):
    record = run(tmp_path)
    assert [one["name"] for one in record["networks"]] == [
        "conv-2-4",
        "conv-2-6",
    ]
    for network in record["networks"]:
        curves = network["curves"]
        assert [row["epoch"] for row in curves] == [0, 1, 2, 3]
        for name in NAMES:
            for place, moment in ((0, "start"), (-1, "end")):
                bound = network[moment][name]
                # The bound at the end is that of the model on disk.
                assert curves[place][f"bound_{name}"] == pytest.approx(
                    bound["value"], rel=1e-6
                )
                product = np.prod(list(bound["factors"].values()))
                assert product + bound["confidence"] == pytest.approx(
                    bound["value"]
                )
                assert bound["vacuous"] == (bound["value"] > 1)
        values = [network["end"][name]["value"] for name in NAMES]
        assert values[0] < values[1] < values[2]
        # Decay takes norms away.
        assert values[0] < network["start"]["convolutional"]["value"]
        measured = network["measured"]
        for key, value in measured.items():
            assert curves[-1][key] == pytest.approx(value, abs=1e-6)
        assert measured["test_error"] < curves[0]["test_error"]
        assert measured["margin_error"] >= measured["training_error"]
    printed = " ".join(capsys.readouterr().out.split())
    for text in (*record["verdict"], "norms of the layers", "Vacuous"):
        assert " ".join(text.split()) in printed
    image = np.asarray(Image.open(tmp_path / "figure.png").convert("RGB"))
    assert len(np.unique(image.reshape(-1, 3), axis=0)) > 50
    file = tmp_path / "conv-2-4" / "model.keras"
    before = file.stat().st_mtime_ns
    again = run(tmp_path)
    assert "conv-2-4: finished before" in capsys.readouterr().out
    assert file.stat().st_mtime_ns == before
    assert again["networks"] == record["networks"]
    with pytest.raises(SystemExit) as error:
        run(tmp_path, "--weight-decay", "0.1")
    assert "weight_decay is 0.003 there and 0.1 here" in str(error.value)


def test_images_are_scaled_and_convolutions_normalised():
    study = bounds.Bounds("bounds", dataset="digits", depth=2)
    dataset = datasets.load("digits", study.data_dir)
    model = bounds.compiled_model(study, dataset, 4)
    found = bounds.compared(model, dataset).bounds
    scaled = np.float64(dataset.x_train) / dataset.x_train.max()
    total = np.sqrt(np.sum(scaled**2))
    assert found["dense"].factors["inputs"] == pytest.approx(total, rel=1e-6)
    shapes = sorted(tuple(w.shape) for w in model.trainable_weights)
    # Two convolutions of 2x2 with a norm each, and the head behind 2x2.
    assert shapes == sorted(
        [(2, 2, 1, 4), (2, 2, 4, 4), (1,) * 4, (1,) * 4, (16, 10)]
    )


def test_a_bound_that_is_not_vacuous_is_named():
    study = bounds.Bounds("bounds", dataset="digits", depth=2)
    dataset = datasets.load("digits", study.data_dir)
    model = bounds.compiled_model(study, dataset, 4)
    network = {"name": "conv-2-4", "start": bounds.compared(model, dataset)}
    network["end"] = network["start"]
    assert "Every bound is above 1, and so vacuous." in bounds.verdict(
        [network]
    )
    for weight in model.trainable_weights:
        weight.assign(weight / 100)
    network["end"] = bounds.compared(model, dataset)
    said = bounds.verdict([network])[2]
    assert said.startswith("Not vacuous: spectral (conv-2-4): 0.")
