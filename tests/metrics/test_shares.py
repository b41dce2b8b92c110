"""Threads stand for processes, each of which has a share of the examples."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from scenarios import draw

from nc_keras.errors import NonFiniteError
from nc_keras.measuring import passes
from nc_keras.measuring.batches import NoExamplesError
from nc_keras.measuring.source import FeatureSource


class Batches:
    """Stands for an extractor."""

    def __init__(self, h, y):
        self.h, self.y = h, y

    def batches(self, *_, **__):
        if not len(self.y):
            raise NoExamplesError("There must be examples.")
        for start in range(0, len(self.y), 100):
            rows = slice(start, start + 100)
            yield self.h[rows], self.y[rows]


def measured(shares, memory, *head, **options):
    """What each process finds: its values, or its error."""
    barrier = threading.Barrier(len(shares), timeout=60)
    slots = [None] * len(shares)

    def work(rank):
        def gather(array):
            slots[rank] = np.array(array)
            barrier.wait()
            found = list(slots)
            barrier.wait()
            return found

        h, y = shares[rank]
        source = FeatureSource(
            Batches(h, y), None, y, 100, memory[rank], may_be_empty=True
        )
        try:
            one = passes.measured(source, *head, gather=gather, **options)
        except ValueError as error:
            return error
        return one.values()

    with ThreadPoolExecutor(len(shares)) as pool:
        return list(pool.map(work, range(len(shares))))


def shares_of(h, y, *cuts):
    return list(zip(np.split(h, cuts), np.split(y, cuts), strict=True))


@pytest.mark.parametrize("cuts", [(), (0, 0), (1, 150), (90, 90)])
@pytest.mark.parametrize("metrics", [None, "all", ["nc1"], ["accuracy"]])
def test_all_have_the_values_of_one(cuts, metrics):
    h, y, kernel, bias = draw("imbalanced")
    head = kernel.T.astype("float64"), bias.astype("float64"), len(kernel.T)
    if metrics == "all":
        metrics = ["vci", "separation", "nc1", "nc4", "per_class_accuracy"]
    options = {"metrics": metrics}
    (expected,) = measured(shares_of(h, y), [2**30], *head, **options)
    # Whether a share fits into the memory of its process is its own matter.
    memory = [0, 2**30, 30_000]
    for found in measured(shares_of(h, y, *cuts), memory, *head, **options):
        assert list(found) == list(expected)
        for tag, value in expected.items():
            np.testing.assert_allclose(found[tag], value, 1e-7, 1e-12)


@pytest.mark.parametrize("broken", ["value", "width", "label"])
def test_what_is_wrong_with_one_share_stops_all(broken):
    h, y, _, _ = draw("balanced")
    shares = shares_of(h, y, 100, 200)
    if broken == "value":
        shares[1][0][7] = np.nan
    elif broken == "width":
        shares[1] = shares[1][0][:, :-1], shares[1][1]
    else:
        shares[1] = shares[1][0], shares[1][1] + 10
    first, own, last = measured(shares, [0, 0, 0], None, None, 10)
    kind = NonFiniteError if broken == "value" else ValueError
    assert {type(first), type(own), type(last)} == {kind}
    if broken == "width":
        assert "must have one dimension" in str(first)
    else:
        assert "error in process 1" in str(first)


def test_nothing_anywhere_is_said():
    nothing = np.zeros((0, 4)), np.zeros(0, "int64")
    for error in measured([nothing] * 2, [0, 0], None, None, 3):
        assert str(error).startswith("There must be examples.")


def test_batches_of_several_widths_are_refused():
    source = [
        (np.ones((3, 4)), np.arange(3)),
        (np.ones((3, 5)), np.arange(3)),
    ]

    class Source(list):
        kept = repeats = True

    with pytest.raises(ValueError, match="pooling.*Received: 4 and 5"):
        passes.measured(Source(source), num_classes=3)
