import gzip
import json
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
from recipes import datasets
from recipes import digits as digits_recipe
from recipes import fashion_mnist as fashion_recipe
from recipes.settings import Settings

ROOT = Path(__file__).parents[2]
QUICK = ["--epochs", "3", "--widths", "8", "16", "--progress", "False"]


def command(recipe, *options):
    return [sys.executable, "-m", f"recipes.{recipe}", *map(str, options)]


def run(recipe, *options):
    # JAX, imported for the tests, leaves its log level in the environment.
    env = {k: v for k, v in os.environ.items() if not k.startswith("TF_CPP")}
    return subprocess.run(
        command(recipe, *options),
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=env,
    )


def rows_without_times(folder):
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [
        {k: v for k, v in json.loads(line).items() if k != "seconds"}
        for line in lines
    ]


@pytest.fixture(scope="module")
def quick_run(tmp_path_factory):
    """One short run of the digits recipe."""
    folder = tmp_path_factory.mktemp("digits")
    result = run("digits", *QUICK, "--output", folder)
    assert result.returncode == 0, result.stderr
    return folder, result


def test_table_plot_record_and_events(quick_run):
    folder, result = quick_run
    assert result.stderr == ""
    for text in (
        "linear head",
        "etf head",
        "epoch of zero error",
        "NC1",
        "test accuracy",
        f"tensorboard --logdir {folder}",
    ):
        assert text in result.stdout
    record = json.loads((folder / "results.json").read_text())
    assert record["settings"]["epochs"] == 3
    assert not record["interrupted"]
    assert set(record["heads"]) == {"linear", "etf"}
    for head, values in record["heads"].items():
        assert values["epochs"] == 3
        assert values["last"] == {
            **rows_without_times(folder / head)[-1],
            "seconds": values["seconds"],
        }
        assert (folder / head / "model.keras").exists()
        assert list((folder / head / "train").glob("events.*"))
        assert list((folder / head / "validation").glob("events.*"))
    linear, etf = (record["heads"][h] for h in ("linear", "etf"))
    # The learned head has 16 x 10 weights and 10 biases more.
    difference = linear["trainable_parameters"] - etf["trainable_parameters"]
    assert difference == 170
    assert etf["last"]["nc2_max_angle_weights"] < 1e-6
    assert linear["last"]["nc2_max_angle_weights"] > 1e-3
    image = Image.open(folder / "curves.png")
    assert min(image.size) > 500
    assert len(np.unique(np.asarray(image).reshape(-1, 4), axis=0)) > 20


def test_a_seed_repeats_a_run_exactly(quick_run, tmp_path):
    folder, _ = quick_run
    again = run("digits", *QUICK, "--output", tmp_path)
    assert again.returncode == 0, again.stderr
    other = run(
        "digits", *QUICK, "--seed", 1, "--heads", "etf", "--output",
        tmp_path / "other",
    )  # fmt: skip
    assert other.returncode == 0, other.stderr
    for head in ("linear", "etf"):
        assert rows_without_times(folder / head) == rows_without_times(
            tmp_path / head
        )
    assert rows_without_times(tmp_path / "other" / "etf") != (
        rows_without_times(tmp_path / "etf")
    )


def test_ctrl_c_leaves_a_usable_run(tmp_path):
    process = subprocess.Popen(
        command("digits", "--epochs", 500, "--output", tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
    )
    rows = tmp_path / "linear" / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while not (rows.exists() and len(rows.read_text().splitlines()) > 2):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "linear head: interrupted at epoch" in output
    assert "Traceback" not in output
    record = json.loads((tmp_path / "results.json").read_text())
    assert record["interrupted"]
    assert list(record["heads"]) == ["linear"]
    model = keras.models.load_model(tmp_path / "linear" / "model.keras")
    assert model.output_shape == (None, 10)
    assert (tmp_path / "curves.png").exists()


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


def test_fashion_mnist(fashion_dir, tmp_path):
    result = run(
        "fashion_mnist",
        *("--per-class", 100, "--epochs", 6, "--widths", 64),
        *("--batch-size", 32, "--learning-rate", 0.05),
        *("--data-dir", fashion_dir, "--output", tmp_path),
        *("--heads", "linear", "weight_norm", "--loss", "mse"),
    )
    assert result.returncode == 0, result.stderr
    record = json.loads((tmp_path / "results.json").read_text())
    assert set(record["heads"]) == {"linear", "weight_norm"}
    # Six short epochs on real images are well above chance on all 10,000.
    for values in record["heads"].values():
        assert values["last"]["val_nc_accuracy"] > 0.6


@pytest.mark.parametrize(
    "recipe, options, message",
    [
        ("digits", ["--epochs", 0], "Received: epochs=0"),
        ("digits", ["--heads", "lineer"], "linear"),
        ("digits", ["--per-class", 100000], "Received: per_class=100000"),
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
    assert message in result.stdout + result.stderr
    assert "Traceback" not in result.stderr


def test_help():
    result = run("fashion_mnist", "--help")
    assert result.returncode == 0
    for option in ("--heads", "--loss", "--epochs", "--seed", "--data-dir"):
        assert option in result.stdout


def test_the_schedule_drops_by_ten_at_thirds():
    settings = Settings("digits", epochs=350, learning_rate=1.0)
    rates = [settings.learning_rate_at(epoch) for epoch in range(350)]
    assert rates[115:117] == pytest.approx([1.0, 0.1])
    assert rates[232:234] == pytest.approx([0.1, 0.01])
    assert len(set(rates)) == 3


def test_recipes_state_their_settings():
    assert digits_recipe.SETTINGS.heads == ("linear", "etf")
    assert str(digits_recipe.SETTINGS.folder) == "runs/digits-conv_net-ce"
    assert fashion_recipe.SETTINGS.widths == (512, 512, 512)
