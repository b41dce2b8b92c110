import dataclasses
import functools
import gzip
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

import nc_keras  # noqa: F401, registers the classes of saved models
from nc_keras.experiments import datasets
from nc_keras.experiments.datasets.loading import prepare
from nc_keras.experiments.results.record import claim_folder
from nc_keras.experiments.training import one_run
from recipes import digits
from tests import forked
from tests.helpers import rows_of
from tests.helpers import rows_without_times

ROOT = Path(__file__).parents[2]
QUICK = ["--epochs", "3", "--widths", "8", "16", "--deepfool", "20"]
QUICK += ["--progress", "False", "--heads", "linear", "etf"]


def run(recipe, *options):
    return forked.run("-m", f"recipes.{recipe}", *options, cwd=ROOT)


@pytest.fixture(scope="module")
def quick_run(tmp_path_factory):
    """One short run of the digits recipe, in an interpreter of its own."""
    folder = tmp_path_factory.mktemp("digits")
    # JAX, imported for the tests, leaves its log level in the environment.
    env = {k: v for k, v in os.environ.items() if not k.startswith("TF_CPP")}
    result = subprocess.run(
        [sys.executable, "-m", "recipes.digits", *QUICK, "--output", folder],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=env,
    )
    assert result.returncode == 0, result.stderr
    return folder, result


def test_table_figures_report_record_and_events(quick_run):
    folder, result = quick_run
    assert result.stderr == ""
    for text in (
        "linear",
        "etf",
        "epoch of zero error",
        "NC1",
        "test accuracy",
        "did not vanish in any run",
        "no claim about collapse",
        f"tensorboard --logdir {folder}",
        str(folder / "report.html"),
    ):
        assert text in " ".join(result.stdout.split())
    record = json.loads((folder / "results.json").read_text())
    assert record["settings"]["epochs"] == 3
    assert not record["interrupted"]
    assert [run["head"] for run in record["runs"]] == ["linear", "etf"]
    for values in record["runs"]:
        run_folder = folder / values["folder"]
        assert values["epochs"] == 3
        assert values["last"] == {
            **rows_without_times(run_folder)[-1],
            "seconds": values["seconds"],
        }
        assert 0 < values["seconds_per_epoch"] < values["seconds"]
        for name in ("model.keras", "nc_train", "nc_validation"):
            assert (run_folder / name).exists()
        assert [row["epoch"] for row in values["robustness"]] == [1, 2, 3]
    linear, etf = record["runs"]
    # The learned head has 16 x 10 weights and 10 biases more.
    difference = linear["trainable_parameters"] - etf["trainable_parameters"]
    assert difference == 170
    assert etf["parameters"] - linear["parameters"] == -10
    # Weights, momentum, and the optimizer's rate and counter.
    momenta = linear["parameters"] + linear["trainable_parameters"]
    assert 4 * momenta <= linear["state_bytes"] <= 4 * momenta + 32
    assert etf["last"]["nc2_max_angle_weights"] < 1e-6
    assert linear["last"]["nc2_max_angle_weights"] > 1e-3
    assert "<svg" in (folder / "report.html").read_text()
    image = Image.open(folder / "curves.png").convert("RGB")
    assert min(image.size) > 500
    assert len(np.unique(np.asarray(image).reshape(-1, 3), axis=0)) > 20


def test_a_finished_run_is_not_trained_again(quick_run, tmp_path):
    folder, _ = quick_run
    model = (folder / "ce-etf-0" / "model.keras").stat()
    again = run("digits", *QUICK, "--output", folder)
    assert again.returncode == 0, again.stderr
    assert "ce-etf-0: finished before, not trained again" in again.stdout
    assert (folder / "ce-etf-0" / "model.keras").stat() == model


def test_other_settings_are_not_mixed_in(quick_run):
    folder, _ = quick_run
    other = run("digits", *QUICK, "--batch-size", 32, "--output", folder)
    assert other.returncode == 1
    assert "batch_size is 64 there and 32 here" in other.stderr
    assert "Traceback" not in other.stderr


def test_other_data_of_the_same_shape_are_not_mixed_in(tmp_path, monkeypatch):
    monkeypatch.setattr(one_run, "make_deterministic", lambda: None)
    settings = dataclasses.replace(
        digits.SETTINGS,
        network="mlp",
        widths=(8,),
        heads=("linear",),
        epochs=3,
        per_class=10,
        progress=False,
        output=tmp_path,
    )
    (one,) = settings.runs
    dataset = prepare(settings)
    other = dataclasses.replace(dataset, y_train=(dataset.y_train + 1) % 10)

    class Kill(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    monkeypatch.setattr(
        one_run.nc_keras.callbacks,
        "Checkpoint",
        functools.partial(
            one_run.nc_keras.callbacks.Checkpoint, max_cost=math.inf
        ),
    )
    claim_folder(settings, dataset)
    with pytest.raises(KeyboardInterrupt):
        one_run.train(settings, one, dataset, [Kill()])
    with pytest.raises(ValueError, match="data_digest is .* there"):
        claim_folder(settings, other)
    with pytest.raises(ValueError, match="data_digest"):
        one_run.train(settings, one, other)
    claim_folder(settings, dataset)
    one_run.train(settings, one, dataset)
    assert len(rows_of(tmp_path / one.name)) == 3


def test_a_folder_in_which_nothing_ran_is_free(tmp_path):
    options = [*QUICK, "--heads", "etf", "--output", tmp_path]
    refused = run("digits", *options, "--deepfool", 5000)
    assert refused.returncode == 1
    assert "Received: deepfool=5000" in refused.stderr
    result = run("digits", *options, "--epochs", 1)
    assert result.returncode == 0, result.stderr
    # A seed that is added later joins the first.
    result = run("digits", *options, "--epochs", 1, "--seed", 7)
    assert result.returncode == 0, result.stderr
    record = json.loads((tmp_path / "results.json").read_text())
    assert [values["seed"] for values in record["runs"]] == [0, 7]
    assert record["settings"]["seeds"] == [0, 7]


def test_a_seed_repeats_a_run_exactly(quick_run, tmp_path):
    folder, _ = quick_run
    again = run("digits", *QUICK, "--output", tmp_path, "--seeds", 0, 1)
    assert again.returncode == 0, again.stderr
    for head in ("linear", "etf"):
        assert rows_without_times(folder / f"ce-{head}-0") == (
            rows_without_times(tmp_path / f"ce-{head}-0")
        )
    assert rows_without_times(tmp_path / "ce-etf-1") != (
        rows_without_times(tmp_path / "ce-etf-0")
    )
    # Two seeds have a spread.
    assert "±" in again.stdout


def test_ctrl_c_leaves_a_usable_run(tmp_path):
    process = forked.Forked(
        *("-m", "recipes.digits", "--epochs", 500, "--output", tmp_path),
        stderr=subprocess.STDOUT,
        cwd=ROOT,
    )
    written = tmp_path / "ce-linear-0" / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while not (written.exists() and len(written.read_text().splitlines()) > 2):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 130
    assert "ce-linear-0: interrupted at epoch" in output
    assert "Traceback" not in output
    record = json.loads((tmp_path / "results.json").read_text())
    assert record["interrupted"]
    assert [run["head"] for run in record["runs"]] == ["linear"]
    model = keras.models.load_model(tmp_path / "ce-linear-0" / "model.keras")
    assert model.output_shape == (None, 10)
    assert (tmp_path / "curves.png").exists()
    assert (tmp_path / "report.html").exists()


def test_a_loss_that_diverges_is_told_and_ends_no_other(tmp_path):
    result = run(
        "digits", *QUICK, "--heads", "linear", "--losses", "mse", "ce",
        "--learning-rate", 1e30, "--output", tmp_path,
    )  # fmt: skip
    assert result.returncode == 1
    assert "There is no result" in result.stdout
    assert "Traceback" not in result.stderr
    for loss in ("mse", "ce"):
        text = (tmp_path / f"{loss}-linear-0" / "run.json").read_text()
        assert "was not finite in epoch 1" in json.loads(text)["failure"]
        assert f"{loss}-linear-0: stopped" in result.stdout


@pytest.mark.always
def test_compare_every_head_and_loss(tmp_path):
    result = run(
        "compare", "digits", *QUICK[:-3], "--seeds", 0, "--epochs", 2,
        "--output", tmp_path,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    record = json.loads((tmp_path / "results.json").read_text())
    heads = ["linear", "etf", "etf_dim_c", "weight_norm"]
    losses = ["ce", "mse", "rescaled_square"]
    assert [(r["loss"], r["head"]) for r in record["runs"]] == [
        (loss, head) for loss in losses for head in heads
    ]
    for values in record["runs"]:
        narrow = values["head"] == "etf_dim_c"
        assert values["feature_dim"] == (10 if narrow else 16)
        assert values["failure"] is None
    assert "One seed: no spread, no ranking" in " ".join(result.stdout.split())
    assert record["command"].endswith(f"--output {tmp_path}")


FASHION = Path("/usr/share/datasets/fashion-mnist")


def idx(name, skip):
    content = gzip.decompress((FASHION / name).read_bytes())
    return np.frombuffer(content, "uint8", offset=skip)


@pytest.fixture(scope="module")
def fashion_dir(tmp_path_factory):
    """A data directory with the cached form of the real Fashion-MNIST."""
    if not FASHION.exists():
        pytest.skip("Debian's package dataset-fashion-mnist is not installed")
    folder = tmp_path_factory.mktemp("data")
    arrays = {}
    for split, name in (("train", "train"), ("test", "t10k")):
        images = idx(f"{name}-images-idx3-ubyte.gz", 16)
        labels = idx(f"{name}-labels-idx1-ubyte.gz", 8)
        arrays[f"x_{split}"] = images.reshape(-1, 28, 28, 1)
        arrays[f"y_{split}"] = labels.astype("int32")
    dataset = datasets.Dataset("fashion_mnist", 10, **arrays)
    datasets.write_npz(dataset, folder / "fashion_mnist.npz")
    return folder


@pytest.mark.parametrize("network", ["mlp", "resnet18"])
def test_fashion_mnist(fashion_dir, tmp_path, network):
    result = run(
        "fashion_mnist",
        *("--network", network, "--widths", 64 if network == "mlp" else 4),
        *("--per-class", 100, "--epochs", 6, "--test-images", 1000),
        *("--batch-size", 32, "--learning-rate", 0.05, "--measurements", 2),
        *("--data-dir", fashion_dir, "--output", tmp_path),
        *("--heads", "weight_norm", "--loss", "mse", "--deepfool", 0),
    )
    assert result.returncode == 0, result.stderr
    record = json.loads((tmp_path / "results.json").read_text())
    assert record["scale"]["epochs"] == 6
    assert record["scale"]["protocol_epochs"] == 350
    assert record["data"]["per_class"] == 100
    text = " ".join(result.stdout.split())
    assert "Scaled down: 6 epochs a run instead of the 350" in text
    (values,) = record["runs"]
    # Six short epochs on real images are well above chance.
    least = 0.6 if network == "mlp" else 0.25
    assert values["last"]["val_nc_accuracy"] > least
    assert [row["epoch"] for row in values["measured"]] == [1, 6]


def test_a_fraction_scales_the_schedule(tmp_path):
    result = run(
        "digits", *QUICK[2:], "--fraction", 0.015, "--heads", "etf",
        "--output", tmp_path,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    rates = [row["learning_rate"] for row in rows_of(tmp_path / "ce-etf-0")]
    assert rates == pytest.approx([0.01, 1e-3, 1e-4])


@pytest.mark.parametrize(
    "recipe, options, message",
    [
        ("digits", ["--epochs", 0], "Received: epochs=0"),
        ("digits", ["--heads", "lineer"], "Did you mean 'linear'?"),
        ("digits", ["--network", "resnet19"], "Did you mean 'resnet1"),
        ("digits", ["--losses", "mae"], "Received: 'mae'"),
        ("digits", ["--seeds", 1, 1], "each once"),
        ("digits", ["--fraction", 2], "at most 1"),
        ("digits", ["--deepfool", -3], "must not be negative"),
        ("digits", ["--drops", "2.0"], "between 0 and 1"),
        ("digits", ["--threshold", "7"], "`threshold` must be in (0, 1]"),
        ("digits", ["--widths", "0"], "`widths` must be positive"),
        (
            "digits",
            ["--network", "densenet40", "--widths", "5"],
            "densenet40 takes no `widths`",
        ),
        ("digits", ["--batch-size", 5000], "Received: batch_size=5000"),
        ("digits", ["--test-images", 5000], "Received: count=5000"),
        (
            "digits",
            ["--network", "vgg11", "--widths", "4"],
            "needs 32x32 pixels or more",
        ),
        ("digits", ["--per-class", 100000], "Received: per_class=100000"),
        (
            "digits",
            ["--imbalance", "step", "--ratio", 5000],
            "leaves the smallest class none",
        ),
        ("digits", ["--imbalance", "step", "--ratio", 0], "must be 1 or more"),
        (
            "digits",
            ["--output", "README.md/x"],
            "Cannot write to the directory",
        ),
        (
            "digits",
            ["--widths", "8", "4", "--heads", "etf"],
            "at least 9 dimensions",
        ),
        ("fashion_mnist", ["--data-dir", "none"], "prepare_dataset.py"),
    ],
)
def test_wrong_inputs_are_one_message_and_no_traceback(
    recipe, options, message, tmp_path
):
    if "--output" not in options:
        options = [*options, "--output", tmp_path]
    result = run(recipe, *options)
    assert result.returncode not in (0, 130)
    # Messages in a box are broken where its line ends.
    words = (result.stdout + result.stderr).replace("│", " ").split()
    assert message in " ".join(words)
    assert "Traceback" not in result.stderr


def test_help():
    result = run("fashion_mnist", "--help")
    assert result.returncode == 0
    for option in ("--heads", "--loss", "--epochs", "--seed", "--data-dir"):
        assert option in result.stdout


def test_compare_needs_a_data_set():
    result = run("compare", "mnits")
    assert result.returncode == 1
    assert "Did you mean 'mnist'?" in result.stderr
    assert "Recipes: digits, mnist" in run("compare").stderr
