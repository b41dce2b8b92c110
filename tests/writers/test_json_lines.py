import json

import pytest

from nc_keras.writers.json_lines import JSONLinesWriter
from nc_keras.writers.json_lines import read_json_lines


def test_rows_are_on_disk_at_once_and_valid_json(tmp_path):
    path = tmp_path / "rows.jsonl"
    writer = JSONLinesWriter(path)
    writer.write({"epoch": 1, "nc1": float("nan"), "loss": float("inf")})
    writer.write({"epoch": 2, "nc1": 0.1})

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    rows = [
        json.loads(line, parse_constant=refuse)
        for line in path.read_text().splitlines()
    ]
    assert rows == [
        {"epoch": 1, "nc1": None, "loss": None},
        {"epoch": 2, "nc1": 0.1},
    ]


def test_resume_takes_back_later_rows_and_a_cut_line(tmp_path):
    path = tmp_path / "rows.jsonl"
    writer = JSONLinesWriter(path)
    for epoch in range(1, 6):
        writer.write({"epoch": epoch})
    with open(path, "a") as file:
        file.write('{"epoch": 6')
    assert len(read_json_lines(path)) == 5
    writer = JSONLinesWriter(path, first_epoch=4)
    assert [row["epoch"] for row in writer.earlier] == [1, 2, 3]
    writer.write({"epoch": 4})
    assert [row["epoch"] for row in read_json_lines(path)] == [1, 2, 3, 4]
    assert list(tmp_path.iterdir()) == [path]


def test_a_run_from_the_start_keeps_the_earlier_file(tmp_path):
    path = tmp_path / "rows.jsonl"
    for run in range(3):
        JSONLinesWriter(path).write({"epoch": 1, "run": run})
    names = ("rows.1.jsonl", "rows.2.jsonl", "rows.jsonl")
    kept = [read_json_lines(tmp_path / name)[0]["run"] for name in names]
    assert kept == [0, 1, 2]


def test_no_file_has_no_rows(tmp_path):
    assert read_json_lines(tmp_path / "none.jsonl") == []


def written(path, *epochs):
    path.write_text("".join(f'{{"epoch": {e}, "v": 1}}\n' for e in epochs))
    return path


@pytest.mark.parametrize(
    "lines, message",
    [
        (b'{"epoch": 1}\n{"epoch": 2, x}\n', "line 2"),
        (b'{"epoch": 1}\n\xff\n', "line 2"),
        (b'{"epoch": 1}\n[3]\n', "line 2"),
        (b'{"epoch": 1}\n{"epoch": "2"}\n', "line 2"),
        (b'{"epoch": 1}\n\0\0\0\n{"epoch": 3}\n', "line 2"),
        (b"[" * 100_000 + b"\n", "line 1"),
        (b'{"epoch": 1}\n{"epoch": 1}\n', "epoch 1 comes after epoch 1"),
        (b'{"epoch": 2}\n{"epoch": 1}\n', "epoch 1 comes after epoch 2"),
    ],
)
def test_damage_names_file_and_line(tmp_path, lines, message):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(lines)
    with pytest.raises(ValueError, match=f"is damaged.*{message}"):
        read_json_lines(path)
    with pytest.raises(ValueError, match=f"is damaged.*{message}"):
        JSONLinesWriter(path, 4)
    # A new beginning puts it aside.
    JSONLinesWriter(path).write({"epoch": 1})
    assert read_json_lines(path) == [{"epoch": 1}]
    assert (tmp_path / "metrics.1.jsonl").read_bytes() == lines


def test_missing_rows_are_noticed(tmp_path):
    path = written(tmp_path / "metrics.jsonl", 1, 2, 4)
    assert len(read_json_lines(path)) == 3
    with pytest.raises(ValueError, match="no row between epochs 2 and 4"):
        read_json_lines(path, every_epoch=True)
    with pytest.raises(ValueError, match="no row between epochs 2 and 4"):
        JSONLinesWriter(path, 5, every_epoch=True)
    written(path, 1, 2)
    with pytest.raises(ValueError, match="ends at epoch 2, and .* at epoch 5"):
        JSONLinesWriter(path, 5, every_epoch=True)
    # The rest of a training, in a folder of its own.
    assert len(read_json_lines(written(path, 5, 6), every_epoch=True)) == 2


def test_what_is_taken_back_may_be_damaged(tmp_path):
    path = written(tmp_path / "metrics.jsonl", 1, 2, 3)
    path.write_bytes(path.read_bytes() + b"\0\0\n")
    writer = JSONLinesWriter(path, 3, every_epoch=True)
    assert [row["epoch"] for row in writer.earlier] == [1, 2]
    writer.write({"epoch": 3})
    assert len(read_json_lines(path, every_epoch=True)) == 3
