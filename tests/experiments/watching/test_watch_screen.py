import re

import pytest

from nc_keras.experiments.locks import hold
from nc_keras.experiments.watching.states import Watch
from nc_keras.experiments.watching.words import duration
from tests.experiments import records
from tests.experiments.watching.watched import cells
from tests.experiments.watching.watched import every_state
from tests.experiments.watching.watched import make_run
from tests.experiments.watching.watched import shown


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    with every_state(tmp_path_factory.mktemp("runs")) as folder:
        return Watch([folder]).look()


def test_what_the_screen_says(rows):
    text = shown(rows)
    first, second, *_ = text.splitlines()
    last = records.row(20, "linear", 0)
    assert second.rstrip().split("  ") == [
        "● 1 running",
        "✗ 1 diverged",
        "? 1 damaged",
        "■ 1 stopped",
        "✓ 1 finished",
        "○ 1 planned",
    ]
    assert cells(text, "ce-etf-0") == [
        "20/35",
        "0.00",
        f"{100 * (1 - last['val_nc_accuracy']):.2f}",
        f"{last['nc1']:.3g}",
        "12",
        "2",
        "30",
        "s",
    ]
    assert cells(text, "ce-etf_dim_c-0")[4] == "–"
    assert "mse-etf-0: the loss was not finite in epoch 3" in text


def test_the_screen_says_how_long(tmp_path):
    with every_state(tmp_path) as folder:
        text = shown(Watch([folder]).look())
    # Of two seconds: 15 epochs of the run, 35 of the one that is planned, and
    # 27 of the one that was stopped.
    assert text.splitlines()[0].rstrip() == "runs   3 min left"


def test_eighty_columns(rows):
    text = shown(rows, 80)
    assert max(map(len, text.splitlines())) <= 80
    # Neither cut nor wrapped.
    assert cells(text, "ce-etf-0")[0] == "20/35"
    assert "○ 1 planned" in text.splitlines()[1]


def test_the_end_of_a_long_name_is_kept(tmp_path):
    name = "rescaled_square-weight_norm-0"
    make_run(tmp_path / "fashion_mnist-densenet250" / name, 35)
    text = shown(Watch([tmp_path]).look(), 80)
    assert re.search(rf"■ …\S+/{name} +35/\? ", text)
    assert max(map(len, text.splitlines())) <= 80


def test_more_runs_than_lines(tmp_path):
    for number in range(30):
        make_run(tmp_path / f"ce-etf-{number}", 1, finished=True)
    with hold(make_run(tmp_path / "ce-linear-0", 1)):
        rows = Watch([tmp_path]).look()
    for height in (8, 12, 36):
        text = shown(rows, 80, height).rstrip("\n").splitlines()
        assert len(text) == height
        assert re.match("● +ce-linear-0 ", text[6])
        hidden = 31 - (height - 7)
        assert text[-1].startswith(f"… and {hidden} more: ✓ {hidden} finished")
    # Everything, where there is a line for everything.
    assert "…" not in shown(rows, 80, 37) + shown(rows, 80)


def test_words_for_times():
    words = [duration(s) for s in (0, 89, 100, 5400, 172800, None)]
    assert words == ["0 s", "89 s", "2 min", "1.5 h", "2.0 d", "–"]
