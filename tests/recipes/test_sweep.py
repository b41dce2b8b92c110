import contextlib
import dataclasses
import importlib.util
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tyro
from PIL import Image

from nc_keras.experiments.datasets import load
from nc_keras.experiments.options.cluster import Cluster
from nc_keras.experiments.options.settings import Settings
from nc_keras.experiments.trials import rates
from nc_keras.experiments.trials import sweep_report
from nc_keras.experiments.trials.pool import run_trials
from nc_keras.experiments.trials.trial import Trial
from recipes.digits import SETTINGS
from recipes.sweep import Sweep
from recipes.sweep import best_command

ROOT = Path(__file__).parents[2]
QUICK = ["--epochs", "2", "--widths", "4", "8", "--measurements", "2"]
QUICK += ["--progress", "False"]

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="Ray is not installed"
)


def start(*words):
    # JAX, imported for the tests, leaves its log level in the environment.
    env = {k: v for k, v in os.environ.items() if not k.startswith("TF_CPP")}
    return subprocess.Popen(
        [sys.executable, "-m", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=env,
    )


def run(*words):
    process = start(*words)
    try:
        output, errors = process.communicate(timeout=300)
    finally:
        process.kill()
    return process.returncode, output, errors


def write(folder, rate, accuracies, seed=0, head="linear", **facts):
    """A run as it is on disk, with a test accuracy at each epoch."""
    path = folder / f"rate-{rate:g}" / f"ce-{head}-{seed}"
    path.mkdir(parents=True)
    (path.parent / "settings.json").write_text("{}")
    record = {"loss": "ce", "head": head, "seed": seed, "finished": True}
    (path / "run.json").write_text(json.dumps(record | facts))
    rows = [
        {
            "epoch": epoch,
            "seconds": 1.0,
            "loss": facts.get("loss_at_end", 0.1),
            "nc1": 0.5,
            "nc_accuracy": facts.get("train", 1.0),
            "val_nc_accuracy": accuracy,
            "terminal_phase": True,
        }
        for epoch, accuracy in enumerate(accuracies, 1)
    ]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (path / "metrics.jsonl").write_text(lines)


def chosen(folder):
    points = rates.points(SETTINGS, folder, [], {})
    return [(p.head, p.rate) for p in rates.best_points(points)]


def test_the_last_epoch_decides_not_the_best(tmp_path):
    write(tmp_path, 0.01, [0.99, 0.90])
    write(tmp_path, 0.1, [0.80, 0.91])
    assert chosen(tmp_path) == [("linear", 0.1)]


def test_equal_test_errors_are_told_apart(tmp_path):
    write(tmp_path, 0.01, [0.9], train=0.99, loss_at_end=0.1)
    write(tmp_path, 0.02, [0.9], train=1.0, loss_at_end=0.3)
    write(tmp_path, 0.03, [0.9], train=1.0, loss_at_end=0.2)
    write(tmp_path, 0.04, [0.9], train=1.0, loss_at_end=0.2)
    assert chosen(tmp_path) == [("linear", 0.03)]
    points = rates.points(SETTINGS, tmp_path, [], {})
    assert "3 other rates have too" in sweep_report._sentence(points[2], points)


def test_what_came_to_no_good_end_is_left_out(tmp_path):
    write(tmp_path, 0.01, [0.8])
    write(tmp_path, 0.1, [0.9], failure="the loss was not finite in epoch 2")
    write(tmp_path, 0.2, [0.95], finished=False)
    assert chosen(tmp_path) == [("linear", 0.01)]
    points = rates.points(SETTINGS, tmp_path, [], {})
    assert [point.state for point in points] == [
        "finished",
        "the loss was not finite in epoch 2",
        "interrupted at epoch 2",
    ]
    assert [point.test_error is None for point in points] == [
        *(False, True, True)
    ]


def test_trials_of_which_nothing_is_on_disk(tmp_path):
    made = rates.claim(SETTINGS, tmp_path, [0.01, 0.1], load("digits"))
    trials = [trial for trial in made if trial.run.head == "linear"]
    errors = {trials[0].folder: "no room. Received: 8"}
    points = rates.points(SETTINGS, tmp_path, trials, errors)
    assert [point.state for point in points] == ["failed", "not started"]
    assert points[0].states == ("failed: no room. Received: 8",)
    assert rates.best_points(points) == []


def test_the_mean_over_the_seeds_for_each_head(tmp_path):
    write(tmp_path, 0.01, [0.90], seed=0)
    write(tmp_path, 0.01, [0.90], seed=1)
    write(tmp_path, 0.1, [0.99], seed=0)
    write(tmp_path, 0.1, [0.70], seed=1)
    # One seed is not compared with two, and one that failed spoils a rate.
    write(tmp_path, 0.2, [0.98], seed=0)
    write(tmp_path, 0.25, [0.98], seed=0)
    write(tmp_path, 0.25, [0.98], seed=1, failure="not finite")
    write(tmp_path, 0.1, [0.95], head="etf")
    write(tmp_path, 0.2, [0.94], head="etf")
    assert chosen(tmp_path) == [("linear", 0.01), ("etf", 0.1)]
    points = rates.points(SETTINGS, tmp_path, [], {})
    assert points[-3].state == "1 finished, 1 not finite"
    spread = points[1].test_error
    assert spread.mean == pytest.approx(0.155) and spread.n == 2


def test_table_plot_and_record_of_several_heads(tmp_path, capsys):
    for rate, accuracy in ((0.001, 0.5), (0.01, 0.9), (0.1, 0.92)):
        for seed in (0, 1):
            here = accuracy + seed / 100
            write(tmp_path, rate, [here], seed)
            write(tmp_path, rate, [here - 0.2], seed, "etf", train=0.8)
    write(tmp_path, 0.25, [0.3], failure="the loss was not finite in epoch 1")
    points = rates.points(SETTINGS, tmp_path, [], {})
    best = rates.best_points(points)
    commands = {point.key: f"command of {point.head}" for point in best}
    sweep_report.report(tmp_path, SETTINGS, points, commands, interrupted=True)
    printed = capsys.readouterr().out
    assert "7.50 ± 0.71" in printed and "2 finished" in printed
    assert "the papers' rule" in printed and "goes on" in printed
    assert "command of linear" in printed and "command of etf" in printed
    assert "it is at the end of the rates" in printed
    record = json.loads((tmp_path / "sweep.json").read_text())
    assert [b["rate"] for b in record["best"]] == [0.1, 0.1]
    assert record["interrupted"] and len(record["points"]) == 7
    image = Image.open(tmp_path / "sweep.png").convert("RGB")
    pixels = np.asarray(image).reshape(-1, 3).astype(int)
    for color in ((0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)):
        # The legend alone has some fifty.
        assert (abs(pixels - color).sum(1) < 60).sum() > 500


def test_the_papers_rates():
    found = Sweep(SETTINGS).all_rates
    assert len(found) == 25 and found[0] == 1e-4 and found[-1] == 0.25
    assert found[20] == 0.06786044 and found[16] == 0.01842016
    assert Sweep(SETTINGS, rates=(0.2, 0.1, 0.2)).all_rates == [0.1, 0.2]
    assert Sweep(SETTINGS, count=3, low=0.01, high=1.0).all_rates == [
        *(0.01, 0.1, 1.0)
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"fraction": 0.3, "per_class": 20, "weight_decay": 0.0},
        {"network": "mlp", "widths": (), "drops": (0.5,)},
    ],
)
def test_the_best_command_means_the_settings_of_the_sweep(tmp_path, changes):
    given = dataclasses.replace(
        SETTINGS, heads=("linear", "etf"), deepfool=0, **changes
    )
    write(tmp_path, 0.0184202, [0.9], seed=3)
    write(tmp_path, 0.0184202, [0.9], seed=4)
    (point,) = rates.points(given, tmp_path, [], {})
    words = best_command("digits", SETTINGS, given, point, tmp_path)
    python, _, module, *options = shlex.split(words)
    assert (python, module) == ("python", "recipes.digits")
    assert tyro.cli(
        Settings, default=SETTINGS, args=options
    ) == dataclasses.replace(
        given,
        heads=("linear",),
        seeds=(3, 4),
        learning_rate=0.0184202,
        output=tmp_path / "best-ce-linear",
    )


def state(folder):
    """What would change if a run were trained again."""
    return {
        name: ((folder / name).stat().st_mtime_ns, (folder / name).read_bytes())
        for name in ("run.json", "metrics.jsonl", "model.keras")
    }


@pytest.mark.always
@needs_ray
def test_killed_and_started_again_with_a_rate_that_diverges(tmp_path):
    words = [
        *("recipes.sweep", "digits", *QUICK, "--output", tmp_path),
        *("--rates", 0.02, 0.1, 1e30),
        # One after the other.
        *("--cpus-per-trial", os.cpu_count()),
    ]
    killed = start(*words)
    first = tmp_path / "rate-0.02" / "ce-linear-0"
    deadline = time.monotonic() + 240
    while '"finished": true' not in _text(first / "run.json"):
        assert time.monotonic() < deadline and killed.poll() is None
        time.sleep(0.05)
    before = state(first)
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    # A second sweep beside it would be refused: the lock has gone with it.
    status, output, errors = run(*words)
    assert status == 0, errors
    assert "finished before, not trained again" in output
    assert errors == "" and "Trial" not in output
    assert state(first) == before
    diverged = tmp_path / "rate-1e+30" / "ce-linear-0" / "run.json"
    assert "not finite in epoch 1" in json.loads(_text(diverged))["failure"]
    record = json.loads((tmp_path / "sweep.json").read_text())
    assert [p["states"]["0"] for p in record["points"]] == [
        *("finished", "finished", "the loss was not finite in epoch 1")
    ]
    (best,) = record["best"]
    assert best["command"] in output
    assert best["rate"] in (0.02, 0.1)
    _check_best(best, tmp_path)


def _check_best(best, folder):
    """What is printed as the best recipe runs, and comes to the same."""
    backend, python, _, *words = shlex.split(best["command"])
    assert backend.startswith("KERAS_BACKEND=") and python == "python"
    status, _, errors = run(*words, "--progress", "False")
    assert status == 0, errors
    path = folder / "best-ce-linear" / "results.json"
    (result,) = json.loads(path.read_text())["runs"]
    # Another number of threads adds up in another order.
    assert result["last"]["val_nc_accuracy"] == pytest.approx(
        1 - best["test_error"], abs=0.01
    )
    assert result["last"]["nc1"] == pytest.approx(best["nc1"], rel=0.01)


def test_a_trial_has_one_device(tmp_path):
    settings = dataclasses.replace(SETTINGS, devices=2, output=tmp_path)
    trial = Trial("", settings, settings.runs[0])
    with pytest.raises(ValueError, match="Received: devices=2"):
        run_trials([trial], tmp_path, Cluster())


def _text(path):
    return path.read_text() if path.exists() else ""


@needs_ray
def test_a_cluster_that_is_not_there(tmp_path):
    begin = time.monotonic()
    status, _, errors = run(
        *("recipes.sweep", "digits", *QUICK, "--output", tmp_path),
        *("--address", "127.0.0.1:1"),
    )
    assert status == 1
    assert errors.startswith("error: ") and errors.count("\n") == 1
    assert "Received: address='127.0.0.1:1'" in errors
    # Ray alone tries for over a minute.
    assert time.monotonic() - begin < 45


# A cluster with one GPU that nobody looks at, until its input is closed.
CLUSTER = """
from ray.cluster_utils import Cluster
args = {"num_cpus": 2, "num_gpus": 1, "object_store_memory": 100_000_000}
cluster = Cluster(initialize_head=True, head_node_args=args)
print(cluster.address, flush=True)
input()
"""


# One of two machines, of which a line of input takes the second away.
MACHINES = """
from ray.cluster_utils import Cluster
args = {"num_cpus": 1, "object_store_memory": 100_000_000}
cluster = Cluster(initialize_head=True, head_node_args=args)
second = cluster.add_node(**args)
print(cluster.address, flush=True)
input()
cluster.remove_node(second, allow_graceful=False)
input()
"""


@contextlib.contextmanager
def ray_cluster(script):
    """The process of a cluster, and its address."""
    with subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | {"RAY_USAGE_STATS_ENABLED": "0"},
    ) as process:
        lines = iter(process.stdout.readline, "")
        yield process, next(line.strip() for line in lines if ":" in line)


@pytest.fixture
def cluster():
    with ray_cluster(CLUSTER) as (_, address):
        yield address


@needs_ray
def test_a_machine_is_lost_and_its_trial_goes_on_elsewhere(tmp_path):
    rates = (0.02, 0.05)
    logs = [
        tmp_path / f"rate-{rate}" / "ce-linear-0" / "metrics.jsonl"
        for rate in rates
    ]
    with ray_cluster(MACHINES) as (machines, address):
        sweep = start(
            *("recipes.sweep", "digits", *QUICK, "--output", tmp_path),
            *("--rates", *rates, "--epochs", 300, "--address", address),
        )
        deadline = time.monotonic() + 240
        while not all(_text(log).count("\n") > 5 for log in logs):
            assert time.monotonic() < deadline and sweep.poll() is None
            time.sleep(0.05)
        machines.stdin.write("\n")
        machines.stdin.flush()
        output, errors = sweep.communicate(timeout=300)
    assert sweep.returncode == 0, errors
    assert output.count("goes on from its checkpoint") == 1
    for log in logs:
        epochs = [json.loads(line)["epoch"] for line in _text(log).splitlines()]
        assert epochs == list(range(1, 301))


@needs_ray
@pytest.mark.parametrize(
    "share, at_once",
    [
        (0.5, True),
        pytest.param(0.6, False, marks=pytest.mark.exhaustive),
    ],
)
def test_trials_share_a_gpu_of_a_cluster(tmp_path, cluster, share, at_once):
    status, output, errors = run(
        *("recipes.sweep", "digits", *QUICK, "--output", tmp_path),
        *("--rates", 0.05, 0.1, "--epochs", 20, "--address", cluster),
        *("--gpus-per-trial", share),
    )
    assert status == 0, errors
    times = []
    for folder in tmp_path.glob("rate-*/ce-linear-0"):
        (events,) = folder.glob("nc_train/events*")
        begin = int(events.name.split(".")[3])
        times.append((begin, (folder / "run.json").stat().st_mtime))
    (_, end), (begin, _) = sorted(times)
    assert (begin < end - 1) == at_once


@pytest.mark.parametrize(
    "options, message",
    [
        (["mnits"], "Did you mean 'mnist'?"),
        (["digits", "--heads", "lineer"], "Did you mean 'linear'?"),
        (["digits", "--gpus-per-trial", 1.5], "in (0, 1]. Received: gpus"),
        (["digits", "--gpus-per-trial", 0], "Received: gpus_per_trial=0.0"),
        (["digits", "--cpus-per-trial", 0], "Received: cpus_per_trial=0"),
        (["digits", "--rates", 0.1, "nan"], "positive and finite"),
        (["digits", "--count", 0], "Received: count=0"),
        (["digits", "--low", 0.3], "Received: low=0.3, high=0.25"),
        (["digits", "--learning-rate", 0.1], "--learning-rate"),
        (["digits", "--epochs", 0], "Received: epochs=0"),
        (["digits", "--address", "nowhere"], "HOST:PORT"),
    ],
)
def test_wrong_inputs_are_one_message_and_no_traceback(options, message):
    status, output, errors = run("recipes.sweep", *options)
    assert status not in (0, 130)
    # The messages of tyro are in a box.
    words = (output + errors).replace("│", " ").split()
    assert message in " ".join(words)
    assert "Traceback" not in errors
