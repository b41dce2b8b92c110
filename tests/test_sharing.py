"""Measurements that devices and processes share are those of one device."""

import json
import os
import pathlib
import socket
import subprocess
import sys
import types

import keras
import numpy as np
import pytest

import nc_keras
from nc_keras.metrics import centered_sums
from nc_keras.metrics import collapse_metrics

HERE = pathlib.Path(__file__).parent / "sharing"
sys.path.append(str(HERE))
from shared import data  # noqa: E402
from shared import network  # noqa: E402

BACKEND = keras.backend.backend()
TWO_DEVICES = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}


def start(script, *arguments, **environment):
    path = os.pathsep.join([str(HERE.parents[1]), str(HERE)])
    return subprocess.Popen(
        [sys.executable, str(HERE / script), *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": path} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def results(*processes):
    try:
        outputs = [process.communicate(timeout=240) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert not any(p.returncode for p in processes), outputs
    return [json.loads(output.splitlines()[-1]) for output, _ in outputs]


def assert_same(values, expected, rtol=1e-6):
    for tag, value in values.items():
        tag = tag.removeprefix("running_")
        np.testing.assert_allclose(
            value, expected[tag], rtol=rtol, atol=1e-9, err_msg=tag
        )


@pytest.mark.parametrize("replicas", [1, 2])
def test_replicas_need_variables_of_their_own(replicas):
    class Variable:
        value = types.SimpleNamespace(values=(0.0,) * replicas)

    if replicas == 1:
        return centered_sums._refuse_lost_replicas(Variable)
    with pytest.raises(ValueError, match="Keras 3.10 or newer.*2 replicas"):
        centered_sums._refuse_lost_replicas(Variable)
    Variable.synchronization = "on_read"
    centered_sums._refuse_lost_replicas(Variable)


@pytest.mark.skipif(BACKEND == "torch", reason="Keras has no replicas there")
@pytest.mark.skipif(
    BACKEND == "tensorflow"
    and tuple(map(int, keras.__version__.split(".")[:2])) < (3, 10),
    reason="metrics of several replicas are refused",
)
@pytest.mark.parametrize("size", [99, 128])
def test_two_replicas_are_one_device(size):
    # 1,797 examples: batches of 99 are not even, nor is the last one.
    (values,) = results(
        start("replicas.py", size, KERAS_BACKEND=BACKEND, **TWO_DEVICES)
    )
    x, y = data()
    model = network()
    assert ([64, 64] == values["shares"][:2]) == (size == 128)
    assert_same(values["measure"], nc_keras.measure(model, x, y))
    expected = nc_keras.measure(model, x[:1792], y[:1792])
    model.compile(loss=nc_keras.losses.CE())
    loss = model.evaluate(x[:1792], y[:1792], verbose=0)
    np.testing.assert_allclose(values["loss"], loss, rtol=1e-6)
    assert len(values["running"]) == 2 * len(values["metric"]) == 14
    assert_same(values["running"], expected, 1e-5)
    assert_same(values["metric"], expected, 1e-5)
    assert len(values["evaluated"]) == 14
    assert_same(values["evaluated"], expected, 1e-5)


@pytest.mark.skipif(BACKEND != "jax", reason="processes share it on JAX")
@pytest.mark.parametrize("first", [500, 1797])
def test_two_processes_measure_what_one_does(first):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    shared = {
        "KERAS_BACKEND": "jax",
        "KERAS_DISTRIBUTION_JOB_ADDRESSES": f"127.0.0.1:{port}",
        "KERAS_DISTRIBUTION_NUM_PROCESSES": "2",
    }
    one, other = results(
        *(
            start(
                "process.py",
                process,
                first,
                KERAS_DISTRIBUTION_PROCESS_ID=str(process),
                **shared,
            )
            for process in range(2)
        )
    )
    assert "label 11" in one.pop("error")
    assert "error in process 0" in other.pop("error")
    assert one == other
    x, y = data()
    model = network()
    expected = nc_keras.measure(model, x, y)
    model.compile(loss=nc_keras.losses.CE())
    loss = model.evaluate(x, y, verbose=0)
    np.testing.assert_allclose(one["loss"], loss, rtol=1e-6)
    assert_same(one["kept"], expected)
    assert_same(one["streamed"], expected)
    means = np.eye(10, 32)
    assert_same(one["test"], nc_keras.measure(model, x, y, train_means=means))


def test_features_in_memory_are_measured_alike():
    x, y = data()
    model = network()
    features = np.maximum(x @ model.weights[0] + model.weights[1], 0)
    kernel, bias = (np.asarray(w) for w in model.layers[-1].get_weights())
    expected = collapse_metrics(features, y, kernel, bias)
    assert_same(nc_keras.measure(model, x, y), expected, 1e-5)
