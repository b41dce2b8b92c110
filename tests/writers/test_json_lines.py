import json

from nc_keras.writers import JSONLinesWriter
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
