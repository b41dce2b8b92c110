"""Short fixed trainings, whose losses and NC values are kept.

    KERAS_BACKEND=jax python -m tools.golden            # compares
    KERAS_BACKEND=jax python -m tools.golden --write    # keeps what has moved

Each goes through a recipe or a study, as a user's training does: order of the
images, batches, schedule, initial weights, layers, loss, optimizer and
measuring. Where one moves, a change has altered what trainings compute, and
every result that documents quote of such a training must be made again:
`./tools/results --check` then refuses the old ones.
"""

import contextlib
import dataclasses
import hashlib
import importlib
import io
import json
import os
import pathlib
import sys
import tempfile
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping

FILE = pathlib.Path(__file__).parents[1] / "tests" / "data" / "golden.json"
BACKENDS = ("tensorflow", "jax", "torch")
KEPT = ("loss", "nc1", "nc2_equiangular_means", "nc3")
# Initial weights that are off by one unit in the last place move no value by
# more than 6e-6; another processor rounds in every step, and has a hundredfold.
TOLERANCE = 6e-4

Trajectory = dict[str, list[float]]


def _recipe(
    network: str, widths: tuple[int, ...], loss: str, head: str, **changes
):
    """A recipe on 400 digits: 12 batches of 32, and 16 images left over."""

    def train(folder: pathlib.Path) -> None:
        from nc_keras.experiments.datasets.loading import prepare
        from nc_keras.experiments.options.settings import Settings
        from nc_keras.experiments.training import one_run

        settings = Settings(
            "digits",
            network=network,
            widths=widths,
            heads=(head,),
            losses=tuple(loss.split()),
            epochs=3,
            batch_size=32,
            per_class=40,
            learning_rate=0.002 if loss == "rescaled_square" else 0.02,
            output=folder,
            progress=False,
            **changes,
        )
        dataset = prepare(settings)
        for run in settings.runs:
            one_run.train(settings, run, dataset)

    return train


def _study(name: str, **changes):
    """A study on 200 digits."""

    def train(folder: pathlib.Path) -> None:
        module = importlib.import_module(f"recipes.studies.{name}")
        study = dataclasses.replace(
            module.STUDY,
            dataset="digits",
            per_class=20,
            epochs=3,
            progress=False,
            output=folder,
            **changes,
        )
        # What is trained counts here, not what is said of it.
        with contextlib.redirect_stdout(io.StringIO()):
            module.run(study)

    return train


CASES: dict[str, Callable[[pathlib.Path], None]] = {
    "mlp-ce-linear": _recipe("mlp", (24, 16), "ce", "linear"),
    "mlp-mse-etf_dim_c": _recipe("mlp", (24, 16), "mse", "etf_dim_c"),
    "conv_net-ce-weight_norm": _recipe(
        "conv_net", (4, 12), "ce", "weight_norm"
    ),
    "conv_net-rescaled_square-etf": _recipe(
        "conv_net", (4, 12), "rescaled_square", "etf"
    ),
    "unequal": _recipe(
        "mlp",
        (24, 16),
        "vs ldam dot_regression",
        "nearest_etf",
        imbalance="step",
        ratio=5.0,
        oversample=2,
    ),
    "minority_collapse": _study(
        "minority_collapse", widths=(24,), features=12, steps=30, decays=(0.8,)
    ),
    "weight_decay": _study(
        "weight_decay",
        widths=(24, 16),
        batch_size=32,
        initial_rho=10.0,
        learning_rate=0.002,
    ),
    "without_batch_norm": _study(
        "without_batch_norm", filters=(4, 8), norms=("frn", "none")
    ),
    "optimizers": _study(
        "optimizers", widths=(16,), optimizers=("sgd", "sgdw")
    ),
    "direct_feedback": _study(
        "direct_feedback", widths=(24, 16), rules=("dfa",)
    ),
    "forgetting": _study("forgetting", widths=(24,), batch_size=20),
    "few_shot": _study("few_shot", filters=(4, 8), episodes=20),
    "bounds": _study("bounds", widths=(4,), depth=2),
}


def trajectories(names: Iterable[str] = CASES) -> dict[str, Trajectory]:
    """Trains the cases on the backend in use.

    Args:
        names: Names of cases.

    Returns:
        For each case, the values of each epoch by name of the run and of the
        value.
    """
    from nc_keras.writers.json_lines import read_json_lines

    found = {}
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            CASES[name](root)
            found[name] = {
                f"{file.parent.name}/{key}": [
                    row[key] for row in read_json_lines(file) if key in row
                ]
                for file in sorted(root.glob("*/metrics.jsonl"))
                for key in KEPT
            }
    return found


def kept() -> dict[str, dict[str, Trajectory]]:
    """Returns the trajectories that are kept, by backend and case."""
    return json.loads(FILE.read_text()) if FILE.exists() else {}


def moved(before: Trajectory, now: Trajectory) -> list[str]:
    """Says which values of a case are other than those that are kept."""
    if before.keys() != now.keys():
        return [f"has {sorted(now)}, kept are {sorted(before)}"]
    return [
        f"{name}: {now[name]}, kept are {values}"
        for name, values in before.items()
        if len(values) != len(now[name])
        or any(
            # Null is what was not finite.
            None in (one, other) or not abs(one - other) <= TOLERANCE * abs(one)
            for one, other in zip(values, now[name], strict=True)
        )
    ]


def fingerprint(backend: str, names: Iterable[str]) -> str:
    """Returns what changes when one of some cases moves on a backend.

    Args:
        backend: Name of the backend.
        names: Names of cases.
    """
    here = kept()[backend]
    text = json.dumps([here[name] for name in sorted(names)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def write(now: Mapping[str, Trajectory], backend: str) -> list[str]:
    """Keeps the cases that have moved, and returns their names."""
    everything = kept()
    here = everything.setdefault(backend, {})
    changed = [
        name for name in now if name not in here or moved(here[name], now[name])
    ]
    here.update({name: now[name] for name in changed})
    everything[backend] = {name: here[name] for name in CASES if name in here}
    FILE.write_text(json.dumps(everything, indent=1, sort_keys=True) + "\n")
    return changed


def main() -> None:
    """Compares with what is kept, or keeps what has moved."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras

    backend = keras.backend.backend()
    now = trajectories()
    if "--write" in sys.argv[1:]:
        print(f"{backend}: kept anew: {', '.join(write(now, backend)) or '–'}")
        return
    here = kept().get(backend, {})
    faults = {name: moved(here.get(name, {}), now[name]) for name in now}
    faults = {name: lines for name, lines in faults.items() if lines}
    for name, lines in faults.items():
        print(f"{backend}, {name} has moved:", *lines, sep="\n  ")
    if faults:
        sys.exit(1)
    print(f"{backend}: {len(now)} trajectories are what they were")


if __name__ == "__main__":
    main()
