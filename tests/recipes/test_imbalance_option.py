import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest

import nc_keras
from nc_keras.experiments import datasets
from nc_keras.experiments.options.settings import Run
from nc_keras.experiments.options.settings import Settings
from nc_keras.experiments.training.losses import build_loss
from nc_keras.experiments.training.one_run import compiled_model
from nc_keras.experiments.training.one_run import follow
from tests import forked
from tests.helpers import rows_of

ROOT = Path(__file__).parents[2]
RUN = ["-m", "recipes.digits", "--epochs", 2, "--network", "mlp"]
RUN += ["--widths", 16, "--heads", "etf", "--losses", "ce"]
RUN += ["--progress", "False", "--output"]
OPTIONS = ["--imbalance", "step", "--ratio", 13, "--minority", 3]


def test_a_recipe_trains_on_unequal_classes(tmp_path):
    done = forked.run(*RUN, tmp_path, *OPTIONS, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "Classes are unequal (step): the largest has 13 times" in done.stdout
    record = json.loads((tmp_path / "results.json").read_text())
    largest = np.bincount(datasets.load("digits").y_train).min()
    assert record["data"]["train"] == 7 * largest + 3 * (largest // 13)
    assert record["data"]["ratio"] == 13
    assert len(rows_of(tmp_path / "ce-etf-0")) == 2
    # A folder belongs to its classes.
    again = forked.run(*RUN, tmp_path, cwd=ROOT)
    assert again.returncode == 1 and "imbalance" in again.stderr


@pytest.mark.parametrize(
    "options",
    [
        {"imbalance": "step"},
        {"ratio": 10.0},
        {"minority": 2},
        {"imbalance": "exponential", "ratio": 10.0, "minority": 2},
    ],
)
def test_what_is_refused(options):
    with pytest.raises(ValueError, match="go together"):
        Settings(dataset="digits", network="mlp", **options)


def test_losses_and_heads_for_unequal_classes(tmp_path):
    pairs = ["--losses", "dot_regression", "ldam", "vs", "--heads", "linear"]
    done = forked.run(
        *RUN, tmp_path, *OPTIONS, *pairs, "etf", "nearest_etf", cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "results.json").read_text())
    found = {(run["loss"], run["head"]) for run in record["runs"]}
    every = itertools.product(
        ("dot_regression", "ldam", "vs"), ("linear", "etf", "nearest_etf")
    )
    # Nothing keeps learned rows apart where none is pushed.
    assert found == {*every} - {("dot_regression", "linear")}
    for tag in ("balanced_accuracy", "accuracy_minority", "ufm_weights"):
        assert tag in record["metrics"]
    for name in ("vs-linear-0", "dot_regression-nearest_etf-0"):
        row = rows_of(tmp_path / name)[-1]
        assert 0 <= row["val_accuracy_minority"] <= 1
        assert "ufm_weights" in row and "val_ufm_weights" not in row


def one_of(**options):
    return Settings(dataset="digits", network="mlp", widths=(8, 16), **options)


@pytest.mark.parametrize("head", ["linear", "etf_dim_c", "nearest_etf"])
def test_outputs_of_losses_of_cosines_are_cosines(head):
    settings = one_of(losses=("ldam",), heads=(head,))
    data = datasets.load("digits")
    model = compiled_model(settings, Run("ldam", head, 0), data)
    assert model.loss.counts == np.bincount(data.y_train).tolist()
    if head == "nearest_etf":
        assert [type(one) for one in follow(model)] == [
            nc_keras.callbacks.FollowClassMeans
        ]
    extractor = nc_keras.FeatureExtractor(model)
    features, _ = extractor(data.x_test[:50], data.y_test[:50])
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(
        np.linalg.norm(extractor.kernel, axis=0), 1.0, rtol=1e-5
    )
    outputs = model.predict(data.x_test[:50], verbose=0)
    assert np.abs(outputs).max() <= 1 + 1e-5
    plain = compiled_model(settings, Run("ce", head, 0), data)
    assert "unit" not in plain.layers[-1].layers[-2].name


def test_no_loss_fits_no_head():
    with pytest.raises(ValueError, match="None of these losses"):
        one_of(losses=("dot_regression",), heads=("linear", "weight_norm"))
    settings = one_of(losses=("ldam",), heads=("linear", "weight_norm"))
    assert settings.runs == [Run("ldam", "linear", 0)]


def test_losses_need_to_know_the_classes():
    settings = one_of(losses=("vs",))
    with pytest.raises(ValueError, match="must be positive"):
        build_loss(settings, "vs", [0, 0])


def test_rare_images_come_several_times_in_a_pass():
    data = datasets.imbalance(datasets.load("digits"), "step", 10.0, 5)
    many = datasets.oversample(data, 4)
    assert many.num_train == data.num_train
    largest, smallest = np.bincount(data.y_train)[[0, 9]]
    fit = many.fit_data(batch_size=50, seed=0)
    batches = iter(fit["x"])
    seen = [next(batches) for _ in range(fit["steps_per_epoch"])]
    labels = np.concatenate([np.asarray(y) for _, y in seen])
    total = 5 * largest + 4 * 5 * smallest
    assert len(labels) == total // 50 * 50
    left_out = total - len(labels)
    counts = np.bincount(labels)
    assert (counts[5:] >= 4 * smallest - left_out).all()
    assert (counts[5:] <= 4 * smallest).all()
    # No more than makes a class as large as the largest.
    assert datasets.oversample(data, 99).repeats.max() == largest // smallest
    # A part of it keeps what belongs to each image.
    some = many.select(np.flatnonzero(many.y_train >= 5))
    assert (some.repeats == 4).all()
    with pytest.raises(ValueError, match="most=0"):
        datasets.oversample(data, 0)


def test_oversampling_is_an_option(tmp_path):
    done = forked.run(*RUN, tmp_path, *OPTIONS, "--oversample", 13, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "come up to 13 times in a pass" in done.stdout
    record = json.loads((tmp_path / "results.json").read_text())
    assert record["settings"]["oversample"] == 13


def test_a_minority_without_images():
    data = datasets.imbalance(datasets.load("digits"), "step", math.inf, 3)
    counts = np.bincount(data.y_train, minlength=10)
    assert (counts[7:] == 0).all() and (counts[:7] > 100).all()
    with pytest.raises(ValueError, match="finite"):
        datasets.imbalance(data, "exponential", math.inf)
    with pytest.raises(ValueError, match="finite"):
        one_of(imbalance="step", ratio=math.inf)
