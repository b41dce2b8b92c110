import dataclasses
import json

import keras
import pytest

from recipes.studies import kernel_collapse
from recipes.studies.kernel_collapse import KernelCollapse

if keras.backend.backend() == "numpy":
    pytest.skip("NumPy has no gradients", allow_module_level=True)

STUDY = KernelCollapse(
    "kernel_collapse",
    dataset="digits",
    per_class=20,
    epochs=2,
    widths=(16,),
    losses=("mse",),
    examples=40,
    progress=False,
)


def test_results_and_figure(tmp_path, capsys):
    study = dataclasses.replace(STUDY, output=tmp_path)
    kernel_collapse.run(study)
    assert (tmp_path / "figure.png").stat().st_size > 10_000
    found = json.loads((tmp_path / "results.json").read_text())
    names = ["mse, linear", "mse, etf_canonical"]
    assert [row["loss, head"] for row in found["table"]] == names
    for rows in found["curves"].values():
        assert [row["epoch"] for row in rows] == [1, 2]
        assert rows[0]["kernel_gamma_d"] > rows[0]["kernel_gamma_n"]
    assert (tmp_path / "mse-linear" / "kernel.jsonl").exists()
    capsys.readouterr()
    kernel_collapse.run(study)
    assert capsys.readouterr().out.count("finished before") == 2


def test_claims_can_fail():
    first = {"nc1": 1.0, "nc_accuracy": 0.5, "kernel_block_r2": 0.2}
    last = {"nc1": 0.1, "nc_accuracy": 1.0, "kernel_block_r2": 0.5}
    agreed = kernel_collapse._claim("ce, linear", [first, last])
    assert agreed.endswith(": agreed.")
    short = kernel_collapse._claim("ce", [first, last | {"nc_accuracy": 0.99}])
    assert short.endswith(": agreed, at 99.0% of training accuracy.")
    for change in ({"nc1": 2.0}, {"kernel_block_r2": 0.1}):
        failed = kernel_collapse._claim("ce", [first, last | change])
        assert failed.endswith(": not agreed.")


@pytest.mark.parametrize(
    "change, match",
    [
        ({"losses": ("hinge",)}, "`losses` must name"),
        ({"heads": ()}, "`heads` must name"),
    ],
)
def test_what_is_refused(tmp_path, change, match):
    with pytest.raises(ValueError, match=match):
        kernel_collapse.run(
            dataclasses.replace(STUDY, output=tmp_path, **change)
        )
