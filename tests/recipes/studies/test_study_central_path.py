"""The study of the central path, on digits and for a few epochs."""

import dataclasses
import json

import keras
import numpy as np
import pytest
from PIL import Image

from nc_keras.experiments import datasets
from nc_keras.experiments import studies
from nc_keras.theory.central_path import predicted_snr
from recipes.studies import central_path

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow",
    reason="the studies are tested on one backend",
)
QUICK = "--dataset digits --per-class 100 --epochs 4 --widths 48 24 "
QUICK += "--batch-size 50 --drops 0.5 --progress False --output"


@pytest.fixture(autouse=True)
def not_for_the_other_tests(monkeypatch):
    monkeypatch.setattr(studies, "make_deterministic", lambda: None)


def run(folder, *options):
    arguments = [*QUICK.split(), str(folder), *options]
    studies.main(central_path.STUDY, "", central_path.run, arguments)
    return json.loads((folder / "results.json").read_text())


def test_results_figure_and_no_second_training(tmp_path, capsys):
    record = run(tmp_path)
    assert record["study"] == "central_path"
    assert record["settings"]["widths"] == [48, 24]
    assert [row["epoch"] for row in record["parts"]] == [1, 2, 3, 4]
    for row in record["parts"]:
        parts = [row[f"mse_{name}"] for name in ("nc1", "nc23", "perp")]
        assert row["loss"] == pytest.approx(sum(parts)) and min(parts) > 0
    assert record["epochs"] == [0, 1, 2, 3, 4]
    # 20 steps per epoch at the rates 0.1, 0.1, 0.01, 0.01.
    np.testing.assert_allclose(record["times"], [0, 2, 4, 4.2, 4.4], rtol=1e-6)
    values = np.array(record["snr"])
    assert values.shape == (5, 9) and (np.diff(values) <= 0).all()
    (fit,) = record["fits"]
    assert fit["part"] == "whole" and fit["scale"] > 0
    closed = predicted_snr(
        values[0], fit["scale"] * np.array(record["times"]), 10, 1000
    )
    off = np.sqrt(np.mean(np.log(closed / values)[1:] ** 2))
    assert fit["residual"] == pytest.approx(off, rel=1e-6)
    assert fit["residual_at_any_time"] <= fit["residual"]
    assert fit["residual"] <= fit["residual_at_rest"]
    last = record["moments"][-1]
    assert last["ratio"] == pytest.approx(values[-1, 0] / values[-1, -1])
    assert sum(v for k, v in last.items() if "%" in k) == pytest.approx(100)
    printed = " ".join(capsys.readouterr().out.split())
    for said in record["verdict"]:
        assert said in printed
    pixels = np.asarray(Image.open(tmp_path / "figure.png").convert("RGB"))
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 20
    # A second command reads what the first has found.
    again = run(tmp_path)
    assert "finished before, not trained again" in capsys.readouterr().out
    del record["machine"], again["machine"]
    assert record == again


def test_other_settings_are_refused(tmp_path):
    run(tmp_path, "--epochs", "1")
    with pytest.raises(SystemExit, match="momentum is 0.9 there and 0.5 here"):
        run(tmp_path, "--epochs", "1", "--momentum", "0.5")


def test_settings():
    assert central_path.STUDY.layers == (512, 512, 128)
    conv_net = dataclasses.replace(central_path.STUDY, network="conv_net")
    assert conv_net.layers == (32, 64, 128)
    assert dataclasses.replace(conv_net, widths=(8,)).layers == (8,)
    images = datasets.digits()
    model = central_path.compiled_model(conv_net, images)
    assert model.count_params() > 90_000 and model.input_shape[1:] == (8, 8, 1)
    with pytest.raises(ValueError, match="`learning_rate` must be positive"):
        dataclasses.replace(conv_net, learning_rate=0.0)


def measured(values, epochs=None):
    values = np.asarray(values, "float64")
    epochs = np.arange(len(values)) if epochs is None else epochs
    return central_path.Path(epochs, 2.0 * epochs, values, 3, 30)


def test_fits_before_and_after_zero_error():
    epochs = np.array([0, 1, 2, 4, 8])
    # Exactly the closed form, but for a jump after the first measurement.
    values = predicted_snr([2.0, 0.5], 100.0 * np.maximum(epochs - 1, 0), 3, 30)
    values[0] = [0.1, 0.05]
    whole, before, after = central_path.fits_of(measured(values, epochs), 4)
    assert whole["residual"] > 0.1
    assert 0.1 < whole["residual_at_any_time"] < whole["residual"]
    assert (before["first_epoch"], before["last_epoch"]) == (1, 4)
    assert (after["first_epoch"], after["last_epoch"]) == (4, 8)
    for fit in (before, after):
        assert fit["residual"] < 1e-7 < fit["residual_at_rest"]
        assert fit["scale"] == pytest.approx(50, rel=1e-6)
        assert fit["ratio"] == pytest.approx(fit["predicted_ratio"])


def test_what_is_said_follows_from_the_numbers():
    rows = [{"mse_perp_share": 0.2}, {"mse_perp_share": 0.01}]
    path = measured([[2.0, 1.0], [3.0, 2.0]])
    fit = {"part": "whole", "residual": 0.05, "residual_at_rest": 0.9}
    head, ratio, form = central_path.verdict(rows, path, [fit])
    assert "1.0% to 20.0%" in head and "it is not near the best" in head
    assert "2 at first, 1.5 at the end. They come closer." in ratio
    assert "singular values follow the closed form" in form
    apart = measured([[2.0, 1.0], [3.0, 1.0]])
    fit["residual"] = 0.5
    head, ratio, form = central_path.verdict(rows[1:], apart, [fit])
    assert "it is near the best one" in head
    assert "do not come closer" in ratio
    assert "do not follow" in form and "off by 65%" in form
    (_, none) = central_path.verdict(rows, measured(np.zeros((0, 2))), [])
    assert "was singular" in none


def test_rows_that_are_singular_are_left_out(tmp_path):
    class Images:
        num_classes, num_train = 3, 30

    file = tmp_path / "snr.jsonl"
    rows = [
        {"epoch": 0, "time": 0.0, "snr_1": 2.0, "snr_2": 1.0},
        {"epoch": 1, "time": 1.0, "snr_1": None, "snr_2": None},
        {"epoch": 2, "time": 2.0},
        {"epoch": 3, "time": 3.0, "snr_1": 2.0, "snr_2": 0.0},
        {"epoch": 4, "time": 4.0, "snr_1": 3.0, "snr_2": 2.0},
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    path = central_path.read_path(file, Images)
    assert path.epochs.tolist() == [0, 4] and path.times.tolist() == [0, 4]
    assert path.values.tolist() == [[2, 1], [3, 2]]
