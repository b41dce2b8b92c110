import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from recipes import grid
from recipes.grid import Grid

ROOT = Path(__file__).parents[2]
QUICK = ["--epochs", "1", "--widths", "8", "--progress", "False"]


def run(*options):
    # JAX, imported for the tests, leaves its log level in the environment.
    env = {k: v for k, v in os.environ.items() if not k.startswith("TF_CPP")}
    return subprocess.run(
        [sys.executable, "-m", "recipes.grid", *map(str, options)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=env,
    )


def test_each_pair_has_the_settings_of_its_recipe():
    asked = Grid(("digits", "fashion_mnist_mlp"), ("mlp", "conv_net"))
    pairs = asked.pairs(["--losses", "mse", "--fraction", "0.5"])
    assert list(pairs) == [
        "digits-mlp",
        "digits-conv_net",
        "fashion_mnist_mlp-mlp",
        "fashion_mnist_mlp-conv_net",
    ]
    for name, settings in pairs.items():
        assert settings.losses == ("mse",)
        assert settings.folder == Path("runs", "grid", name)
    first, _, third, last = pairs.values()
    assert (first.epochs, third.epochs) == (100, 60)
    assert (first.dataset, last.dataset) == ("digits", "fashion_mnist")
    # Widths are those of the recipe's own network, and of no other.
    assert third.widths == (512, 512, 512) and last.widths == ()
    assert Grid(("digits",)).pairs([])["digits-conv_net"].epochs == 200


@pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="Ray is not installed"
)
def test_a_grid_on_digits_twice(tmp_path, capsys):
    # VGG has no room on 8x8 pixels, which ends no other trial.
    options = [
        *("--datasets", "digits", "--networks", "vgg11", "mlp"),
        *("--heads", "linear", *QUICK, "--output", tmp_path),
    ]
    result = run(*options)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    assert "digits-vgg11, ce-linear-0: VGG11 with the cifar" in result.stdout
    folder = tmp_path / "digits-mlp"
    assert f"report  {folder / 'report.html'}" in result.stdout
    assert re.search("digits-mlp +ce +linear +1 .* never", result.stdout)
    assert "<svg" in (folder / "report.html").read_text()
    record = json.loads((folder / "results.json").read_text())
    assert [values["epochs"] for values in record["runs"]] == [1]
    assert "recipes.grid --datasets digits" in record["command"]
    before = (folder / "ce-linear-0" / "run.json").stat()
    asked = Grid(("digits",), ("mlp",), tmp_path)
    assert grid.run(asked, asked.pairs(QUICK + ["--heads", "linear"])) == 0
    printed = capsys.readouterr().out
    assert "1 of 1 trials finished before, not trained again" in printed
    assert (folder / "ce-linear-0" / "run.json").stat() == before


@pytest.mark.parametrize(
    "options, message",
    [
        ([], "datasets"),
        (["--datasets", "digitz"], "Did you mean 'digits'?"),
        (["--datasets", "digits", "--networks", "mpl"], "'mlp'?"),
        (["--datasets", "digits", "--network", "mlp"], "has `--networks`"),
        (["--datasets", "digits", "--losses", "mae"], "Received: 'mae'"),
        (["--datasets", "digits", "--eposh", 3], "--eposh"),
        (["--datasets", "digits", "--gpus-per-trial", 2], "in (0, 1]"),
    ],
)
def test_wrong_inputs_are_one_message_and_no_traceback(options, message):
    result = run(*options)
    assert result.returncode not in (0, 130)
    # The messages of tyro are in a box.
    words = (result.stdout + result.stderr).replace("│", " ").split()
    assert message in " ".join(words)
    assert "Traceback" not in result.stderr
