"""What a comparison came to: means over the seeds, tables and findings.

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

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from nc_keras.experiments.console import consoles
from nc_keras.experiments.console.plain import plain

# When a quantity is read: once a run, at the first measurement, at the first
# one with zero training error, at the last one, or as last minus zero error.
RUN, FIRST, ZERO, END, GAIN = "run", "first", "zero", "end", "gain"

_ROWS = {FIRST: "first", ZERO: "at_terminal_epoch", END: "last"}
_PROTOCOL = "the papers' protocol"
_ENOUGH_SEEDS = 3
_LABEL_WIDTH = 22


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

    Of one seed there is no spread: it is `None`.
    """

    mean: float
    spread: float | None
    n: int


@dataclasses.dataclass(frozen=True)
class Cell:
    """A cell of a table: its values in the order of time, and a remark."""

    values: tuple[str, ...]
    remark: str = ""


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
    Quantity("seconds an epoch", "seconds_per_epoch", "seconds", (RUN,)),
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

    def statistic(self, key: str, moment: str) -> Statistic | None:
        """The mean of a quantity; `None` if no run has a finite value."""
        values = (value(run, key, moment) for run in self.runs)
        return _statistic(v for v in values if v is not None)

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


def table(
    heads: Mapping[str, Group],
    metrics: Iterable[str] | None = None,
    plus_minus: str = " ± ",
) -> list[tuple[str, list[Cell]]]:
    """The rows of the table of one loss, a cell for each head.

    Quantities that no run of the loss has are left out.

    Args:
        heads: The runs of each head.
        metrics: The tags of more metrics than the usual ones.
        plus_minus: What is between a mean and its spread.
    """
    more = [
        Quantity(f"{tag}, {data}", prefix + tag, "number", (ZERO, END))
        for tag in metrics or ()
        for data, prefix in (("train", ""), ("test", "val_"))
    ]
    rows = [("seeds", [_seeds(group) for group in heads.values()])]
    for quantity in (*QUANTITIES, *more):
        cells = [_cell(g, quantity, plus_minus) for g in heads.values()]
        if any(set(cell.values) != {"–"} for cell in cells):
            rows.append((quantity.label, cells))
    return rows


def print_summary(
    record: Mapping[str, Any], console: Console | None = None
) -> None:
    """Prints a table for each loss, then notices and findings.

    Args:
        record: The content of a comparison's `results.json`.
        console: Where to print; by default the standard output.
    """
    console = console or consoles.console()
    for loss, heads in by_loss(record).items():
        title = plain(f"{record['title']}, {loss}: ")
        title += f"{_zero(record)} → at the end"
        drawn = Table(
            title=Text(title),
            title_justify="left",
            box=box.SIMPLE_HEAD,
            show_edge=False,
            pad_edge=False,
        )
        drawn.add_column("mean ± std over seeds", no_wrap=True)
        for head in heads:
            drawn.add_column(Text(plain(head)), justify="right", no_wrap=True)
        # What is left for a cell beside the label, the columns 3 apart.
        room = (console.width - _LABEL_WIDTH) // len(heads) - 3
        for label, cells in table(heads, record.get("metrics"), "±"):
            stack = any(len(_inline(cell)) > room for cell in cells)
            drawn.add_row(label, *(_plain(cell, stack) for cell in cells))
        console.print(drawn, "")
    for sentence in notices(record) + findings(record):
        console.print(Text(f"• {plain(sentence)}"))


def markdown_summary(record: Mapping[str, Any]) -> str:
    """Returns a GitHub table for each loss, then notices and findings."""
    parts = []
    for loss, heads in by_loss(record).items():
        lines = [plain(f"#### {record['title']}, {loss}"), ""]
        lines.append(_markdown_row(f"{_zero(record)} → at the end", heads))
        lines.append(_markdown_row("---", ["---:"] * len(heads)))
        for label, cells in table(heads, record.get("metrics")):
            lines.append(_markdown_row(label, map(_inline, cells)))
        parts.append("\n".join(lines))
    sentences = notices(record) + findings(record)
    parts.append("\n".join(f"* {plain(sentence)}" for sentence in sentences))
    return "\n\n".join(filter(None, parts)) + "\n"


def notices(record: Mapping[str, Any]) -> list[str]:
    """What a reader must know before the numbers: what is only partial."""
    sentences = []
    scale = record.get("scale")
    if scale:
        epochs, theirs = scale["epochs"], scale["protocol_epochs"]
        sentences.append(
            f"{'Scaled down' if epochs < theirs else 'Longer'}: {epochs} "
            f"epochs a run instead of the {theirs} of "
            f"{scale.get('of', _PROTOCOL)}. The numbers are not those of it."
        )
    if record.get("deviations"):
        sentences.append(
            "Other settings than the protocol's: "
            f"{', '.join(record['deviations'])}."
        )
    data = record.get("data") or {}
    if data.get("per_class") is not None:
        sentences.append(
            f"Trained on {data['per_class']:,} images a class, not on all of "
            "them."
        )
    if data.get("test_images") is not None:
        sentences.append(
            f"Tested on {data['test_images']:,} images, not on all of them."
        )
    sentences += _not_found(record)
    if record.get("interrupted"):
        sentences.append(
            "Interrupted before every run had finished: the comparison is "
            "partial."
        )
    return sentences


def _not_found(record):
    rows = [row for run in record["runs"] for row in robustness(run)]
    missing = [row.get("images", 0) - row.get("found", 0) for row in rows]
    if not any(missing):
        return []
    return [
        f"DeepFool found no perturbation for up to {max(missing)} of "
        f"{rows[0]['images']} images, in {sum(m > 0 for m in missing)} of "
        f"{len(rows)} measurements. Its robustness is the mean over the others."
    ]


def findings(record: Mapping[str, Any]) -> list[str]:
    """Compares each head with the linear one, by paired seeds, in sentences.

    A difference counts as one if it is larger than its standard deviation
    over at least three seeds that both heads were trained with. That is a
    description of these seeds and no test of significance.

    Args:
        record: The content of a comparison's `results.json`.

    Returns:
        Sentences: for each loss what failed, where the training error never
        vanished, what the terminal phase changed, and how heads compare.
    """
    sentences = []
    losses = by_loss(record)
    longest = max(map(_last_epoch, groups(record).values()))
    for loss, heads in losses.items():
        for group in heads.values():
            sentences += _left_out(group) + _not_finite(group)
            sentences += _shorter(group, longest) + _never_vanished(group)
        sentences += _terminal_phase(loss, heads.values())
        if "linear" not in heads:
            sentences.append(
                f"{loss}: there is no linear head to compare with."
            )
            continue
        for head, group in heads.items():
            if head != "linear":
                sentences += _against(group, heads["linear"])
    return sentences


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


def _statistic(values: Iterable[float]) -> Statistic | None:
    values = list(values)
    if not values:
        return None
    spread = statistics.stdev(values) if len(values) > 1 else None
    return Statistic(statistics.fmean(values), spread, len(values))


def _format(number, form):
    if form.endswith("g") and 0 < abs(number) < 1e-4:
        form = ".1e"
    text = f"{number:{form}}"
    # Rounded to zero, a sign says nothing.
    return text.replace("-", "") if float(text.replace(",", "")) == 0 else text


def vanished(record: Mapping[str, Any]) -> str:
    """What counts as zero training error: ` (≤ 0.1 %)`, or nothing."""
    threshold = (record.get("settings") or {}).get("threshold")
    return "" if threshold is None else f" (≤ {100 * (1 - threshold):.2g} %)"


def _zero(record):
    return f"at zero training error{vanished(record)}"


def _seeds(group):
    counts = [len(group.reached), len(group.runs)]
    remarks = [
        f"{len(runs)} {what}"
        for what, runs in (
            ("failed", group.failed),
            ("unfinished", group.unfinished),
        )
        if runs
    ]
    values = counts[1:] if counts[0] in (0, counts[1]) else counts
    return Cell(tuple(map(str, values)), ", ".join(remarks))


def _cell(group, quantity, plus_minus):
    found = [group.statistic(quantity.key, m) for m in quantity.moments]
    texts = tuple(format_statistic(s, quantity.kind, plus_minus) for s in found)
    if quantity.key == "terminal_epoch":
        return _terminal_cell(group, texts)
    # Where a value is missing in some runs only, the mean is of the others.
    remarks = [
        f"n={s.n}"
        for s, moment in zip(found, quantity.moments, strict=True)
        if s is not None and s.n < group.expected(moment)
    ]
    return Cell(texts, ", ".join(dict.fromkeys(remarks)))


def _terminal_cell(group, texts):
    reached, runs = len(group.reached), len(group.runs)
    if runs and not reached:
        return Cell(("never",))
    remark = f"{reached} of {runs} reached" if reached < runs else ""
    return Cell(texts, remark)


def _plain(cell, stack):
    if not stack:
        return Text(_inline(cell))
    first, *later = cell.values
    remark = [cell.remark] if cell.remark else []
    return Text("\n".join([first, *(f"→ {text}" for text in later), *remark]))


def _inline(cell):
    text = " → ".join(cell.values)
    return f"{text} ({cell.remark})" if cell.remark else text


def _markdown_row(label, cells):
    texts = [plain(text).replace("|", "\\|") for text in (label, *cells)]
    return f"| {' | '.join(texts)} |"


def _seed_list(runs):
    seeds = ", ".join(str(run["seed"]) for run in runs)
    return f"seed {seeds}" if len(runs) == 1 else f"seeds {seeds}"


def _left_out(group):
    name = f"{group.loss}, {group.head}"
    return [
        f"{name}, seed {run['seed']}: failed ({problem(run)}); it is in no "
        "average."
        for run in group.failed
    ] + [
        f"{name}, seed {run['seed']}: stopped after epoch {run['epochs']}; it "
        "is in no average."
        for run in group.unfinished
    ]


def _not_finite(group):
    """Names the values that cannot be averaged, of runs that can."""
    return [
        f"{group.loss}, {group.head}, seed {run['seed']}: {quantity.label} is "
        "not finite at the end; the average leaves it out."
        for run in group.runs
        for quantity in QUANTITIES
        if END in quantity.moments
        and run["last"].get(quantity.key) is not None
        and value(run, quantity.key, END) is None
    ]


def _last_epoch(group):
    return max((run["last"]["epoch"] for run in group.runs), default=0)


def _shorter(group, longest):
    if not group.runs or _last_epoch(group) == longest:
        return []
    return [
        f"{group.loss}, {group.head}: last measured after epoch "
        f"{_last_epoch(group)}, others after epoch {longest}; the ends do not "
        "compare."
    ]


def _never_vanished(group):
    never = [run for run in group.runs if run not in group.reached]
    if not never:
        return []
    name = f"{group.loss}, {group.head}"
    share = f"in {len(never)} of {len(group.runs)} runs"
    if not group.reached:
        share = "in any run"
    return [
        f"{name}: the training error did not vanish {share} "
        f"({_seed_list(never)}): no claim about collapse is made."
    ]


def _terminal_phase(loss, members):
    runs = [
        run
        for group in members
        for run in group.reached
        if run["at_terminal_epoch"]["epoch"] < run["last"]["epoch"]
    ]
    parts = []
    for name, key, verb, sign in (
        ("NC1", "nc1", "fell", -1),
        ("test accuracy", "val_nc_accuracy", "rose", 1),
        ("DeepFool robustness", "deepfool", "rose", 1),
    ):
        gains = [value(run, key, GAIN) for run in runs]
        gains = [gain for gain in gains if gain is not None]
        if gains:
            count = sum(sign * gain > 0 for gain in gains)
            parts.append(f"{name} {verb} in {count} of {len(gains)} runs")
    if not parts:
        return []
    what = ", ".join(parts)
    return [f"{loss}: from zero training error to the end, {what}."]


def _against(group, linear):
    name = f"{group.loss}, {group.head} against linear"
    pairs = _pairs(group, linear)
    if not pairs:
        return [
            f"{name}: no seed was trained with both heads to the same epoch, "
            "so they are not compared."
        ]
    reached = [p for p in pairs if all(r.get("at_terminal_epoch") for r in p)]
    return [
        f"{name}: {sentence}"
        for sentence in (_accuracy(pairs), _collapse(reached))
        if sentence
    ]


def _pairs(group, linear):
    others = {run["seed"]: run for run in linear.runs}
    pairs = [
        (run, others[run["seed"]])
        for run in group.runs
        if run["seed"] in others
    ]
    return [
        (a, b) for a, b in pairs if a["last"]["epoch"] == b["last"]["epoch"]
    ]


def _paired_values(pairs, key):
    values = [[value(run, key, END) for run in pair] for pair in pairs]
    return [pair for pair in values if None not in pair]


def _accuracy(pairs):
    values = _paired_values(pairs, "val_nc_accuracy")
    difference = _statistic(a - b for a, b in values)
    if difference is None:
        return None
    return (
        f"test accuracy at the end {format_statistic(difference, 'points')} "
        f"points{_verdict(difference)}"
    )


def _collapse(pairs):
    values = _paired_values(pairs, "nc1")
    ratios = [a / b for a, b in values if a > 0 and b > 0]
    logarithm = _statistic(map(math.log, ratios))
    if logarithm is None:
        return None
    between = ""
    if logarithm.n > 1:
        between = f" (seeds: {min(ratios):.2g} to {max(ratios):.2g})"
    return (
        f"NC1 at the end {math.exp(logarithm.mean):.2g} times that of the "
        f"linear head{between}{_verdict(logarithm)}"
    )


def _verdict(difference):
    if difference.n == 1:
        return ". One seed: no spread, no ranking."
    over = f" over {difference.n} paired seeds: "
    if difference.n < _ENOUGH_SEEDS:
        return over + "too few seeds to tell."
    if abs(difference.mean) <= difference.spread:
        return over + "no difference beyond the spread of the seeds."
    word = "higher" if difference.mean > 0 else "lower"
    return over + f"{word} by more than the spread of the seeds."
