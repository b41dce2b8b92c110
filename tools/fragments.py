"""What the documents show of a result, as Markdown, from its kept record."""

from collections.abc import Callable
from collections.abc import Mapping
from typing import Any

import numpy as np

from nc_keras.experiments.results import summary
from nc_keras.experiments.results import tables
from nc_keras.experiments.results.findings import findings as findings_of
from nc_keras.experiments.results.findings import notices
from tools import benchmark_fragments
from tools.markdown import table
from tools.markdown import text

Kept = Mapping[str, Any]
# What no table shows, or what depends on what else the machine did.
_LEFT_OUT = ("measured", "seconds", "seconds_per_epoch")
_KEYS = {quantity.key for quantity in summary.QUANTITIES} | {"epoch", "loss"}
_SHORT = 6


def reduced(record: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what is kept of a record: what documents show.

    Args:
        record: The content of a `results.json` or a `sweep.json`.
    """
    kept = {k: v for k, v in record.items() if k not in ("curves", "machine")}
    for name in ("parts", "snr", "times", "epochs", "command"):
        kept.pop(name, None)
    if "runs" in kept:
        more = _logged(kept.get("metrics") or ())
        kept["runs"] = [_reduced_run(run, more) for run in kept["runs"]]
    for network in kept.get("networks", ()):
        network.pop("curves", None)
    settings = dict(kept["settings"])
    # Where it was written is nobody's business.
    for name in ("output", "data_dir"):
        settings.pop(name, None)
    return _rounded(kept) | {"settings": settings}


def made(kept: Kept) -> str:
    """How a result was made: command, commit, versions, machine."""
    versions, machine = kept["versions"], kept["machine"]
    backend = machine["backend"]
    return (
        f"`{kept['command']}`, at commit {kept['commit'][:7]} on "
        f"{kept['date']}: Keras {versions['keras']}, "
        f"{backend} {versions.get(backend, '')}, {machine['processor']}, "
        f"{machine['cores']} cores."
    )


def comparison(kept: Kept) -> str:
    """A table for each loss of a comparison, a column for each head."""
    record = kept["record"]
    parts = []
    for loss, heads in summary.by_loss(record).items():
        rows = []
        for label, cells in tables.table(heads):
            if "memory" not in label:
                arrows = [" → ".join(cell.values) for cell in cells]
                rows.append(
                    {loss: label, **dict(zip(heads, arrows, strict=True))}
                )
        parts.append(table(rows))
    return "\n\n".join(parts)


def findings(kept: Kept) -> str:
    """What a comparison says of itself, a line for each sentence."""
    record = kept["record"]
    said = notices(record) + findings_of(record)
    return "\n".join(f"* {sentence}" for sentence in said)


def verdict(kept: Kept) -> str:
    """What a study says of itself, a line for each sentence."""
    said = kept["record"]["verdict"]
    said = [said] if isinstance(said, str) else said
    return "\n".join(f"* {sentence}" for sentence in said)


def digits_sentence(kept: Kept) -> str:
    """What the first command of the README shows, in words."""
    groups = summary.groups(kept["record"])
    words = []
    for head, name in (("linear", "learned"), ("etf_dim_c", "fixed")):
        group = groups["ce", head]
        words.append(
            f"with the {name} head NC1 falls from "
            f"{_mean(group, 'nc1', summary.FIRST)} to "
            f"{_mean(group, 'nc1', summary.END)} and NC3 to "
            f"{_mean(group, 'nc3', summary.END)}"
        )
    tests = [
        _mean(groups["ce", head], "val_nc_accuracy", summary.END, "percent")
        for head in ("linear", "etf_dim_c")
    ]
    text = f"{'; '.join(words)}; test accuracy {tests[0]} % and {tests[1]} %"
    return f"{text[0].upper()}{text[1:]} (means of three seeds)."


def turned_sentence(kept: Kept) -> str:
    """Why the default fixed head is not turned."""
    groups = summary.groups(kept["record"])
    turned, plain = (
        _mean(groups["ce", head], "nc3", summary.END)
        for head in ("etf", "etf_dim_c")
    )
    return (
        "Features after a ReLU are never negative, and a frame turned at "
        "random (`etf`) has negative entries: in our trainings they do not "
        f"meet it, and its NC3 stays at {turned}, where d = C (`etf_dim_c`) "
        f"ends at {plain}."
    )


def terminal_phase(kept: Kept) -> str:
    """What the terminal phase changed: a row for each run."""
    rows = []
    for run in kept["record"]["runs"]:
        zero, last = run.get("at_terminal_epoch"), run["last"]
        robust = {r["epoch"]: r["deepfool"] for r in run.get("robustness", ())}
        rows.append(
            {
                "head": run["head"],
                "zero error at": zero["epoch"] if zero else "never",
                "train accuracy, %": f"{100 * last['nc_accuracy']:.2f}",
                "test accuracy, %": _arrow(
                    zero, last, "val_nc_accuracy", 100, ".2f"
                ),
                "NC1": _arrow(zero, last, "nc1", 1, ".3g"),
                "NC3": _arrow(zero, last, "nc3", 1, ".3g"),
                "robustness": " → ".join(
                    f"{robust[row['epoch']]:.3f}"
                    for row in (zero, last)
                    if row and row["epoch"] in robust
                ),
            }
        )
    return table(rows)


def sweep(kept: Kept) -> str:
    """A row for each learning rate; the best is marked."""
    record = kept["record"]
    best = {point["rate"] for point in record["best"]}
    return table(
        [
            {
                "rate": f"{point['rate']:.4g}"
                + (" **best**" if point["rate"] in best else ""),
                "test error, %": f"{100 * point['test_error']:.2f}",
                "train error, %": f"{100 * point['train_error']:.2f}",
                "NC1": f"{point['nc1']:.3g}",
            }
            for point in record["points"]
        ]
    )


def parity(kept: Kept) -> str:
    """The notebook's numbers beside ours."""
    return table(_of(kept, "rows"))


def moments(kept: Kept) -> str:
    """The parts of the MSE loss at three moments."""
    return table(
        [{"at": row.pop("")} | row for row in map(dict, _of(kept, "moments"))]
    )


def cases(kept: Kept) -> str:
    """Where unconstrained features ended, beside the prediction."""
    names = {
        "case": "loss",
        "off": "off by at most",
        "is_simplex": "simplex ETF predicted",
        "nc2_etf_weights": "NC2 of the head",
    }
    return table(
        [
            {label: row[key] for key, label in names.items()}
            for row in _of(kept, "cases")
        ]
    )


def arms(kept: Kept) -> str:
    """The four trainings of the study of weight decay, in columns."""
    return table(_of(kept, "runs"), across=True)


def runs(kept: Kept) -> str:
    """A row for each training of a study."""
    return table(_of(kept, "runs"))


def grid(kept: Kept) -> str:
    """The ranks over batch size, rate and decay."""
    names = ("learning rate", "weight decay", "batch size", "rank")
    names += ("stable rank", "train error, %", "test accuracy, %")
    return table([{n: row[n] for n in names} for row in _of(kept, "grid")])


def observations(kept: Kept) -> str:
    """What a paper saw, and whether it is seen here."""
    return table(_of(kept, "observations"))


def measurements(kept: Kept) -> str:
    """A row for each moment of a training."""
    return table(_of(kept, "table"))


def kernels(kept: Kept) -> str:
    """The kernels along each training, in columns."""
    return table(_of(kept, "table"), across=True)


def ridges(kept: Kept) -> str:
    """What kernels of infinite networks decide, by their ridge."""
    return table(_of(kept, "ridges"))


def rare(kept: Kept) -> str:
    """What each loss and head make of rare classes, the best first."""
    columns = {
        "test, rare, %": ("val_accuracy_minority", 100, ".1f"),
        "test, frequent, %": ("val_accuracy_majority", 100, ".1f"),
        "test, all, %": ("val_balanced_accuracy", 100, ".1f"),
        "NC1": ("nc1", 1, ".3g"),
        "cosine of rare rows": ("cosine_minority_weights", 1, ".2f"),
        "cosine of rare means": ("cosine_minority_means", 1, ".2f"),
        "to the nearest ETF": ("nc2_nearest_etf_means", 1, ".2f"),
    }
    rows = []
    for (loss, head), by_seed in _by_pair(kept).items():
        row = {"loss": loss, "head": head}
        for title, (key, factor, form) in columns.items():
            values = [factor * one[key] for one in by_seed.values()]
            mean, spread = np.mean(values), np.std(values, ddof=1)
            row[title] = f"{mean:{form}} ± {spread:{form}}"
        rows.append((-_rare(by_seed).mean(), row))
    return table([row for _, row in sorted(rows, key=lambda one: one[0])])


def rare_findings(kept: Kept) -> str:
    """With which losses and heads rare classes gain, seed by seed."""
    pairs = _by_pair(kept)
    plain = pairs.pop(("ce", "linear"))
    said: dict[str, list[str]] = {"better": [], "worse": [], "mixed": []}
    gains = {
        pair: 100 * (_rare(by_seed) - _rare(plain))
        for pair, by_seed in pairs.items()
    }
    for (loss, head), gain in sorted(
        gains.items(), key=lambda one: -one[1].mean()
    ):
        kind = "better" if (gain > 0).all() else "mixed"
        kind = "worse" if (gain < 0).all() else kind
        said[kind].append(f"`{loss}` {head} ({gain.mean():+.1f} points)")
    beside = f"`ce` with a linear head ({100 * _rare(plain).mean():.1f} %)"
    words = {
        "better": f"Rare classes are better than with {beside} in every seed",
        "worse": "Worse in every seed",
        "mixed": "Better in some seeds and worse in others",
    }
    return "\n".join(
        f"* {words[kind]}: {', '.join(names)}."
        for kind, names in said.items()
        if names
    )


def _by_pair(kept):
    """The last logs by loss and head, and by seed."""
    found: dict[tuple[str, str], dict[int, Any]] = {}
    for run in kept["record"]["runs"]:
        pair = run["loss"], run["head"]
        found.setdefault(pair, {})[run["seed"]] = run["last"]
    return {pair: dict(sorted(rows.items())) for pair, rows in found.items()}


def _rare(by_seed):
    """The test accuracy of rare classes of each seed."""
    return np.array([one["val_accuracy_minority"] for one in by_seed.values()])


def claims(kept: Kept) -> str:
    """In how many pairs of neighbours the rank fell."""
    return table(_of(kept, "claims"))


def bounds(kept: Kept) -> str:
    """The bounds before and after the training of each network."""
    return table(
        [
            {"H": network["width"]}
            | {
                name: _between(network, name)
                for name in ("convolutional", "positions", "dense", "spectral")
            }
            | {
                name.replace("_", " ") + ", %": 100 * network["measured"][name]
                for name in ("test_error", "gap")
            }
            for network in _of(kept, "networks")
        ]
    )


FRAGMENTS: dict[str, Callable[[Kept], str]] = {
    function.__name__: function
    for function in (
        *(made, comparison, findings, terminal_phase, sweep),
        *(digits_sentence, turned_sentence),
        *(parity, verdict, moments, cases, arms, runs, grid, claims, bounds),
        *(observations, measurements, kernels, rare, rare_findings, ridges),
    )
} | benchmark_fragments.FRAGMENTS


def _of(kept, key):
    return kept["record"][key]


def _between(network, name):
    start, end = (network[when][name]["value"] for when in ("start", "end"))
    return f"{text(start)} → {text(end)}"


def _mean(group, key, moment, kind="number"):
    statistic = group.statistic(key, moment)
    form = summary.KINDS[kind]
    return f"{statistic.mean * form.factor:{form.mean}}"


def _arrow(zero, last, key, factor, form):
    both = [zero, last] if zero else [last]
    return " → ".join(f"{factor * row[key]:{form}}" for row in both)


def _logged(tags):
    """The keys of metrics in the logs, of training and test set."""
    return [prefix + tag for tag in tags for prefix in ("", "val_")]


def _reduced_run(run, more):
    if "head" not in run:
        return run
    return {
        key: {
            k: v
            for k, v in value.items()
            if k in _KEYS or (key == "last" and k in more)
        }
        if key in ("first", "at_terminal_epoch", "last") and value
        else value
        for key, value in run.items()
        if key not in _LEFT_OUT
    }


def _rounded(value):
    """Numbers to six digits: more are not shown, and files stay small."""
    if isinstance(value, float):
        return float(f"{value:.{_SHORT}g}")
    if isinstance(value, Mapping):
        return {key: _rounded(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(one) for one in value]
    return value
