"""The notebook's formulas and this library give the same."""

import keras
import numpy as np
import pytest

from nc_keras.experiments import studies
from recipes.studies import parity

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow",
    reason="the studies are tested on one backend",
)
# Condition numbers of D x D matrices in float32 are in it.
ROUNDING = 1e-4


def test_both_agree_on_real_digits(digits, rng):
    images, labels = digits
    rows = np.concatenate(
        [np.flatnonzero(labels == c)[:150] for c in range(10)]
    )
    h, y = images[rows].reshape(len(rows), -1)[:, 8:40], labels[rows]
    kernel = rng.normal(size=(32, 10)).astype("float32")
    bias = rng.normal(size=10).astype("float32")
    # A tenth, so that no matrix is near to singular.
    theirs = parity.by_notebook(h, y, kernel, bias, 0.1)
    ours = parity.by_library(h, y, kernel, bias, 0.1)
    assert theirs.keys() == ours.keys() and len(ours) == 10
    for name, value in theirs.items():
        assert ours[name] == pytest.approx(value, rel=ROUNDING), name
    other = parity.by_library(h, y, kernel, bias, 0.2)
    assert other["Lperp"] != pytest.approx(theirs["Lperp"], rel=0.01)


def test_the_study_on_digits(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(studies, "make_deterministic", lambda: None)
    options = "--dataset digits --per-class 50 --epochs 2 --widths 24 16 "
    options += "--batch-size 50 --progress False --output"
    studies.main(
        parity.STUDY, "", parity.run, [*options.split(), str(tmp_path)]
    )
    assert "Sw_invSb" in capsys.readouterr().out
