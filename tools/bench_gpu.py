#!/usr/bin/env python
"""What is measured on a GPU, in parts of at most ten minutes each.

    python tools/bench_gpu.py                     # the parts not yet finished
    python tools/bench_gpu.py train --minutes 5   # one of them
    python tools/bench_gpu.py table               # what was found so far
    python tools/bench_gpu.py --tiny              # all of it, on a CPU

tests      the shorter tests of the library, on the device, on JAX
train      ResNet-18 in bfloat16, beside the notebook's PyTorch loop and a
           tuned, compiled one: images per second, share of the chip's peak
measure    `nc_keras.measure` beside `predict`, and `EvaluatedCollapse`, which
           gathers on the device, beside `evaluate`
protocol   ResNet-18 on MNIST, then on Fashion-MNIST, under the papers'
           protocol as far as the time goes; the next call goes on there
table      all results so far

Each part leaves a JSON file in `--output`, and is not run again. A part that
ran out of time is, and `protocol` goes on from its checkpoint. No TensorFlow
is needed. Bring along: this repository, `data/mnist.npz` and
`data/fashion_mnist.npz` (tools/prepare_dataset.py makes them), and what
`pip download '.[recipes,test]'` fetches; JAX and torch are the machine's.
"""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated
from typing import Literal

import tyro
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[1]
PARTS = ("tests", "train", "measure", "protocol")
# Dense bfloat16 of the SXM modules, in TFLOP/s, by NVIDIA's data sheets.
PEAKS = {"H200": 989, "H100": 989, "A100": 312}
DATA_SETS = ("mnist", "fashion_mnist")
_ENVIRONMENT = {
    "KERAS_BACKEND": "jax",
    # PyTorch needs room on the device, too.
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
    "PYTHONPATH": str(ROOT),
}


@dataclasses.dataclass(frozen=True)
class Options:
    """What is measured."""

    parts: Annotated[
        tuple[Literal["tests", "train", "measure", "protocol", "table"], ...],
        tyro.conf.Positional,
        tyro.conf.arg(metavar="PART"),
    ] = (*PARTS, "table")
    """The parts, one after the other."""

    minutes: float = 9.0
    """Of each part; what runs longer is ended."""

    output: Path = Path("runs/gpu")
    """Where results and checkpoints go."""

    peak: float | None = None
    """Peak of the device in bfloat16, TFLOP/s. Defaults to what is known of
    it by its name."""

    tiny: bool = False
    """A few images and epochs, to try it on a CPU."""


def main(options: Options) -> None:
    """Runs the parts that are not finished."""
    # What runs below does so in the root of the project.
    options = dataclasses.replace(options, output=options.output.absolute())
    options.output.mkdir(parents=True, exist_ok=True)
    for part in options.parts:
        if part == "table":
            show(options)
        elif _found(options, part).get("finished"):
            print(f"{part}: finished before, see {_file(options, part)}")
        else:
            start = time.monotonic()
            found = globals()[f"run_{part}"](options)
            found["seconds"] = round(time.monotonic() - start, 1)
            found["device"] = _device()
            _file(options, part).write_text(json.dumps(found, indent=1))


def run_tests(options: Options) -> dict:
    """The tests of layers, losses, metrics and kernels on the device."""
    folders = ["tests/layers"]
    if not options.tiny:
        folders += ["tests/losses", "tests/metrics", "tests/kernel"]
    code, lines = _run(
        options,
        *("-m", "pytest", "--under", "0.3", "-o", "addopts=", "-p"),
        *("no:cacheprovider", "-m", "not exhaustive and not fuzz", *folders),
    )
    summary = [line for line in lines if "passed" in line or "failed" in line]
    return {"finished": code == 0, "summary": " ".join(summary[-1:])}


def run_train(options: Options) -> dict:
    """Images per second of ResNet-18 and of the PyTorch loops."""
    sizes = ["--images", "256", "--batch-size", "64", "--epochs", "1"]
    if not options.tiny:
        sizes = ["--images", "51200", "--bfloat16"]
    output = options.output / "bench_train.json"
    code, _ = _run(
        options,
        *("tools/bench_train.py", "--networks", "resnet18"),
        *("--backends", "jax", "torch", *sizes, "--output", output),
    )
    return {"finished": code == 0, **_read(output)}


def run_measure(options: Options) -> dict:
    """A measurement over `predict`, and one in the steps of `evaluate`."""
    output = options.output / "bench_measure.json"
    code, _ = _run(
        options,
        *("tools/bench_measure.py", "forward", "evaluated"),
        *("--networks", "resnet18"),
        *("--images", "256" if options.tiny else "60000", "--output", output),
    )
    return {"finished": code == 0, **_read(output)}


def run_protocol(options: Options) -> dict:
    """The papers' training, resumed where the last call ended."""
    sizes = ["--widths", "8", "--per-class", "20", "--test-images", "100"]
    sizes += ["--epochs", "3"]
    codes = {}
    until = time.monotonic() + 60 * options.minutes
    for name in DATA_SETS:
        left = (until - time.monotonic()) / 60
        if left <= 0:
            break
        codes[name], _ = _run(
            options,
            *("-m", f"recipes.{name}", "--network", "resnet18"),
            *"--heads linear etf --losses ce --progress False".split(),
            *("--output", options.output / name),
            *(sizes if options.tiny else []),
            minutes=left,
        )
    finished = list(codes.values()) == [0] * len(DATA_SETS)
    return {"finished": finished, "exit_status": codes}


def show(options: Options) -> None:
    """Prints what was found, and writes it to one file."""
    found = {part: _found(options, part) for part in PARTS}
    table = Table("part", "finished", "minutes", "found")
    for part, one in found.items():
        minutes = f"{one['seconds'] / 60:.1f}" if one else ""
        state = {True: "yes", False: "no", None: "not run"}
        text = "; ".join(globals()[f"_of_{part}"](options, one)) if one else ""
        table.add_row(part, state[one.get("finished")], minutes, text)
    Console().print(table)
    path = options.output / "results.json"
    path.write_text(json.dumps(found, indent=1))
    print(f"results  {path}")


def _of_tests(options, found):
    return [found["summary"]]


def _of_train(options, found):
    peak = options.peak or next(
        (p for name, p in PEAKS.items() if name in found["device"]), None
    )
    # Forward, and twice as much backward.
    operations = 3 * _operations()
    for row in found.get("rows", ()):
        text = f"{row['contender']} {row['images_per_second']:,.0f} images/s"
        if peak:
            share = row["images_per_second"] * operations / (peak * 1e12)
            text += f" ({share:.1%} of the peak)"
        yield text


def _of_measure(options, found):
    for row in found.get("forward", ()):
        for name, ratio in row["ratios"].items():
            yield f"{name} {ratio:.2f}"
    for row in found.get("evaluated", ()):
        yield f"gathered on the device / evaluate {row['over evaluate']:.2f}"
        yield f"its metrics are off by at most {row['apart']:.0e}"


def _of_protocol(options, found):
    for name in DATA_SETS:
        for path in sorted((options.output / name).glob("*/metrics.jsonl")):
            last = json.loads(path.read_text().splitlines()[-1])
            run, nc1 = path.parent.name, last.get("nc1", float("nan"))
            yield f"{name} {run}: epoch {last['epoch']}, nc1 {nc1:.3g}"


def _operations():
    """Multiplications and additions of ResNet-18's forward pass, an image."""
    code = (
        "import keras, math, nc_keras\n"
        "model = nc_keras.models.ResNet(18, (28, 28, 1), 10)\n"
        "total = 0\n"
        "for layer in model.layers:\n"
        "    kernel = getattr(layer, 'kernel', None)\n"
        "    if kernel is not None:\n"
        "        places = math.prod(layer.output.shape[1:-1])\n"
        "        total += 2 * math.prod(kernel.shape) * places\n"
        "print(total)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | _ENVIRONMENT,
    )
    return int(done.stdout.splitlines()[-1])


def _device():
    code = "import jax; print(jax.devices()[0].device_kind)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True
    )
    return (done.stdout.splitlines() or ["unknown"])[-1]


def _run(options, *words, minutes=None):
    """Runs Python with some words, for the time of a part at most."""
    process = subprocess.Popen(
        [sys.executable, *map(str, words)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=os.environ | _ENVIRONMENT,
    )
    try:
        text, _ = process.communicate(timeout=60 * (minutes or options.minutes))
    except subprocess.TimeoutExpired:
        # As Ctrl-C: a recipe then writes its checkpoint and its report.
        process.send_signal(signal.SIGINT)
        try:
            text, _ = process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            text, _ = process.communicate()
    print(text[-4000:], flush=True)
    return process.returncode, text.splitlines()


def _file(options, part):
    return options.output / f"{part}.json"


def _found(options, part):
    return _read(_file(options, part))


def _read(path):
    return json.loads(path.read_text()) if path.exists() else {}


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
