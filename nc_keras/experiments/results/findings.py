"""What a comparison came to, in sentences.

They describe the seeds that there are, and test no significance.
"""

import math
from collections.abc import Mapping
from typing import Any

from nc_keras.experiments.results.summary import END
from nc_keras.experiments.results.summary import GAIN
from nc_keras.experiments.results.summary import QUANTITIES
from nc_keras.experiments.results.summary import by_loss
from nc_keras.experiments.results.summary import format_statistic
from nc_keras.experiments.results.summary import groups
from nc_keras.experiments.results.summary import problem
from nc_keras.experiments.results.summary import robustness
from nc_keras.experiments.results.summary import statistic
from nc_keras.experiments.results.summary import value
from nc_keras.measuring.verdict import verdict

_PROTOCOL = "the papers' protocol"
_ENOUGH_SEEDS = 3


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
            f"Trained on {data['per_class']:,} images per class, not on all of "
            "them."
        )
    if data.get("imbalance"):
        sentences.append(
            f"Classes are unequal ({data['imbalance']}): the largest has "
            f"{data['ratio']:g} times the images of the smallest, in training "
            "alone."
        )
    if data.get("oversample"):
        sentences.append(
            "Images of rare classes come up to "
            f"{data['oversample']:g} times in a pass."
        )
    if data.get("test_images") is not None:
        sentences.append(
            f"Tested on {data['test_images']:,} images, not on all of them."
        )
    if data.get("note"):
        sentences.append(data["note"])
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
        vanished, which of NC1 to NC4 was reached at the last epoch, what the
        terminal phase changed, and how heads compare.
    """
    sentences = []
    losses = by_loss(record)
    longest = max(map(_last_epoch, groups(record).values()))
    for loss, heads in losses.items():
        for group in heads.values():
            sentences += _left_out(group) + _not_finite(group)
            sentences += _shorter(group, longest) + _never_vanished(group)
            sentences += _reached(group, record)
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


def _reached(group, record):
    """Of the means over seeds, where the training error has vanished."""
    # Imports Keras, which reading a record does without.
    from nc_keras.metrics import METRICS

    tags = [m.tag for m in METRICS.values() if m.limits] + ["nc_accuracy"]
    values = {tag: group.statistic(tag, END) for tag in tags}
    settings, data = (record.get(k) or {} for k in ("settings", "data"))
    found = verdict(
        {k: v.mean for k, v in values.items() if v is not None},
        zero_error=settings.get("threshold") or 0.999,
        num_classes=data.get("classes"),
    )
    if found.state is None:
        return []
    return [f"{group.loss}, {group.head}: {found.sentence}"]


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
    difference = statistic(a - b for a, b in values)
    if difference is None:
        return None
    return (
        f"test accuracy at the end {format_statistic(difference, 'points')} "
        f"points{_verdict(difference)}"
    )


def _collapse(pairs):
    values = _paired_values(pairs, "nc1")
    ratios = [a / b for a, b in values if a > 0 and b > 0]
    logarithm = statistic(map(math.log, ratios))
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
