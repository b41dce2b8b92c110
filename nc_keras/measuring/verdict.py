"""Says in words whether a network has collapsed."""

from __future__ import annotations

import dataclasses
import math
import textwrap
from collections.abc import Mapping
from typing import Any

from nc_keras.measuring.registry import GROUPS
from nc_keras.measuring.registry import METRICS

COLLAPSED, PARTLY, NO = "collapsed", "partly", "no"
_STATES = (COLLAPSED, PARTLY, NO)
# In `logs`, "accuracy" is the running mean of Keras.
_ACCURACIES = ("nc_accuracy", "accuracy")


@dataclasses.dataclass(frozen=True)
class Finding:
    """What is found of one of NC1 to NC4.

    Attributes:
        group: String, `"NC1"` and so on.
        state: `"collapsed"`, `"partly"` or `"no"`.
        tag: String, the metric that is furthest from its goal.
        value: Float, its value.
        limits: Two numbers, up to which it is collapsed, and partly so.
    """

    group: str
    state: str
    tag: str
    value: float
    limits: tuple[float, float]

    @property
    def number(self) -> str:
        """The value beside its limit, such as `"nc1 0.0035, up to 0.1"`."""
        relation = "above" if self.state == NO else "up to"
        limit = self.limits[min(_STATES.index(self.state), 1)]
        return f"{self.tag} {self.value:.3g}, {relation} {limit:g}"

    def __str__(self) -> str:
        meaning = GROUPS[self.group][0].partition("  ")[2]
        line = f"{self.group} {self.state:9}  {meaning}"
        return f"{line}\n{' ' * 15}{self.number}"


@dataclasses.dataclass(frozen=True)
class Verdict:
    """Whether a network has collapsed: what `nc_keras.verdict` returns.

    Attributes:
        state: `"collapsed"` if all of NC1 to NC4 are, `"no"` if none is, not
            even partly, `"partly"` otherwise; or `None`, if there can be no
            verdict.
        findings: Dictionary from `"NC1"` and so on to `Finding`s.
        reason: String, why there is no verdict, or `""`.
    """

    state: str | None
    findings: Mapping[str, Finding]
    reason: str = ""

    @property
    def sentence(self) -> str:
        """The verdict in one sentence."""
        if self.state is None:
            return f"No verdict: {self.reason}"
        if self.state == COLLAPSED:
            return f"Collapsed: {', '.join(self.findings)} reached."
        parts: dict[str, list[str]] = {state: [] for state in _STATES}
        for group, found in self.findings.items():
            is_reached = found.state == COLLAPSED
            text = group if is_reached else f"{group} ({found.number})"
            parts[found.state].append(text)
        words = {COLLAPSED: "reached", PARTLY: "partly", NO: "not"}
        title = "Not collapsed" if self.state == NO else "Partly collapsed"
        listed = [
            f"{', '.join(groups)} {words[state]}"
            for state, groups in parts.items()
            if groups
        ]
        return f"{title}: {'; '.join(listed)}."

    def __str__(self) -> str:
        lines = textwrap.wrap(self.sentence, 80)
        return "\n".join([*lines, *map(str, self.findings.values())])


def verdict(
    values: Mapping[str, Any],
    limits: Mapping[str, tuple[float, float]] | None = None,
    zero_error: float = 0.999,
    num_classes: int | None = None,
) -> Verdict:
    """Says which of NC1 to NC4 a network has reached.

    Of each of NC1 to NC4 the metric that is furthest from its goal decides.
    The limits are ours, for a first look; the papers give curves, and no
    limits. There is no verdict before the training error has vanished:
    neural collapse is what a network does after that.

    Args:
        values: Values of the training set: what `nc_keras.measure` returns,
            or a `nc_keras.report`, or the `logs` of an epoch.
        limits: Dictionary from tags to two numbers, up to which a metric is
            collapsed, and partly so. They replace, or come beside, those of
            `nc_keras.metrics.METRICS[tag].limits`.
        zero_error: Float, the training accuracy from which on the training
            error counts as zero, as that of
            `nc_keras.callbacks.TerminalPhase`.
        num_classes: Integer, or `None` to take that of a report. Of two
            classes NC2 is left out: it is zero whatever the network does.

    Returns:
        A `Verdict`, which prints as a few lines.

    Raises:
        ValueError: If limits are not two increasing numbers of a metric that
            there is.

    Example:

    >>> early = nc_keras.verdict({"accuracy": 0.97, "nc1": 2.0})
    >>> print(early)  # doctest: +NORMALIZE_WHITESPACE
    No verdict: the training error is 3 %, and neural collapse begins when it
    has vanished (below 0.1 %).
    >>> found = nc_keras.verdict({"accuracy": 1.0, "nc1": 0.02, "nc3": 0.3})
    >>> print(found)
    Partly collapsed: NC1 reached; NC3 (nc3 0.3, up to 0.5) partly.
    NC1 collapsed  features become their class means
                   nc1 0.02, up to 0.1
    NC3 partly     the head's rows become the class means
                   nc3 0.3, up to 0.5
    >>> found.findings["NC3"].state
    'partly'
    """
    known = _limits(limits or {})
    if num_classes is None:
        classes = getattr(values, "classes", {}).get("train")
        num_classes = None if classes is None else len(classes)
    values = values.get("train", values)
    reason = _too_early(values, zero_error)
    if reason:
        return Verdict(None, {}, reason)
    findings: dict[str, Finding] = {}
    for tag, (low, high) in known.items():
        if tag not in values or math.isnan(values[tag]):
            continue
        value, group = float(values[tag]), METRICS[tag].group
        if group == "NC2" and num_classes == 2:
            continue
        state = _STATES[(value > low) + (value > high)]
        found = Finding(group, state, tag, value, (low, high))
        if group not in findings or _distance(found) > _distance(
            findings[group]
        ):
            findings[group] = found
    if not findings:
        names = ", ".join(known)
        return Verdict(None, {}, f"none of {names} is among the values.")
    states = {finding.state for finding in findings.values()}
    state = states.pop() if len(states) == 1 else PARTLY
    return Verdict(state, dict(sorted(findings.items())))


def _limits(given):
    for tag, pair in given.items():
        if tag not in METRICS:
            raise ValueError(
                "`limits` are of metrics. There is no metric "
                f"{tag!r}. Received: limits of {', '.join(given)}."
            )
        if not METRICS[tag].goal.startswith("0"):
            raise ValueError(
                "`limits` are of metrics that go to 0. Received: limits of "
                f"{tag}, which goes to {METRICS[tag].goal or 'no number'}."
            )
        if not (len(pair) == 2 and pair[0] <= pair[1]):
            raise ValueError(
                "`limits` must be two numbers, the first of them not the "
                f"larger. Received: limits[{tag!r}]={pair!r}."
            )
    found = {m.tag: m.limits for m in METRICS.values() if m.limits}
    return found | dict(given)


def _too_early(values, zero_error):
    accuracy = next((values[k] for k in _ACCURACIES if k in values), None)
    if accuracy is None:
        return "it needs the training accuracy, `accuracy`, among the values."
    if math.isnan(accuracy):
        return "the training accuracy was not measured in this epoch."
    if accuracy >= zero_error:
        return ""
    error, vanished = 100 * (1 - accuracy), 100 * (1 - zero_error)
    return (
        f"the training error is {error:.3g} %, and neural collapse begins when "
        f"it has vanished (below {vanished:.3g} %)."
    )


def _distance(finding):
    low, high = finding.limits
    return _STATES.index(finding.state), finding.value / (low or 1.0)
