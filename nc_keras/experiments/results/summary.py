"""What a comparison came to: means over the seeds.

Everything is computed from the plain record of a comparison, the content of
its `results.json`, so that it can be made again from that file alone. Runs
that failed are counted and named, and never averaged in.
"""

import dataclasses
import math
import statistics
from collections.abc import Iterable
from collections.abc import Mapping
from typing import Any

from nc_keras.plot.spread import half_width
from nc_keras.plot.spread import validate_spread

# When a quantity is read: once a run, at the first measurement, at the first
# one with zero training error, at the last one, or as last minus zero error.
RUN, FIRST, ZERO, END, GAIN = "run", "first", "zero", "end", "gain"

_ROWS = {FIRST: "first", ZERO: "at_terminal_epoch", END: "last"}


@dataclasses.dataclass(frozen=True)
class Quantity:
    """A row of every table.

    Attributes:
        label: String, what the tables call it.
        key: String, its name in the runs or rows of the record.
        kind: String, its format, a key of `KINDS`.
        moments: When it is read, in the order of the table.
    """

    label: str
    key: str
    kind: str
    moments: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Kind:
    """How numbers are written; `spread` is `None` where there is no ±."""

    factor: float
    mean: str
    spread: str | None


@dataclasses.dataclass(frozen=True)
class Statistic:
    """A mean over `n` seeds; `spread` is their standard deviation (n - 1).

    Where the 95 % interval is asked for, it is half of that. Of one seed
    there is no spread: it is `None`.
    """

    mean: float
    spread: float | None
    n: int


KINDS = {
    "count": Kind(1, ",.0f", None),
    "megabytes": Kind(1e-6, ",.2f", None),
    "saving": Kind(100, ".2f", None),
    "percent": Kind(100, ".2f", ".2f"),
    "points": Kind(100, "+.2f", ".2f"),
    "seconds": Kind(1, ".2f", ".2f"),
    "epoch": Kind(1, ".3g", ".2g"),
    "number": Kind(1, ".3g", ".1g"),
}

QUANTITIES = (
    Quantity("trainable parameters", "trainable_parameters", "count", (RUN,)),
    Quantity("saving vs linear, %", "saving", "saving", (RUN,)),
    Quantity("state memory, MB", "state_bytes", "megabytes", (RUN,)),
    Quantity("epochs", "epochs", "count", (RUN,)),
    Quantity("seconds per epoch", "seconds_per_epoch", "seconds", (RUN,)),
    Quantity("epoch of zero error", "terminal_epoch", "epoch", (RUN,)),
    Quantity("test accuracy, %", "val_nc_accuracy", "percent", (ZERO, END)),
    Quantity("its gain, points", "val_nc_accuracy", "points", (GAIN,)),
    Quantity("train accuracy, %", "nc_accuracy", "percent", (ZERO, END)),
    Quantity("NC1, first measured", "nc1", "number", (FIRST,)),
    Quantity("NC1", "nc1", "number", (ZERO, END)),
    *(
        Quantity(f"NC2 {name}, {part}", f"nc2_{key}", "number", (ZERO, END))
        for name, part, key in (
            ("equinorm", "means", "equinorm_means"),
            ("equinorm", "head", "equinorm_weights"),
            ("equiangular", "means", "equiangular_means"),
            ("equiangular", "head", "equiangular_weights"),
            ("max angle", "means", "max_angle_means"),
            ("max angle", "head", "max_angle_weights"),
        )
    ),
    Quantity("NC3", "nc3", "number", (ZERO, END)),
    Quantity("NC4, train", "nc4", "number", (ZERO, END)),
    Quantity("NC4, test", "val_nc4", "number", (ZERO, END)),
    Quantity("DeepFool robustness", "deepfool", "number", (ZERO, END)),
)


@dataclasses.dataclass(frozen=True)
class Group:
    """The runs of one loss and one head, which differ by their seed.

    Attributes:
        loss: String.
        head: String.
        runs: The runs that are averaged.
        unfinished: Runs that an interrupt ended before the others of the
            group; their last epoch is another one.
        failed: Runs that broke off or came to no finite loss.
    """

    loss: str
    head: str
    runs: tuple[dict, ...]
    unfinished: tuple[dict, ...]
    failed: tuple[dict, ...]

    @property
    def reached(self) -> tuple[dict, ...]:
        """The averaged runs whose training error vanished."""
        return tuple(run for run in self.runs if run.get("at_terminal_epoch"))

    def statistic(
        self, key: str, moment: str, spread: str = "std"
    ) -> Statistic | None:
        """The mean of a quantity; `None` if no run has a finite value."""
        values = (value(run, key, moment) for run in self.runs)
        return statistic((v for v in values if v is not None), spread)

    def expected(self, moment: str) -> int:
        """How many runs should have a value at a moment."""
        zero = moment in (ZERO, GAIN)
        return len(self.reached if zero else self.runs)


def groups(record: Mapping[str, Any]) -> dict[tuple[str, str], Group]:
    """Groups the runs of a comparison, in the order of the record.

    Args:
        record: The content of a comparison's `results.json`.

    Returns:
        The `Group` of each loss and head.

    Raises:
        ValueError: If there are no runs.
    """
    if not record.get("runs"):
        raise ValueError(
            "A comparison needs at least one run to be summarised. "
            f"Received: runs={record.get('runs')!r}. Train one to its first "
            "measured epoch, and try again."
        )
    runs: dict[tuple[str, str], list[dict]] = {}
    for run in record["runs"]:
        runs.setdefault((run["loss"], run["head"]), []).append(
            run | {"saving": _saving(run, record["runs"])}
        )
    return {
        key: _group(*key, members, bool(record.get("interrupted")))
        for key, members in runs.items()
    }


def by_loss(record: Mapping[str, Any]) -> dict[str, dict[str, Group]]:
    """The groups of each loss by their head."""
    found: dict[str, dict[str, Group]] = {}
    for (loss, head), group in groups(record).items():
        found.setdefault(loss, {})[head] = group
    return found


def value(run: Mapping[str, Any], key: str, moment: str) -> float | None:
    """Reads one number of a run; `None` if it is missing or not finite."""
    if moment == GAIN:
        ends = [value(run, key, when) for when in (ZERO, END)]
        return None if None in ends else ends[1] - ends[0]
    if moment == RUN:
        return _finite(run.get(key))
    row = run.get(_ROWS[moment]) or {}
    if key == "deepfool":
        # Only of the very epoch: it is measured more rarely than the rest.
        measured = {r["epoch"]: r["deepfool"] for r in robustness(run)}
        return _finite(measured.get(row.get("epoch")))
    return _finite(row.get(key))


def robustness(run: Mapping[str, Any]) -> list[dict]:
    """The DeepFool measurements of a run, of which there may be none."""
    return run.get("robustness") or []


def problem(run: Mapping[str, Any]) -> str | None:
    """Says why a run cannot be averaged, or `None` if it can."""
    if run.get("failure"):
        return str(run["failure"])
    if not run.get("last"):
        return "was never measured"
    loss = run["last"].get("loss")
    if loss is not None and _finite(loss) is None:
        return "loss is not finite in the last measurement"
    return None


def format_statistic(
    statistic: Statistic | None, kind: str, plus_minus: str = " ± "
) -> str:
    """Writes a mean and its spread; a dash if there is none."""
    if statistic is None:
        return "–"
    form = KINDS[kind]
    text = _format(statistic.mean * form.factor, form.mean)
    if form.spread is None or statistic.spread is None:
        return text
    return text + plus_minus + f"{statistic.spread * form.factor:{form.spread}}"


def _group(loss, head, runs, interrupted):
    failed = tuple(run for run in runs if problem(run))
    sound = [run for run in runs if not problem(run)]
    last = max((run["last"]["epoch"] for run in sound), default=0)
    unfinished = tuple(
        run for run in sound if interrupted and run["last"]["epoch"] < last
    )
    averaged = tuple(run for run in sound if run not in unfinished)
    return Group(loss, head, averaged, unfinished, failed)


def _saving(run, runs):
    """The share of trainable parameters that the linear head has more."""
    linear = [
        other.get("trainable_parameters")
        for other in runs
        if (other["loss"], other["head"]) == (run["loss"], "linear")
    ]
    parameters = run.get("trainable_parameters")
    if not linear or not linear[0] or parameters is None:
        return None
    return 1 - parameters / linear[0]


def _finite(number):
    if number is None or not math.isfinite(number):
        return None
    return float(number)


def statistic(values: Iterable[float], spread: str = "std") -> Statistic | None:
    """The mean of some values and their spread; `None` of no values."""
    values = list(values)
    if not values:
        return None
    half = half_width(values, spread) if len(values) > 1 else None
    return Statistic(statistics.fmean(values), half, len(values))


def _format(number, form):
    if form.endswith("g") and 0 < abs(number) < 1e-4:
        form = ".1e"
    text = f"{number:{form}}"
    # Rounded to zero, a sign says nothing.
    return text.replace("-", "") if float(text.replace(",", "")) == 0 else text


def spread_of(record: Mapping[str, Any]) -> str:
    """What is drawn and written around means: a key of `SPREADS`."""
    spread = record.get("spread") or "range"
    validate_spread(spread)
    return spread


def vanished(record: Mapping[str, Any]) -> str:
    """What counts as zero training error: ` (≤ 0.1 %)`, or nothing."""
    threshold = (record.get("settings") or {}).get("threshold")
    return "" if threshold is None else f" (≤ {100 * (1 - threshold):.2g} %)"
