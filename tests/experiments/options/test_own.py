"""Recipes of one's own: a file anywhere, run as people run it."""

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

import nc_keras
from nc_keras.experiments import Settings
from nc_keras.experiments.datasets.loading import prepare
from nc_keras.experiments.options import own
from nc_keras.experiments.options.settings import Run
from nc_keras.experiments.training.losses import build_loss
from nc_keras.experiments.training.networks import build_model
from nc_keras.experiments.training.one_run import own_callbacks
from recipes.compare import compare
from recipes.compare import recipe_of
from recipes.compare import settings_of
from recipes.sweep import sweep
from tests import forked

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "own.md"


def recipe_of_the_page():
    text = PAGE.read_text()
    begin = text.index("```python\n") + len("```python\n")
    return text[begin : text.index("```", begin)]


def python(folder, *words, **popen):
    env = {k: v for k, v in os.environ.items() if not k.startswith("TF_CPP")}
    env["PYTHONPATH"] = str(ROOT)
    options = {"cwd": folder, "env": env, "text": True, **popen}
    command = [sys.executable, *map(str, words)]
    if popen:
        return subprocess.Popen(command, **options)
    if "recipes.sweep" in words:  # Ray imports what runs it.
        return subprocess.run(command, capture_output=True, **options)
    return forked.run(*words, cwd=folder, env=env)


def rows(folder):
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [
        {k: v for k, v in json.loads(line).items() if k != "seconds"}
        for line in lines
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder outside of the repository, with the recipe of the page."""
    folder = tmp_path_factory.mktemp("elsewhere")
    (folder / "my_recipe.py").write_text(recipe_of_the_page())
    return folder


@pytest.fixture(scope="module")
def ran(folder):
    result = python(
        folder, "my_recipe.py", "--epochs", 3, "--progress", "False"
    )
    assert result.returncode == 0, result.stderr
    return folder / "runs" / "my_data-my_network", result


def test_its_names_are_everywhere_and_no_address_is(ran):
    folder, result = ran
    text = " ".join(result.stdout.split())
    for word in ("my_data, my_network, sum_of_squares", "unit", "my_norm"):
        assert word in text
    record = json.loads((folder / "results.json").read_text())
    assert record["command"].endswith("python my_recipe.py --epochs 3 "
                                      "--progress False")  # fmt: skip
    assert record["settings"]["heads"] == ["linear", "unit"]
    assert record["settings"]["losses"] == ["ce", "sum_of_squares"]
    page = (folder / "report.html").read_text()
    assert "my_norm" in page and "my_recipe.MyHead" in page
    for name in ("report.html", "results.json", "settings.json"):
        assert "object at 0x" not in (folder / name).read_text()
    assert {"my_norm", "val_my_norm"} <= rows(folder / "ce-unit-0")[-1].keys()
    assert (folder / "curves.png").exists()


def test_report_and_watch_take_it(ran):
    folder, _ = ran
    report = python(ROOT, "-m", "recipes.report", folder)
    assert report.returncode == 0, report.stderr
    assert "my_norm, test" in report.stdout
    watch = python(ROOT, "-m", "recipes.watch", folder, "--once")
    assert "sum_of_squares-unit-0" in watch.stdout


def test_another_function_under_a_name_is_refused(ran, folder):
    changed = recipe_of_the_page().replace("Dense(32", "Dense(24")
    # What only looks otherwise is the same.
    same = recipe_of_the_page().replace(
        "    features =", "    # of 32 units\n    features ="
    )
    (folder / "my_recipe.py").write_text(same)
    again = python(folder, "my_recipe.py", "--epochs", 3, "--progress", "False")
    assert "ce-unit-0: finished before" in again.stdout
    (folder / "my_recipe.py").write_text(changed)
    try:
        refused = python(
            folder, "my_recipe.py", "--epochs", 3, "--progress", "False"
        )
    finally:
        (folder / "my_recipe.py").write_text(same)
    assert refused.returncode == 1
    assert "network my_network is my_recipe.my_network" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_other_data_are_refused(ran, folder):
    path = folder / "other.py"
    path.write_text(
        "import dataclasses, numpy as np, my_recipe\n"
        "from nc_keras.experiments import main\n"
        "def my_data():\n"
        "    (x, y), test = my_recipe.my_data()\n"
        "    return (x, (y + 1) % 3), test\n"
        "SETTINGS = dataclasses.replace(\n"
        "    my_recipe.SETTINGS, dataset={'other': my_data},\n"
        "    output='runs/my_data-my_network')\n"
        "if __name__ == '__main__':\n"
        "    main(SETTINGS, __doc__)\n"
    )
    refused = python(folder, path, "--epochs", 3)
    assert refused.returncode == 1
    assert "data_digest is" in refused.stderr


def test_a_killed_run_goes_on_as_if_it_had_not_been(folder):
    options = ("--heads", "unit", "--losses", "sum_of_squares")
    options += ("--epochs", 60, "--progress", "False", "--output")
    process = python(
        folder,
        *("my_recipe.py", *options, "killed"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    run = folder / "killed" / "sum_of_squares-unit-0"
    deadline = time.monotonic() + 120
    while not list(run.glob("checkpoints/*")):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    for output in ("killed", "whole"):
        result = python(folder, "my_recipe.py", *options, output)
        assert result.returncode == 0, result.stderr
    assert rows(run) == rows(folder / "whole" / run.name)


def test_compare_takes_a_module_a_file_and_objects_by_name(folder):
    (folder / "more.py").write_text(
        "import keras\n"
        "def wide(input_shape, num_classes, head):\n"
        "    inputs = keras.Input(input_shape)\n"
        "    x = keras.layers.Dense(64, activation='relu')(inputs)\n"
        "    return keras.Model(inputs, head(x))\n"
    )
    for number, recipe in enumerate(("my_recipe", "./my_recipe.py")):
        result = python(
            folder, "-m", "recipes.compare", recipe,
            "--network", "more:wide", "--heads", "unit", "etf_dim_c",
            "--losses", "sum_of_squares", "--seeds", 0, "--epochs", 2,
            "--deepfool", 4, "--progress", "False", "--output", number,
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
        record = json.loads((folder / str(number) / "results.json").read_text())
        assert record["settings"]["network"] == "wide"
        dims = {run["head"]: run["feature_dim"] for run in record["runs"]}
        assert dims == {"unit": 64, "etf_dim_c": 3}
    shown = python(folder, "-m", "recipes.compare", "./my_recipe.py", "--help")
    assert "usage: python -m recipes.compare ./my_recipe.py" in shown.stdout
    assert "sum_of_squares" in shown.stdout
    missing = python(folder, "-m", "recipes.compare", "json")
    assert "json must have `SETTINGS" in missing.stderr


def test_a_sweep_takes_it(folder):
    pytest.importorskip("ray")
    result = python(
        folder, "-m", "recipes.sweep", "./my_recipe.py", "--heads", "unit",
        "--losses", "sum_of_squares", "--epochs", 2, "--rates", 0.01, 0.02,
        "--progress", "False", "--output", "swept",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "python ./my_recipe.py --learning-rate" in result.stdout
    record = json.loads((folder / "swept" / "sweep.json").read_text())
    assert [point["head"] for point in record["points"]] == ["unit", "unit"]


def test_a_folder_of_images(tmp_path):
    draw = np.random.default_rng(0)
    for split, count in (("train", 20), ("test", 6)):
        for number, name in enumerate(("cats", "dogs")):
            (tmp_path / "pets" / split / name).mkdir(parents=True)
            for index in range(count):
                pixels = draw.integers(0, 99, (8, 8)) + 150 * number
                image = Image.fromarray(pixels.astype("uint8"))
                image.save(tmp_path / "pets" / split / name / f"{index}.png")
    (tmp_path / "pets.py").write_text(
        "from nc_keras.experiments import Settings, main\n"
        "SETTINGS = Settings(dataset='pets/', network='mlp', widths=(8,),\n"
        "    epochs=2, batch_size=10, deepfool=4)\n"
        "if __name__ == '__main__':\n"
        "    main(SETTINGS, 'Cats and dogs.')\n"
    )
    result = python(tmp_path, "pets.py", "--progress", "False")
    assert result.returncode == 0, result.stderr
    record = json.loads((tmp_path / "runs/pets-mlp/results.json").read_text())
    assert record["data"]["train"], record["data"]["test"] == (40, 12)
    (tmp_path / "pets" / "train" / "cats" / "3.png").write_bytes(b"no image")
    broken = python(tmp_path, "pets.py", "--progress", "False")
    assert broken.returncode == 1
    assert "cats/3.png cannot be read as an image" in broken.stderr
    assert "Traceback" not in broken.stderr


# What is wrong with objects, and what is said of it.

X, Y = np.zeros((6, 4), "float32"), np.arange(6) % 3
DATA = (X, Y), (X, Y)


def network(input_shape, num_classes, head):
    inputs = keras.Input(input_shape)
    return keras.Model(inputs, head(keras.layers.Dense(5)(inputs)))


def settings(**changes):
    usual = {"dataset": DATA, "network": network, "batch_size": 2}
    return Settings(**usual | changes)


def test_fields_have_names_and_own_has_the_objects():
    one = settings(heads={"linear": "linear", "mine": keras.layers.Dense})
    assert (one.dataset, one.network) == ("own", "network")
    assert one.heads == ("linear", "mine")
    assert one.meant("heads", "mine") is keras.layers.Dense
    assert one.meant("heads", "linear") == "linear"
    assert one.title == "own, network"
    assert "network network" in one.plain()
    again = Settings(**vars(one))
    assert again == one


def test_a_name_for_a_built_in_is_that_one():
    one = settings(losses={"square": "mse"}, heads={"frame": "etf"})
    assert one.rate("square").value == settings(losses="mse").rate("mse").value
    head = build_model(one, "frame", prepare(one)).layers[-1].layers[-1]
    assert isinstance(head, nc_keras.layers.ETFClassifier)
    assert isinstance(build_loss(one, "square", [5] * 3), nc_keras.losses.MSE)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"heads": {"linear": keras.layers.Dense}}, "has 'linear' built in"),
        ({"heads": {"a/b": keras.layers.Dense}}, "part of a folder's"),
        ({"network": lambda *args: None}, "part of a folder's"),
        ({"heads": "lineer"}, "Did you mean 'linear'"),
        ({"heads": "os:no_such"}, "What os has"),
        ({"heads": "no_such_module:head"}, "cannot be imported"),
        ({"heads": "./no_such_module:head"}, "A module has no path"),
        ({"metrics": ["nc11"]}, "`metrics` are tags"),
        ({"callbacks": ["tell"]}, "MODULE:NAME"),
        ({"rates": {"mine": 0.1}}, "`rates` must be one of"),
    ],
)
def test_names_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        settings(**changes)


@pytest.mark.parametrize("name", ["digit", "no.such", "digits.x", "./digits"])
def test_a_recipe_that_is_not_there_is_refused(name):
    with pytest.raises(ValueError, match="The recipe must be one of digits"):
        recipe_of(name)


@pytest.mark.parametrize("command", [compare, sweep])
def test_help_is_no_error(command, capsys):
    command(["--help"])
    assert "Recipes: digits, mnist" in capsys.readouterr().out


def no_model(input_shape, num_classes, head):
    return head


def headless(input_shape, num_classes, head):
    inputs = keras.Input(input_shape)
    return keras.Model(inputs, keras.layers.Dense(num_classes)(inputs))


def bent(input_shape, num_classes, head):
    inputs = keras.Input(input_shape)
    return keras.Model(inputs, keras.layers.Softmax()(head(inputs)))


def too_many(num_classes):
    return keras.layers.Dense(num_classes + 1)


def not_measurable(num_classes):
    return keras.layers.Conv1D(num_classes, 3)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"network": no_model}, "must return a keras.Model. Received: Dense"),
        ({"network": headless}, "ends with the head that it is given"),
        ({"network": bent}, "ends with the head that it is given"),
        ({"heads": {"it": too_many}}, "must have 3 outputs"),
        ({"heads": {"it": lambda c: "linear"}}, "must be a Keras layer"),
        ({"heads": {"it": keras.layers.ReLU()}}, "must have 3 outputs"),
    ],
)
def test_networks_and_heads_that_are_none(changes, message):
    one = settings(**{"heads": "linear", **changes})
    with pytest.raises(ValueError, match=message):
        build_model(one, one.heads[0], prepare(one))


def test_a_head_object_is_another_one_in_each_run():
    one = settings(heads={"mine": keras.layers.Dense(3, name="mine")})
    data = prepare(one)
    first, second = (build_model(one, "mine", data) for _ in range(2))
    assert first.layers[-1].layers[-1] is not second.layers[-1].layers[-1]


def test_losses_and_callbacks_that_are_none():
    with pytest.raises(ValueError, match="must be a keras.losses.Loss"):
        build_loss(settings(losses={"it": lambda c: 3}), "it", [5] * 3)
    one = settings(callbacks={"it": lambda run, folder: run})
    with pytest.raises(ValueError, match="Received: Run"):
        own_callbacks(one, Run("ce", "linear", 0), ROOT)
    made = settings(callbacks=[keras.callbacks.TerminateOnNaN])
    assert made.callbacks == ("TerminateOnNaN",)


def test_identity_tells_functions_apart_and_has_no_address():
    def of(factor):
        return lambda x: factor * x

    first, again, other = map(own.identity, (of(2), of(2), of(3)))
    assert first == again != other
    assert own.identity(keras.layers.Dense(3)) != own.identity(
        keras.layers.Dense(4)
    )
    for one in (first, own.identity(keras.losses.Hinge())):
        assert "0x" not in one


def test_comparisons_have_own_heads_and_losses_too(tmp_path, monkeypatch):
    (tmp_path / "tiny_recipe.py").write_text(
        "from nc_keras.experiments import Settings\n"
        "SETTINGS = Settings('digits', losses={'square': 'mse'})\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    one = settings_of("tiny_recipe")
    assert one.losses == ("ce", "mse", "rescaled_square", "square")
