"""The tutorial runs in a clean kernel, and its text says what comes out."""

import base64
import re
from pathlib import Path

import keras
import pytest

nbformat = pytest.importorskip("nbformat", reason="the kernel needs nbformat")
nbclient = pytest.importorskip("nbclient", reason="the kernel needs nbclient")
pytest.importorskip("ipykernel", reason="the kernel needs ipykernel")

PATH = Path(__file__).parents[1] / "docs" / "tutorial.ipynb"
# What holds whatever the training does.
OF_ANY_RUN = """
assert [frame.epoch for frame in movie.frames][:3] == [0, 1, 2]
assert before is movie.frames[0] and after is movie.frames[-1]
assert 0.2 < predicted["nc3"] < 0.3 and abs((rows < 0).mean() - 0.5) < 0.1
assert best.is_simplex and len(table) == 6
assert set(values) == {"train", "test"}
"""
# What the text says of the whole one.
OF_THE_WHOLE_RUN = """
end = nc_keras.metrics.collapse_metrics(
    after.features, after.labels, after.head.T
)
assert end["accuracy"] == 1 and end["nc1"] < 0.02
assert nc_keras.verdict(end).state == "collapsed"
begin = nc_keras.metrics.collapse_metrics(
    before.features, before.labels, before.head.T
)
assert begin["nc1"] > 0.3 and begin["nc3"] > 0.3 and begin["nc4"] > 0.1
assert nc_keras.verdict(found).state == "collapsed" and found["nc1"] < 0.01
assert 0.04 < nc_keras.measure(learned, x_test, y_test)["nc1"] < 0.2
both = [
    nc_keras.measure(model, x_test, y_test)["accuracy"]
    for model in (learned, fixed)
]
assert abs(both[0] - both[1]) < 0.02
of_fixed = nc_keras.measure(fixed, x, y)
assert of_fixed["nc2_max_angle_means"] < found["nc2_max_angle_means"]
turned_values = nc_keras.measure(turned, x, y)
states = nc_keras.verdict(turned_values).findings
assert [group for group, f in states.items() if f.state != "collapsed"] == [
    "NC3"
]
assert 0.2 < reached["nc3"] < 0.3
assert values["train"]["accuracy"] > 0.995
assert 0.3 < values["train"]["nc1"] < 0.8
for theory, trained in table.values():
    assert abs(theory - trained) < 1e-3 * abs(theory)
"""


def executed(folder, *, is_short=False, then=""):
    """Runs the code in a kernel of its own; raises what a cell raises."""
    book = nbformat.read(PATH, as_version=4)
    for cell in book.cells:
        if cell.cell_type == "code":
            cell.outputs = []
            if is_short:
                # Two epochs show that it runs.
                cell.source = re.sub(r"\bepochs=\d+", "epochs=2", cell.source)
    book.cells.append(nbformat.v4.new_code_cell(then))
    client = nbclient.NotebookClient(
        book,
        kernel_name="python3",
        timeout=600,
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute()
    assert list(folder.iterdir()) == []  # It leaves nothing beside itself.


@pytest.mark.always("tensorflow")
@pytest.mark.skipif(
    keras.backend.backend() == "torch",
    reason="takes minutes; the whole run, among the exhaustive, does not skip",
)
def test_it_runs(tmp_path):
    executed(tmp_path, is_short=True, then=OF_ANY_RUN)


@pytest.mark.exhaustive
def test_the_whole_run_gives_what_the_text_says(tmp_path):
    executed(tmp_path, then=OF_ANY_RUN + OF_THE_WHOLE_RUN)


def stored():
    """The notebook's code cells, and what they printed."""
    book = nbformat.read(PATH, as_version=4)
    cells = [cell for cell in book.cells if cell.cell_type == "code"]
    printed = "".join(
        output.text
        for cell in cells
        for output in cell.outputs
        if output.output_type == "stream"
    )
    return cells, printed


def test_what_is_stored_is_one_clean_run():
    cells, printed = stored()
    counts = [cell.execution_count for cell in cells]
    assert counts == [*range(1, len(cells) + 1)]
    kinds = {output.output_type for cell in cells for output in cell.outputs}
    assert "error" not in kinds
    assert "Warning" not in printed
    assert not re.search(r"(^|\s)/\w", printed)  # the path of a machine
    assert PATH.stat().st_size < 1_000_000
    movies = [
        output.data["image/gif"]
        for cell in cells
        for output in cell.outputs
        if "image/gif" in output.get("data", {})
    ]
    assert len(movies) == 1
    assert len(base64.b64decode(movies[0])) < 250_000


def test_what_is_stored_is_what_the_text_says():
    _, printed = stored()
    assert "Collapsed: NC1, NC2, NC3, NC4 reached." in printed
    assert "Partly collapsed: NC1, NC2, NC4 reached; NC3 (nc3 0.2" in printed
    predicted, reached = (
        float(value)
        for value in re.findall(r"NC3 (?:of|after) .*: +(\d.\d+)", printed)
    )
    assert 0.2 < predicted < 0.3 and 0.2 < reached < 0.3
    table = printed.partition("theory  trained")[2]
    pairs = re.findall(r"(-?\d\.\d{4}) +(-?\d\.\d{4})", table)
    assert len(pairs) == 6
    for theory, trained in pairs:
        assert float(trained) == pytest.approx(float(theory), rel=1e-3)
