#!/usr/bin/env python
"""Times what measuring costs, and how it grows with the classes.

    python tools/bench_measure.py                          # forward
    python tools/bench_measure.py classes --peer ../neural-collapse
    KERAS_BACKEND=jax python tools/bench_measure.py --output jax.json

forward    `nc_keras.measure` over `Model.predict` of the same compiled model,
           batch size and real images: medians of interleaved passes in one
           process. Also over our own forward pass alone, and with no memory
           for features, where `nc4` takes a second forward pass.
evaluated  `Model.evaluate` with `EvaluatedCollapse`, which gathers class
           statistics in float32 on the device, over `evaluate` alone and
           over `evaluate` and `measure`; and how far its metrics are from
           those of `measure`, relative, the largest of them.
features   the default metrics of features in memory, over the product of
           features and head in float32: 50,000 of ResNet-50's width, with
           ImageNet's classes, and of narrower layers. Simulated, with a
           spread within the classes as large as that of their means, and
           with less.
classes    the metrics of a last layer of 100 to 100,000 classes, D = 512,
           long-tailed counts: time and peak memory of a process of its own,
           and the exponent of growth. With `--peer`, a checkout of
           https://github.com/rhubarbwu/neural-collapse beside it, tiled, on
           the same arrays.
margins    the one-vs-rest margin of heads: drawn at random, and near a
           simplex ETF, whose classes are all about as far from the rest.

Images are Fashion-MNIST's, from data/, or scikit-learn's digits, enlarged,
where that is not prepared.
"""

import dataclasses
import functools
import gc
import itertools
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated
from typing import Literal

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
from nc_keras.experiments.results.record import machine  # noqa: E402

Part = Literal["forward", "evaluated", "features", "classes", "margins"]
IMAGES = {"conv_net": 60_000, "mlp": 60_000, "resnet18": 1_000}
DIM = 512
# What both libraries measure of the statistics of a last layer.
METRICS = (
    "nc1",
    "nc1_trace_ratio",
    "nc1_cdnv",
    "nc2_equinorm_means",
    "nc2_etf_means",
    "nc3_duality",
    "gnc2_log",
    "gnc2_log_variance",
)


@dataclasses.dataclass(frozen=True)
class Options:
    """What to time."""

    parts: Annotated[
        tuple[Part, ...], tyro.conf.Positional, tyro.conf.arg(metavar="PART")
    ] = ("forward",)
    """The parts of the benchmark, as above."""

    networks: tuple[Literal["conv_net", "mlp", "resnet18"], ...] = (
        "conv_net",
        "mlp",
        "resnet18",
    )
    """The networks of the forward pass."""

    repeats: int = 5
    """Interleaved passes, after one that is not counted."""

    images: int | None = None
    """Images of a pass; by default 60,000, and 1,000 for ResNet-18."""

    batch_size: int = 256
    """Images of a batch of the forward pass."""

    classes: tuple[int, ...] = (100, 1_000, 10_000, 100_000)
    """Numbers of classes."""

    peer: Path | None = None
    """Checkout of rhubarbwu/neural-collapse."""

    peer_classes: int = 10_000
    """The most classes that the peer measures: it keeps all pairs."""

    output: Path | None = None
    """A JSON file for the results."""


def main() -> None:
    """Runs the parts, or one measurement of classes."""
    if sys.argv[1:2] == ["--worker"]:
        return work(*sys.argv[2:])
    options = tyro.cli(Options, description=__doc__)
    record = {"machine": machine()}
    for part in options.parts:
        record[part] = globals()[f"time_{part}"](options)
        if options.output:
            options.output.write_text(json.dumps(record, indent=1))


def time_forward(options: Options) -> list[dict]:
    """Times a measurement beside inference."""
    rows = [forward(network, options) for network in options.networks]
    table = Table(
        *("", "images", "predict, s", "forward / predict"),
        *("measure / predict", "measure / forward", "no memory / predict"),
        title="A measurement, and inference",
    )
    for row in rows:
        table.add_row(
            row["network"],
            f"{row['images']:,}",
            f"{row['seconds']['predict']:.2f}",
            *(f"{ratio:.3f}" for ratio in row["ratios"].values()),
        )
    Console().print(table)
    return rows


def forward(network: str, options: Options) -> dict:
    """Times the passes of one network."""
    import nc_keras

    count = options.images or IMAGES[network]
    model, x, y = build(network, count)
    extractor = nc_keras.FeatureExtractor(model)

    def measure(**memory):
        nc_keras.measure(
            extractor, x, y, batch_size=options.batch_size, **memory
        )

    def forward():
        for _ in extractor.batches(x, y, options.batch_size):
            pass

    seconds = interleaved(
        {
            "predict": lambda: model.predict(
                x, batch_size=options.batch_size, verbose=0
            ),
            "forward": forward,
            "measure": measure,
            "no memory": lambda: measure(memory=0),
        },
        options.repeats,
    )
    pairs = [
        ("forward", "predict"),
        ("measure", "predict"),
        ("measure", "forward"),
        ("no memory", "predict"),
    ]
    return {
        "network": network,
        "images": count,
        "seconds": seconds,
        "ratios": {f"{a} / {b}": seconds[a] / seconds[b] for a, b in pairs},
    }


def time_evaluated(options: Options) -> list[dict]:
    """Times an evaluation that measures, and compares what it measures."""
    rows = [evaluated(network, options) for network in options.networks]
    print(json.dumps(rows, indent=1))
    return rows


def evaluated(network: str, options: Options) -> dict:
    """Times the evaluations of one network, after an epoch of training."""
    import nc_keras

    count = options.images or IMAGES[network]
    (model, x, y), (alike, *_) = build(network, count), build(network, count)
    model.fit(x, y, batch_size=128, verbose=0)
    alike.set_weights(model.get_weights())
    extractor = nc_keras.FeatureExtractor(model)
    callback = nc_keras.callbacks.EvaluatedCollapse()
    # Attached once, as in `fit`: to attach it is to compile the step anew.
    callback.set_model(alike)
    callback.on_train_begin()
    size = {"batch_size": options.batch_size}
    functions = {
        "evaluate": lambda: model.evaluate(x, y, **size, verbose=0),
        "evaluated": lambda: (
            alike.evaluate(x, y, **size, verbose=0),
            callback.on_test_end(),
        ),
        "measure": lambda: nc_keras.measure(extractor, x, y, **size),
    }
    seconds = interleaved(functions, options.repeats)
    exact = nc_keras.measure(extractor, x, y, **size)
    apart = {k: abs(v / exact[k] - 1) for k, v in callback.values.items()}
    both = seconds["evaluate"] + seconds["measure"]
    return {
        "network": network,
        "images": len(x),
        "seconds": seconds,
        "over evaluate": seconds["evaluated"] / seconds["evaluate"],
        "over both": seconds["evaluated"] / both,
        "apart": max(apart.values()),
    }


def interleaved(
    functions: dict, repeats: int, of: Callable = statistics.median
) -> dict[str, float]:
    """Returns the median seconds of functions called in turns, or another."""
    seconds = {name: [] for name in functions}
    for _ in range(repeats + 1):
        for name, function in functions.items():
            gc.collect()
            begin = time.perf_counter()
            function()
            seconds[name].append(time.perf_counter() - begin)
    return {k: of(v[1:]) for k, v in seconds.items()}


def time_features(options: Options) -> list[dict]:
    """Times the metrics of features beside one product with the head."""
    rows = []
    sizes, spreads = ((512, 10), (512, 100), (2048, 1000)), (1.0, 0.3)
    for (dim, classes), spread in itertools.product(sizes, spreads):
        x, y, kernel = drawn(50_000, dim, classes, spread)
        seconds = interleaved(
            {
                "product": functools.partial(np.matmul, x, kernel),
                "metrics": functools.partial(collapse, x, y, kernel),
            },
            options.repeats,
        )
        rows.append(
            {"dim": dim, "classes": classes, "examples": len(y)}
            | {"spread": spread}
            | seconds
            | {"ratio": seconds["metrics"] / seconds["product"]}
        )
        print(rows[-1], flush=True)
    return rows


def collapse(x, y, kernel) -> dict:
    """The default metrics."""
    from nc_keras.metrics import collapse_metrics

    return collapse_metrics(x, y, kernel)


def drawn(examples: int, dim: int, classes: int, spread: float) -> tuple:
    """Features as after a ReLU, labels and a head."""
    rng = np.random.default_rng(0)
    means = rng.standard_normal((classes, dim), "float32")
    y = np.arange(examples) % classes
    x = means[y] + spread * rng.standard_normal((examples, dim), "float32")
    kernel = means + 0.1 * rng.standard_normal((classes, dim), "float32")
    return np.maximum(x, 0), y, kernel.T.copy()


def build(network: str, count: int):
    """Returns a compiled network, images and labels."""
    import nc_keras
    from nc_keras.experiments import datasets
    from nc_keras.experiments.options.settings import Settings
    from nc_keras.experiments.training.networks import build_model
    from tools.bench_train import load

    x, y = load({"images": count})
    data = datasets.Dataset("fashion_mnist", 10, x, y, x[:256], y[:256])
    widths = {"conv_net": (32, 64, 128), "mlp": (512, 512, 512)}
    settings = Settings(
        "fashion_mnist", network=network, widths=widths.get(network, ())
    )
    model = build_model(settings, "linear", data)
    model.compile(
        nc_keras.optimizers.SGD(0.01, momentum=0.9, weight_decay=5e-4),
        loss=nc_keras.losses.CE(),
    )
    return model, x.astype("float32"), y


def time_classes(options: Options) -> dict:
    """Times the metrics of many classes, beside the peer's."""
    rows = []
    for classes in options.classes:
        rows.append(alone("nc_keras", classes, options))
        if options.peer and classes <= options.peer_classes:
            rows.append(alone("peer", classes, options))
        print(rows[-1], flush=True)
    table = Table(
        *("library", "classes", "examples", "seconds", "peak memory, MB"),
        title=f"Metrics of a last layer, D = {DIM}",
    )
    for row in rows:
        table.add_row(
            row["library"],
            f"{row['classes']:,}",
            f"{row['examples']:,}",
            f"{row['seconds']:.2f}",
            f"{row['megabytes']:,.0f}",
        )
    Console().print(table)
    growth = {
        name: exponent([r for r in rows if r["library"] == name])
        for name in {row["library"] for row in rows}
    }
    print(f"Growth: seconds ~ C^a between the last two, a = {growth}")
    return {"rows": rows, "growth": growth}


def time_margins(options: Options) -> list[dict]:
    """Times the one-vs-rest margin of heads."""
    from nc_keras.geometry import simplex_etf
    from nc_keras.metrics.softmax_code import one_vs_rest_margin

    rng = np.random.default_rng(0)
    rows = []
    for near, classes, dim in (
        ("random", 1_000, 512),
        ("random", 10_000, 512),
        ("random", 50_000, 512),
        ("simplex", 1_000, 2048),
    ):
        head = rng.normal(size=(classes, dim))
        if near == "simplex":
            frame = simplex_etf(classes, dim, seed=0)
            head = frame + 0.1 / math.sqrt(dim) * head
        begin = time.perf_counter()
        margin = one_vs_rest_margin(head)
        seconds = time.perf_counter() - begin
        rows.append(
            {"head": near, "classes": classes, "dim": dim}
            | {"seconds": seconds, "margin": margin}
        )
        print(rows[-1], flush=True)
    return rows


def exponent(rows: list[dict]) -> float | None:
    """Returns the slope of log seconds over log classes at the end."""
    if len(rows) < 2:
        return None
    seconds, classes = (
        [np.log(row[key]) for row in rows[-2:]]
        for key in ("seconds", "classes")
    )
    return float((seconds[1] - seconds[0]) / (classes[1] - classes[0]))


def alone(library: str, classes: int, options: Options) -> dict:
    """Measures in a process of its own, whose memory is known."""
    with tempfile.TemporaryDirectory() as folder:
        draw(classes, Path(folder))
        environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
        output = subprocess.run(
            [sys.executable, __file__, "--worker", library, folder]
            + [str(options.peer)],
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
            check=True,
        ).stdout
    row = json.loads(output.splitlines()[-1])
    return {"library": library, "classes": classes} | row


def draw(classes: int, folder: Path) -> None:
    """Writes features with long-tailed counts, labels and a head."""
    rng = np.random.default_rng(0)
    examples = max(4 * classes, 20_000)
    shares = 1 / np.arange(1, classes + 1)
    y = rng.choice(classes, examples - classes, p=shares / shares.sum())
    y = rng.permutation(np.concatenate([np.arange(classes), y]))
    means = rng.standard_normal((classes, DIM), "float32")
    kernel = means + 0.5 * rng.standard_normal((classes, DIM), "float32")
    x = np.lib.format.open_memmap(
        folder / "x.npy", "w+", "float32", (examples, DIM)
    )
    for start in range(0, examples, 4096):
        part = y[start : start + 4096]
        noise = rng.standard_normal((len(part), DIM), "float32")
        x[start : start + 4096] = means[part] + 0.3 * noise
    np.save(folder / "y.npy", y)
    np.save(folder / "kernel.npy", kernel)


def work(library: str, folder: str, peer: str) -> None:
    """Measures what a folder holds, and prints seconds and memory."""
    x, y, kernel = (
        np.load(Path(folder) / f"{name}.npy") for name in ("x", "y", "kernel")
    )
    function = {"nc_keras": by_nc_keras, "peer": by_peer}[library]
    values = function(x[:2000], y[:2000] % 50, kernel[:50], peer)
    gc.collect()
    before = memory("VmRSS")
    # From here on the peak is that of the measurement.
    Path("/proc/self/clear_refs").write_text("5")
    begin = time.perf_counter()
    values = function(x, y, kernel, peer)
    seconds = time.perf_counter() - begin
    row = {
        "examples": len(y),
        "seconds": seconds,
        "megabytes": (memory("VmHWM") - before) / 1024,
        "values": values,
    }
    print(json.dumps(row))


def memory(field: str) -> int:
    """Returns the memory of this process, in kB: now, or at its peak."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1])
    raise OSError("The memory of a process can be read on Linux.")


def by_nc_keras(x, y, kernel, _):
    """The metrics by nc_keras, exactly, in float64."""
    from nc_keras.metrics import collapse_metrics

    return collapse_metrics(x, y, kernel.T, metrics=METRICS)


def by_peer(x, y, kernel, peer):
    """The metrics by rhubarbwu/neural-collapse, tiled, in float32."""
    sys.path.insert(0, peer)
    import torch
    from neural_collapse import accumulate
    from neural_collapse import kernels
    from neural_collapse import measure

    x, y, kernel = map(torch.from_numpy, (x, y, kernel))
    size, batch = (len(kernel), DIM), 256
    batches = list(zip(x.split(batch), y.split(batch), strict=True))
    means = accumulate.MeanAccumulator(*size)
    for features, labels in batches:
        means.accumulate(features, labels)
    m, center = means.compute()
    variances = accumulate.VarNormAccumulator(*size, M=m)
    covariance = accumulate.CovarAccumulator(*size, M=m)
    for features, labels in batches:
        variances.accumulate(features, labels, m)
        covariance.accumulate(features, labels, m)
    within = covariance.compute()
    norms = measure.mean_norms(m, center)
    log, log_variance = kernels.kernel_stats(
        m, center, kernels.log_kernel, tile_size=128
    )
    ratio = measure.covariance_ratio
    values = [
        ratio(within, m, center),
        ratio(within, m, center, "quotient"),
        measure.variability_cdnv(variances.compute()[0], m, tile_size=128),
        (norms.std() / norms.mean()).item(),
        measure.simplex_etf_error(m, center),
        measure.self_duality_error(kernel, m, center),
        log,
        log_variance,
    ]
    return dict(zip(METRICS, values, strict=True))


if __name__ == "__main__":
    main()
