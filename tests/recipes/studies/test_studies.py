"""The studies of the square loss, on few real digits."""

import functools
import json
import math

import keras
import numpy as np
import pytest

import nc_keras
from nc_keras.experiments import datasets
from nc_keras.experiments import studies
from nc_keras.experiments.options.study import Study
from nc_keras.experiments.studies import main
from nc_keras.writers.json_lines import read_json_lines
from recipes.studies import low_rank
from recipes.studies import sgd_noise
from recipes.studies import weight_decay
from recipes.studies.low_rank import LowRank
from recipes.studies.sgd_noise import SGDNoise
from recipes.studies.weight_decay import WeightDecay

FEW = {"dataset": "digits", "per_class": 20, "progress": False}


def results(folder):
    assert (folder / "figure.png").stat().st_size > 1000
    return json.loads((folder / "results.json").read_text())


def test_weight_decay(tmp_path, capsys):
    study = WeightDecay(
        *("weight_decay",),
        **FEW,
        epochs=2,
        widths=(16,),
        output=tmp_path,
    )
    weight_decay.run(study)
    found = results(tmp_path)
    names = [one["run"] for one in found["runs"]]
    assert names == list(weight_decay.ARMS)
    start = {one["run"]: one["rho"] for one in found["runs"]}
    # All begin at the same product of the norms, and what decays has less.
    assert start["normalised, decay"] < start["normalised, no decay"]
    curves = found["curves"]["plain, decay"]
    assert {"stationarity", "rank", "nc1/relu_1"} <= curves[-1].keys()
    first = (tmp_path / "plain-decay" / "metrics.jsonl").read_text()
    capsys.readouterr()
    weight_decay.run(study)
    assert capsys.readouterr().out.count("finished before") == 4
    again = (tmp_path / "plain-decay" / "metrics.jsonl").read_text()
    assert again == first


def test_the_four_begin_alike():
    study = WeightDecay("weight_decay", widths=(16, 8), initial_rho=7.0)
    dataset = datasets.load("digits")
    outputs = []
    for is_normalised in (True, False):
        keras.utils.set_random_seed(3)
        model = weight_decay._build(study, dataset, is_normalised, True)
        assert np.isclose(nc_keras.weights.rho(model), 7.0, rtol=1e-5)
        outputs.append(model.predict(dataset.x_test[:20], verbose=0))
    assert np.allclose(*outputs, rtol=1e-3, atol=1e-5)


def test_low_rank(tmp_path):
    study = LowRank(
        *("low_rank",),
        **FEW,
        epochs=2,
        widths=(16,),
        batch_sizes=(50, 200),
        learning_rates=(0.01,),
        weight_decays=(0.0, 0.1),
        steps=8,
        output=tmp_path,
    )
    low_rank.run(study)
    found = results(tmp_path)
    assert len(found["grid"]) == 4
    assert [one["pairs"] for one in found["claims"]] == [2, 0, 2]
    by_decay = {
        (one["weight decay"], one["batch size"]): one["allowed rank"]
        for one in found["grid"]
    }
    # As many steps with every batch size.
    left = {one["initial weights left"] for one in found["grid"]}
    assert left == {1.0, 0.999**8}
    assert by_decay[0.0, 50] is None and by_decay[0.1, 50] == 13


def test_sgd_noise(tmp_path):
    study = SGDNoise(
        *("sgd_noise",),
        **FEW,
        epochs=3,
        widths=(16,),
        weight_decays=(0.0, 0.1),
        output=tmp_path,
    )
    sgd_noise.run(study)
    found = results(tmp_path)
    assert found["steps"] == 4
    assert [len(one) for one in found["curves"].values()] == [3] * 4
    assert all(one["at the end"] > 0 for one in found["runs"])


def test_other_settings_are_refused(tmp_path):
    settings = {**FEW, "widths": (8,), "output": tmp_path, "epochs": 1}
    grid = {"learning_rates": (0.01,), "weight_decays": (0.0,)}
    study = LowRank("low_rank", **settings, **grid, batch_sizes=(200,))
    low_rank.run(study)
    other = LowRank("low_rank", **{**settings, "seed": 1}, **grid,
                    batch_sizes=(200,))  # fmt: skip
    with pytest.raises(ValueError, match="seed is 0 there and 1 here"):
        low_rank.run(other)


def test_a_run_that_was_killed_goes_on(tmp_path, monkeypatch):
    """It has its curves so far, and ends as if nothing had happened."""
    settings = {**FEW, "epochs": 4, "widths": (8,), "weight_decays": (0.1,)}
    callbacks = studies.nc_keras.callbacks
    monkeypatch.setattr(
        callbacks,
        "Checkpoint",
        functools.partial(callbacks.Checkpoint, max_cost=math.inf),
    )
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    sgd_noise.run(SGDNoise("sgd_noise", **settings, output=whole))

    def stop(self, epoch, logs=None):
        if epoch == 2:
            raise KeyboardInterrupt
        begin(self, epoch, logs)

    begin = callbacks.WeightSpectrum.on_epoch_begin
    with monkeypatch.context() as patched:
        patched.setattr(callbacks.WeightSpectrum, "on_epoch_begin", stop)
        with pytest.raises(KeyboardInterrupt):
            sgd_noise.run(SGDNoise("sgd_noise", **settings, output=cut))
    run = "mini-batches-decay_0.1"
    assert len(read_json_lines(cut / run / "metrics.jsonl")) == 2
    sgd_noise.run(SGDNoise("sgd_noise", **settings, output=cut))
    # One that began anew would have kept the earlier file under this name.
    assert not (cut / run / "metrics.1.jsonl").exists()
    rows = [read_json_lines(f / run / "metrics.jsonl") for f in (whole, cut)]
    assert rows[0] == rows[1]


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["--dataset", "digitz"], "digitz"),
        (["--epochs", "0"], "epochs=0"),
        (["--seed", "-1"], "seed=-1"),
        (["--dataset", "digits", "--batch-sizes", "8", "8"], "must increase"),
    ],
)
def test_bad_settings_are_told(tmp_path, capsys, arguments, said):
    with pytest.raises(SystemExit) as error:
        main(
            LowRank("low_rank", output=tmp_path),
            "A study.",
            low_rank.run,
            [*arguments, "--progress", "False"],
        )
    assert said in str(error.value) + capsys.readouterr().err


def test_unequal_classes_are_told():
    with pytest.raises(ValueError, match="--per-class 131"):
        studies.require_balanced(datasets.load("digits"))


def test_numbers_of_a_study_are_checked():
    with pytest.raises(ValueError, match="per_class=-5"):
        Study("x", per_class=-5)
