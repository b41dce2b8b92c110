"""The machine-readable record of a recipe's runs."""

import dataclasses
import json
import os
import pathlib
import platform
import shlex
import sys
from collections.abc import Mapping
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import keras

from nc_keras.experiments.console.program import program
from nc_keras.experiments.datasets import Dataset
from nc_keras.experiments.datasets import ImageStream
from nc_keras.experiments.options.settings import Run
from nc_keras.experiments.options.settings import Settings
from nc_keras.experiments.results.identity import require_same
from nc_keras.writers.files import replace_atomically
from nc_keras.writers.files import retried
from nc_keras.writers.json_lines import read_json_lines

# What may differ between two commands that fill one folder.
_FREE = (
    "heads",
    "losses",
    "seeds",
    "data_dir",
    "output",
    "progress",
)


def claim_folder(settings: Settings, dataset: Dataset | ImageStream) -> None:
    """Makes the folder this recipe's, or sees that it was.

    A folder in which no run came to an epoch is nobody's.

    Args:
        settings: The settings of the recipe.
        dataset: The data in use.

    Raises:
        ValueError: If it has the runs of other settings or other data.
    """
    path = settings.folder / "settings.json"
    mine = settings.plain() | {
        "backend": keras.backend.backend(),
        "data_digest": dataset.digest,
    }
    kept = {}
    if path.exists() and any(settings.folder.glob("*/metrics.jsonl")):
        theirs = _read_json(path)
        require_same(settings.folder, theirs, mine, _FREE)
        # Heads and losses of its own that the runs there have.
        kept = {name: theirs[name] for name in theirs if " " in name}
    write_json(path, kept | mine)


def fixed(
    settings: Settings, dataset: Dataset | ImageStream, run: Run
) -> dict[str, Any]:
    """Returns what a run shares with others of its folder, and its own."""
    others = settings.identities().keys()
    shared = {
        name: value
        for name, value in settings.plain().items()
        if name not in _FREE and name not in others
    }
    return shared | settings.identities(run) | {"data_digest": dataset.digest}


def write_run(folder: pathlib.Path, run: Run, facts: Mapping[str, Any]) -> None:
    """Writes what a run is, and, once it has ended, how it ended."""
    folder.mkdir(parents=True, exist_ok=True)
    record = dataclasses.asdict(run) | {"folder": folder.name, **facts}
    write_json(folder / "run.json", record)


def is_finished(folder: pathlib.Path) -> bool:
    """Whether a run has come to its end, be it by a loss that is infinite."""
    path = folder / "run.json"
    return path.exists() and bool(_read_json(path).get("finished"))


def read_run(folder: pathlib.Path) -> dict | None:
    """Reads a run as the record has it, or `None` if it has no epoch."""
    path = folder / "run.json"
    rows = read_json_lines(folder / "metrics.jsonl", every_epoch=True)
    if not path.exists() or not rows:
        return None
    measured = [row for row in rows if "nc1" in row]
    terminal = next((row for row in measured if row["terminal_phase"]), None)
    return _read_json(path) | {
        "epochs": rows[-1]["epoch"],
        "seconds": rows[-1]["seconds"],
        "terminal_epoch": terminal and terminal["epoch"],
        "first": measured[0] if measured else None,
        "at_terminal_epoch": terminal,
        "last": measured[-1] if measured else None,
        "measured": measured,
        "robustness": [
            row
            for row in read_json_lines(folder / "robustness.jsonl")
            if "deepfool" in row
        ],
    }


def read_runs(settings: Settings) -> list[dict]:
    """Reads all runs of a folder, also those of an earlier command."""
    folders = settings.folder.glob("*/run.json")
    runs = [read_run(path.parent) for path in folders]
    return sorted(
        (run for run in runs if run),
        key=lambda run: (
            place(run["loss"], settings.all_losses),
            place(run["head"], settings.all_heads),
            run["seed"],
        ),
    )


def place(name: str, names: Sequence[str]) -> tuple[int, str]:
    """What names are sorted by: their order, and last those of an earlier
    command that this one does not know."""
    return (names.index(name) if name in names else len(names)), name


def build_record(
    settings: Settings,
    dataset: Dataset | ImageStream,
    runs: list[dict],
    interrupted: bool,
) -> dict:
    """Returns everything that tables, figures and report are made from."""
    protocol = settings.protocol
    losses = list(dict.fromkeys(run["loss"] for run in runs))
    rates = "; ".join(f"{loss} {settings.rate(loss)}" for loss in losses)
    published = protocol.published if protocol else ()
    note = getattr(dataset, "note", "")
    return {
        "title": settings.title,
        "command": command(),
        "settings": settings.plain()
        | {
            "learning_rate": rates,
            "losses": losses,
            "heads": list(dict.fromkeys(run["head"] for run in runs)),
            "seeds": sorted({run["seed"] for run in runs}),
        },
        "scale": _scale(settings),
        "deviations": _deviations(settings, protocol),
        "machine": machine(),
        "data": {
            "train": dataset.num_train,
            "test": dataset.num_test,
            "classes": dataset.num_classes,
            "per_class": _fewer_than_the_papers(settings, protocol),
            "test_images": settings.test_images,
            "imbalance": settings.imbalance,
            "ratio": settings.ratio,
            "oversample": settings.oversample,
            **({"note": note} if note else {}),
        },
        "metrics": list(settings.metrics),
        "spread": settings.spread,
        "published": [dataclasses.asdict(fact) for fact in published],
        "interrupted": interrupted,
        "runs": runs,
    }


def write_json(path: pathlib.Path, record: Mapping[str, Any]) -> None:
    """Writes a JSON file so that it is never half written."""
    text = json.dumps(record, indent=1, default=str)
    replace_atomically(path, lambda path: path.write_text(text))


def machine() -> dict:
    """Returns what the runs were made on."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "device": _device(),
        "python": platform.python_version(),
        "backend": keras.backend.backend(),
        "keras": version("keras"),
    }


def command() -> str:
    """The command line that makes the same runs."""
    words = [*program(), *sys.argv[1:]]
    return f"KERAS_BACKEND={keras.backend.backend()} {shlex.join(words)}"


def _read_json(path):
    try:
        return json.loads(retried(path.read_text))
    except ValueError as error:
        raise ValueError(
            f"{path} is damaged. Delete it, and what is beside it. "
            f"Received: {error}."
        ) from error


def _scale(settings):
    theirs, of = settings.protocol_epochs, "the papers' protocol"
    if theirs is None:
        theirs, of = settings.recipe_epochs, "the recipe"
    if theirs in (None, settings.epochs):
        return None
    return {"epochs": settings.epochs, "protocol_epochs": theirs, "of": of}


def _deviations(settings, protocol):
    """What else differs from the papers' protocol, in words."""
    if protocol is None or settings.protocol_epochs is None:
        return []
    words = [
        f"{name} {getattr(settings, name)} ({getattr(protocol, name)})"
        for name in (
            *("network", "batch_size", "momentum", "weight_decay"),
            *("drops", "threshold"),
        )
        if getattr(settings, name) != getattr(protocol, name)
    ]
    if settings.widths:
        words.append(f"widths {settings.widths}")
    if settings.learning_rate is not None:
        words.append(f"learning_rate {settings.learning_rate}")
    return words


def _fewer_than_the_papers(settings, protocol):
    theirs = protocol.per_class if protocol else None
    return None if settings.per_class == theirs else settings.per_class


def _device():
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        return jax.devices()[0].device_kind
    if backend == "torch":
        import torch

        cuda = torch.cuda.is_available()
        return torch.cuda.get_device_name() if cuda else "cpu"
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return "cpu"
    return tf.config.experimental.get_device_details(gpus[0])["device_name"]


def _processor():
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(": ")[2]
    return platform.processor()
