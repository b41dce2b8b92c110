import importlib.util
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import nc_keras
from nc_keras.experiments import datasets
from nc_keras.experiments.datasets.devices import shares
from tests.helpers import rows_of
from tests.helpers import rows_without_times

ROOT = Path(__file__).parents[3]
# 1,347 images in batches of 64: the last has 3, which two cannot share.
OPTIONS = "--epochs 3 --network mlp --widths 32 16 --heads linear".split()
OPTIONS += "--deepfool 5 --progress False --learning-rate 0.05".split()
needs_jax = pytest.mark.skipif(
    importlib.util.find_spec("jax") is None, reason="jax is not installed"
)
# Starts a module with two logical processors in TensorFlow.
TWO_PROCESSORS = """
import runpy, sys
import tensorflow as tf
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0],
    [tf.config.LogicalDeviceConfiguration()] * 2,
)
sys.argv = sys.argv[1:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


def start(output, *options, environment=None, program=("-m",)):
    env = {k: v for k, v in os.environ.items() if not k.startswith("TF_CPP")}
    return subprocess.Popen(
        [sys.executable, *program, "recipes.digits", *OPTIONS]
        + ["--output", str(output), *options],
        cwd=ROOT,
        env=env | {"PYTHONPATH": str(ROOT)} | (environment or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(*processes):
    try:
        outputs = [process.communicate(timeout=120)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    codes = [process.returncode for process in processes]
    assert codes == [0] * len(codes), outputs
    return outputs


def rows(folder):
    return rows_without_times(folder / "ce-linear-0")


def assert_same_curves(folder, expected, tolerance=1e-6):
    actual, expected = rows(folder), rows(expected)
    assert len(actual) == len(expected) == 3
    for one, other in zip(actual, expected, strict=True):
        assert one == pytest.approx(other, rel=tolerance, abs=1e-9)


JAX = {"KERAS_BACKEND": "jax"}


@pytest.fixture(scope="module")
def one_device(tmp_path_factory):
    folder = tmp_path_factory.mktemp("one")
    finish(start(folder, environment=JAX))
    return folder


@needs_jax
def test_two_devices_of_one_process_are_one_device(one_device, tmp_path):
    flag = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    finish(start(tmp_path, "--devices", "2", environment=JAX | flag))
    assert_same_curves(tmp_path, one_device)


def by_keras(process, port):
    return {
        "KERAS_DISTRIBUTION_JOB_ADDRESSES": f"127.0.0.1:{port}",
        "KERAS_DISTRIBUTION_NUM_PROCESSES": "2",
        "KERAS_DISTRIBUTION_PROCESS_ID": str(process),
    }


def by_slurm(process, port):
    # JAX makes a port of the number of the job.
    return {
        "SLURM_JOB_ID": str(port),
        "SLURM_NTASKS": "2",
        "SLURM_PROCID": str(process),
        "SLURM_LOCALID": str(process),
        "SLURM_STEP_NODELIST": "127.0.0.1",
    }


@needs_jax
@pytest.mark.parametrize("variables", [by_keras, by_slurm])
def test_two_processes_are_one_device(one_device, tmp_path, variables):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    first, second = finish(
        *(
            start(tmp_path, environment=JAX | variables(process, port))
            for process in range(2)
        )
    )
    assert_same_curves(tmp_path, one_device)
    # One of them writes, and one tells.
    assert "report" in first and "report" not in second
    folder = tmp_path / "ce-linear-0"
    assert len(list(folder.glob("nc_train/events*"))) == 1
    robustness = [
        [row["deepfool"] for row in rows_of(run, "robustness.jsonl")]
        for run in (folder, one_device / "ce-linear-0")
    ]
    assert robustness[0] == pytest.approx(robustness[1], rel=1e-4)


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="TensorFlow's own"
)
def test_mirrored_measures_what_one_device_measures(tmp_path):
    options = ["--devices", "2", "--deepfool", "0"]
    finish(start(tmp_path, *options, program=["-c", TWO_PROCESSORS]))
    last = rows(tmp_path)[-1]
    digits = datasets.digits()
    model = keras.models.load_model(tmp_path / "ce-linear-0" / "model.keras")
    measured = nc_keras.measure(model, digits.x_train, digits.y_train)
    last["accuracy"] = last["nc_accuracy"]
    assert measured == pytest.approx(
        {tag: last[tag] for tag in measured}, rel=1e-6
    )


MIRRORED = """
import json, sys
import keras, tensorflow as tf
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0],
    [tf.config.LogicalDeviceConfiguration()] * 2,
)
import nc_keras
from nc_keras.experiments import datasets
from nc_keras.experiments.datasets import devices

import numpy as np
digits, curves = datasets.digits(), []
digits = digits.select(np.arange(int(sys.argv[1])))
for count in (1, 2):
    shared_by = devices.claim(count, 64)
    keras.utils.set_random_seed(0)
    with shared_by.scope():
        # Without BatchNorm, which has each device's own statistics.
        model = keras.Sequential([
            keras.Input((8, 8, 1)), keras.layers.Rescaling(1 / 16),
            keras.layers.Flatten(), keras.layers.Dense(16, "relu"),
            keras.layers.Dense(10),
        ])
        model.compile(
            nc_keras.optimizers.SGD(0.1, 0.9, 1e-3),
            loss=nc_keras.losses.CE(), metrics=["accuracy"],
        )
    history = model.fit(
        **digits.fit_data(64, 0, 0, shared_by), epochs=3, verbose=0
    )
    curves.append([
        history.history["loss"], history.history["accuracy"],
        [float(abs(w.numpy()).sum()) for w in model.trainable_weights],
    ])
print(json.dumps(curves))
"""


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="TensorFlow's own"
)
# Of a batch of 3 images, the loss is logged with weights of 2 to 1.
@pytest.mark.parametrize("images, tolerance", [(1344, 1e-5), (1347, 5e-3)])
def test_mirrored_trains_as_one_device(images, tolerance):
    result = subprocess.run(
        [sys.executable, "-c", MIRRORED, str(images)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    one, two = json.loads(result.stdout.splitlines()[-1])
    np.testing.assert_allclose(two[0], one[0], rtol=tolerance)
    np.testing.assert_allclose(two[1], one[1], rtol=1e-6)
    np.testing.assert_allclose(two[2], one[2], rtol=1e-4)


def test_shares_weigh_as_the_whole_batch():
    batches = [np.arange(8), np.arange(7), np.arange(1)]
    losses = np.random.default_rng(0).random(8)
    parts = list(shares(iter(batches), 3))
    assert len(parts) == 9
    for i, batch in enumerate(batches):
        replicas = parts[3 * i : 3 * i + 3]
        mean = np.mean([np.mean(w * losses[rows]) for rows, w in replicas])
        assert mean == pytest.approx(losses[batch].mean())


@pytest.mark.parametrize(
    "options, environment, message",
    [
        (["--devices", "2"], {}, "There are 1 devices: "),
        (["--devices", "3"], {}, "cannot share a batch of 64 images evenly"),
        (["--devices", "0"], {}, "`devices` must be positive"),
        ([], {"KERAS_DISTRIBUTION_NUM_PROCESSES": "2"}, "KERAS_BACKEND=jax"),
    ],
)
def test_wrong_devices(tmp_path, options, environment, message):
    process = start(tmp_path, *options, environment=environment)
    output, _ = process.communicate(timeout=120)
    assert process.returncode in (1, 2)
    assert message in output
    assert "Traceback" not in output
