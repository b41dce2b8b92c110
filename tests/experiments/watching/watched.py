"""Folders of runs that never ran, as a watch finds them."""

import contextlib
import json
import os

from rich.console import Console

from nc_keras.experiments import locks
from nc_keras.experiments.watching.screen import screen
from tests.experiments import records


def line(epoch, seconds, head="linear"):
    """A line as a run writes it: not every epoch is measured."""
    row = {"epoch": epoch, "accuracy": 0.9, "loss": 0.5, "seconds": seconds}
    if epoch in records.EPOCHS:
        row |= records.row(epoch, head, 0)
    past = epoch - records.ZERO
    row |= {"terminal_phase": int(past >= 0), "terminal_epochs": max(0, past)}
    return json.dumps(row) + "\n"


def lines(last, pace=2.0):
    return "".join(line(e, 5.0 + pace * e) for e in range(1, last + 1))


def make_run(folder, last, text=None, **outcome):
    folder.mkdir(parents=True)
    loss, head, seed = folder.name.split("-")
    run = {"loss": loss, "head": head, "seed": int(seed), **outcome}
    (folder / "run.json").write_text(json.dumps(run))
    if last:
        metrics = lines(last) if text is None else text
        (folder / "metrics.jsonl").write_text(metrics)
    return folder


def make_settings(folder, heads=(), epochs=records.EPOCHS[-1]):
    folder.mkdir(parents=True, exist_ok=True)
    settings = {"epochs": epochs, "seeds": [0], "losses": ["ce"]}
    settings["heads"] = list(heads)
    (folder / "settings.json").write_text(json.dumps(settings))
    return folder


@contextlib.contextmanager
def every_state(folder):
    """A comparison with a run in every state."""
    heads = ("linear", "etf", "etf_dim_c", "weight_norm")
    comparison = make_settings(folder / "digits-mlp", heads)
    make_run(comparison / "ce-linear-0", 35, finished=True, failure=None)
    running = make_run(comparison / "ce-etf-0", 20)
    make_run(comparison / "ce-etf_dim_c-0", 8, finished=False, failure=None)
    failure = "the loss was not finite in epoch 3"
    make_run(comparison / "mse-etf-0", 2, finished=True, failure=failure)
    damaged = make_run(comparison / "mse-linear-0", 5)
    (damaged / "run.json").write_text('{"loss": "m')
    with locks.hold(running):
        yield comparison


def shown(rows, width=120, height=None):
    """What a terminal shows of runs."""
    console = Console(width=width, record=True, file=open(os.devnull, "w"))
    with console.file:
        console.print(screen(rows, "runs", height))
    return console.export_text()


def cells(text, name):
    """The numbers of a run in what a terminal shows."""
    (found,) = [part for part in text.splitlines() if f" {name} " in part]
    return found.partition(f" {name} ")[2].split()
