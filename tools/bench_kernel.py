#!/usr/bin/env python
"""Times tangent kernels, beside neural-tangents' of the same networks.

    KERAS_BACKEND=jax python tools/bench_kernel.py
    KERAS_BACKEND=jax python tools/bench_kernel.py --peer ~/nt/bin/python

Each case runs in a process of its own: the first call, which compiles, the
median of the next ones, and how far they raised the peak of the process's
memory. With `--peer`, an interpreter that has neural-tangents and what it
needs (JAX 0.4.20, NumPy 1, SciPy 1.12), its implementations 1 to 3 compute the
same kernel of the same weights and images; the difference is the largest one,
relative to the largest entry.

mlp     784-512-512-10, 1,000 images, the kernel of each output.
conv    28x28, two 3x3 convolutions of 32 and 64 filters, the second of stride
        2, and a dense layer; 500 images, the mean over the outputs.

Images are random: what is timed depends on their shape alone.
"""

import dataclasses
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Literal

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

Case = Literal["mlp", "conv"]
EXAMPLES = {"mlp": 1000, "conv": 500}
# The peer's own pass, in an interpreter that knows nothing of this project.
PEER = """
import json, resource, statistics, sys, time
import jax, numpy as np
import neural_tangents as nt
from jax import lax, numpy as jnp
case, implementation, repeats, path = sys.argv[1:]
data = np.load(path)
x, expected = data["x"], data["kernel"]
params = [data[f"w{i}"] for i in range(sum(k[0] == "w" for k in data.files))]

def mlp(w, x):
    for i in (0, 2):
        x = jax.nn.relu(x @ w[i] + w[i + 1])
    return x @ w[4] + w[5]

def conv(w, x):
    for i, stride in ((0, 1), (2, 2)):
        x = lax.conv_general_dilated(
            x, w[i], (stride, stride), "SAME",
            dimension_numbers=("NHWC", "HWIO", "NHWC"))
        x = jax.nn.relu(x + w[i + 1])
    return x.reshape(len(x), -1) @ w[4] + w[5]

axes = {"mlp": ((), (-1,)), "conv": ((-1,), ())}[case]
kernel = nt.empirical_ntk_fn(
    {"mlp": mlp, "conv": conv}[case], trace_axes=axes[0],
    diagonal_axes=axes[1], vmap_axes=0, implementation=int(implementation))
kernel = jax.jit(kernel)
size = 50

def whole():
    n, rows = len(x), []
    for i in range(0, n, size):
        row = [np.asarray(kernel(x[i:i + size], x[j:j + size], params))
               for j in range(0, i + 1, size)]
        rows.append(row)
    full = np.zeros((n, n, *rows[0][0].shape[2:]))
    for i, row in enumerate(rows):
        for j, block in enumerate(row):
            a, b = (slice(k * size, (k + 1) * size) for k in (i, j))
            full[a, b] = block
            full[b, a] = block.swapaxes(0, 1)
    return full

before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
times = []
for _ in range(1 + int(repeats)):
    start = time.perf_counter()
    found = whole()
    times.append(time.perf_counter() - start)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
if case == "mlp":
    found = np.moveaxis(found, 2, 0)
off = float(np.abs(found - expected).max() / np.abs(expected).max())
print(json.dumps({"first": times[0], "next": statistics.median(times[1:]),
                  "megabytes": peak / 1024, "off": off}))
"""


@dataclasses.dataclass(frozen=True)
class Bench:
    """What is timed."""

    cases: tuple[Case, ...] = ("mlp", "conv")
    """The networks."""

    repeats: int = 3
    """Calls after the first one."""

    examples: int | None = None
    """Images, a multiple of 50. Defaults to those of the case."""

    peer: Path | None = None
    """An interpreter with neural-tangents."""

    implementations: tuple[Literal[1, 2, 3], ...] = (1, 2, 3)
    """Of the peer's. At full size the first two take minutes."""

    output: Path | None = None
    """Where the numbers go, as JSON."""

    one: tuple[Case, Path] | None = None
    """Times one case, and writes weights, images and kernel to a file."""


def main(bench: Bench) -> None:
    """Runs the cases, and prints a table."""
    if bench.one is not None:
        print(json.dumps(_ours(*bench.one, bench.examples, bench.repeats)))
        return
    rows = []
    for case in bench.cases:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "kernel.npz"
            examples = bench.examples or EXAMPLES[case]
            words = ["--one", case, path, "--repeats", bench.repeats]
            words += ["--examples", examples]
            found = _run([sys.executable, __file__, *words])
            rows.append(_shown({"case": case, "of": "nc_keras", **found}))
            for number in bench.implementations if bench.peer else ():
                words = ["-c", PEER, case, number, bench.repeats, path]
                found = _run([bench.peer, *words])
                name = f"neural-tangents, implementation {number}"
                rows.append(_shown({"case": case, "of": name, **found}))
    table = Table("case", "of", "first, s", "next, s", "MB", "difference")
    for row in rows:
        table.add_row(
            *(row["case"], row["of"]),
            *(f"{row[key]:.3g}" for key in ("first", "next", "megabytes")),
            f"{row['off']:.1g}" if "off" in row else "–",
        )
    Console().print(table)
    if bench.output is not None:
        bench.output.write_text(json.dumps(rows, indent=1))


def _shown(row):
    """Says at once what the table repeats: the peer takes minutes."""
    print(json.dumps(row), flush=True)
    return row


def _run(words):
    done = subprocess.run(
        [str(word) for word in words],
        capture_output=True,
        text=True,
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def _ours(case, path, examples, repeats):
    import keras

    from nc_keras import kernel

    keras.utils.set_random_seed(0)
    shape = (784,) if case == "mlp" else (28, 28, 1)
    x = np.random.default_rng(0).normal(size=(examples, *shape))
    x = x.astype("float32")
    model = _network(keras, case, shape)
    outputs = "each" if case == "mlp" else "trace"
    before = _peak()
    start = time.perf_counter()
    network = kernel.Network(model, x)
    times = []
    for _ in range(1 + repeats):
        found = kernel.gram(network, x, outputs).values
        times.append(time.perf_counter() - start)
        start = time.perf_counter()
    peak = _peak() - before
    weights = {f"w{i}": w for i, w in enumerate(model.get_weights())}
    np.savez(path, x=x, kernel=found, **weights)
    return {
        "first": times[0],
        "next": statistics.median(times[1:]),
        "megabytes": peak / 1024,
    }


def _network(keras, case, shape):
    dense, conv = keras.layers.Dense, keras.layers.Conv2D
    layers = {
        "mlp": [dense(512, "relu"), dense(512, "relu")],
        "conv": [
            conv(32, 3, padding="same", activation="relu"),
            conv(64, 3, strides=2, padding="same", activation="relu"),
            keras.layers.Flatten(),
        ],
    }[case]
    return keras.Sequential([keras.Input(shape), *layers, dense(10)])


def _peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    main(tyro.cli(Bench, description=__doc__))
