"""The layers of a model whose weights have a share of the kernel."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any

import keras

from nc_keras.graph import children
from nc_keras.kernel.rules import Rule
from nc_keras.kernel.rules import rule_of
from nc_keras.recording import around

# What calls its layers in a loop of its own, in which nothing can be recorded.
_LOOPS = (
    keras.layers.RNN,
    keras.layers.Bidirectional,
    keras.layers.TimeDistributed,
)
OUTER, JACOBIAN = "outer products", "per-example Jacobian"


@dataclasses.dataclass(eq=False)
class Unit:
    """Weights whose share of the kernel is computed at once.

    Args:
        layer: The layer that has them.
        weights: Those that are trained.
        rule: What is known of the layer, or `None`.
        shape: Of what its weights make, without the axis of the examples.
        kinds: The parts that the rule gives, by how many outputs they are of.
        sizes: Of how many numbers the gradients of one example are made: in
            all, and for each output.
    """

    layer: keras.Layer
    weights: list
    rule: Rule | None = None
    shape: tuple = ()
    kinds: dict[int, list] = dataclasses.field(default_factory=dict)
    sizes: tuple[int, int] = (0, 0)

    @property
    def how(self) -> str:
        return JACOBIAN if self.rule is None else OUTER


def units_of(model: keras.Model, use_rules: bool = True) -> Iterator[Unit]:
    """The layers with trained weights, each with what is known of it."""
    pending, seen = [model], set()
    while pending:
        layer = pending.pop()
        if id(layer) in seen:
            continue
        seen.add(id(layer))
        rule = rule_of(layer) if use_rules else None
        inner = children(layer) if rule is None else []
        if isinstance(layer, _LOOPS):
            inner = []
        of_inner = {id(w) for one in inner for w in one.trainable_weights}
        own = [w for w in layer.trainable_weights if id(w) not in of_inner]
        if own:
            yield Unit(layer, own, rule)
        pending.extend(reversed(inner))


def unshared(units: list[Unit]) -> list[Unit]:
    """Units, without the rule where two layers have the same weights."""
    owners: dict[int, list[Unit]] = {}
    for unit in units:
        for weight in unit.weights:
            owners.setdefault(id(weight), []).append(unit)
    for several in owners.values():
        for later in several[1:]:
            several[0].rule = later.rule = None
            later.weights = [
                w for w in later.weights if len(owners[id(w)]) == 1
            ]
    return [unit for unit in units if unit.weights]


def names_of(units: list[Unit]) -> list[str]:
    """The names of their layers, with numbers where they are not unique."""
    names: list[str] = []
    for unit in units:
        name, number = unit.layer.name, 1
        while name in names:
            name, number = f"{unit.layer.name}_{number}", number + 1
        names.append(name)
    return names


@contextlib.contextmanager
def recording(units: list[Unit], shifts: Any = None) -> Iterator[list[list]]:
    """Records what the rules need, each time a layer is called.

    Args:
        units: List of `Unit`.
        shifts: By the index of a unit, what is added to what its weights
            make. Defaults to nothing.
    """
    records: list[list] = [[] for _ in units]
    with contextlib.ExitStack() as stack:
        for index, unit in enumerate(units):
            if unit.rule is None:
                continue
            shift = 0.0 if shifts is None else shifts[index]
            call = _recorded(unit.rule, shift, records[index])
            stack.enter_context(around(unit.layer, "call", call))
        yield records


def _recorded(rule, shift, record):
    def call(method, inputs, *args, **kwargs):
        outputs, found = rule.call(method, shift, inputs, *args, **kwargs)
        record.append(found)
        return outputs

    return call
