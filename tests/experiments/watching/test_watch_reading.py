import json
import os

import pytest

from nc_keras.experiments.watching.reading import Metrics
from tests.experiments.watching.watched import line
from tests.experiments.watching.watched import lines


def state_of(metrics):
    return vars(metrics) | {"_paces": list(metrics._paces)}


@pytest.fixture
def growing(tmp_path):
    path = tmp_path / "metrics.jsonl"
    return path, Metrics(path)


def test_lines_are_read_when_they_are_whole(growing):
    path, metrics = growing
    assert metrics.update().epoch == 0
    path.write_text(lines(20))
    assert metrics.update().epoch == 20
    assert metrics.update().epoch == 20
    with open(path, "a") as file:
        file.write(line(21, 50.0))
        file.write(line(22, 52.0)[:-9])
    assert metrics.update().epoch == 21
    assert metrics.problem is None
    with open(path, "a") as file:
        file.write(line(22, 52.0)[-9:])
    assert metrics.update().epoch == 22
    assert state_of(metrics) == state_of(Metrics(path).update())


def cut(path, text):
    """In place, so that it stays the same file."""
    with open(path, "r+") as file:
        file.truncate(0)
        file.write(text)


def replace(path, text):
    other = path.with_name("other")
    other.write_text(text)
    os.replace(other, path)


@pytest.mark.parametrize("change", [cut, replace])
@pytest.mark.parametrize("last", [0, 5, 20, 30])
def test_a_run_that_begins_again(growing, change, last):
    path, metrics = growing
    path.write_text(lines(20))
    assert metrics.update().terminal_epoch == 12
    # Up to epoch 8 as before; what comes then is as long as it was.
    text = lines(min(last, 8)) + lines(last, pace=3.0)[len(lines(8)) :]
    change(path, text)
    assert metrics.update().epoch == last
    assert metrics.terminal_epoch == (12 if last >= 12 else None)
    assert state_of(metrics) == state_of(Metrics(path).update())


def test_a_file_that_is_gone(growing):
    path, metrics = growing
    path.write_text(lines(20))
    metrics.update()
    path.unlink()
    assert metrics.update().epoch == 0 and not metrics.last


def test_the_clock_of_a_run_that_resumed(growing):
    path, metrics = growing
    path.write_text(
        lines(5) + "".join(line(6 + i, 4.0 + 4 * i) for i in range(5))
    )
    # One of seven seconds, four of two, four of four, none back to the start.
    assert metrics.update().pace == 4.0


def test_null_is_not_a_number(growing):
    path, metrics = growing
    values = {"accuracy": None, "nc_accuracy": None, "nc1": None}
    path.write_text(lines(5) + json.dumps({"epoch": 6, **values}) + "\n")
    last = metrics.update().last
    assert str(last["error"]) == str(last["nc1"]) == "nan"
    # It is no point of a curve.
    assert [epoch for epoch, _ in metrics.curves["nc1"]] == [1, 2, 3, 5]
