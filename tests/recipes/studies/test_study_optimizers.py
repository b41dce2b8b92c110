import dataclasses
import json

import keras
import pytest

from recipes.studies import optimizers
from recipes.studies.optimizers import STUDY

if keras.backend.backend() == "numpy":
    pytest.skip("NumPy has no gradients", allow_module_level=True)

TINY = dataclasses.replace(
    STUDY,
    dataset="digits",
    per_class=20,
    test_images=100,
    epochs=3,
    progress=False,
    widths=(16,),
)


def run(tmp_path, **changes):
    study = dataclasses.replace(TINY, output=tmp_path, **changes)
    optimizers.run(study)
    return json.loads((tmp_path / "results.json").read_text())


def test_every_optimizer_is_compared():
    # The settings name them again: they are read before Keras is imported.
    assert STUDY.optimizers == tuple(optimizers.OPTIMIZERS)


def test_results_and_figure(tmp_path, capsys):
    found = run(tmp_path)
    assert (tmp_path / "figure.png").stat().st_size > 10_000
    assert list(found["curves"]) == list(optimizers.OPTIMIZERS)
    said = [one for one in found["verdict"] if "NC0" in one]
    assert len(said) == len(optimizers.OPTIMIZERS)
    # All begin with the same weights, and coupled decay is another rule.
    last = {name: rows[-1]["nc0"] for name, rows in found["curves"].items()}
    assert len(set(last.values())) == len(last)
    capsys.readouterr()
    run(tmp_path)
    assert capsys.readouterr().out.count("finished before") == len(last)


def test_a_sum_of_rows_that_vanishes_is_told():
    rows = [{"nc0": 4.0}, {"nc0": 0.01}]
    (said,) = optimizers._claims({"sgd": rows})
    assert said.startswith("sgd: NC0 vanishes: 0.01, 0.0025")
    (said,) = optimizers._claims({"adamw": rows[::-1]})
    assert "does not vanish" in said


def test_wrong_settings(tmp_path):
    with pytest.raises(ValueError, match="must name one or more of"):
        run(tmp_path, optimizers=("lion",))
