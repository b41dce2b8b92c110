import pytest

from nc_keras.callbacks import log_spaced_epochs
from nc_keras.epochs import measured_epochs


def test_the_published_epochs():
    epochs = log_spaced_epochs(350)
    assert len(epochs) == 50
    assert epochs[:16] == [*range(1, 15), 16, 17]
    assert epochs[-6:] == [225, 245, 268, 293, 320, 350]


@pytest.mark.parametrize("epochs", [1, 2, 10, 49, 50, 51, 60, 100, 300, 5000])
def test_other_lengths(epochs):
    chosen = log_spaced_epochs(epochs)
    assert chosen == sorted(set(chosen))
    assert (chosen[0], chosen[-1]) == (1, epochs)
    assert min(50, epochs) <= len(chosen) <= 51


def test_schedules():
    assert measured_epochs(1, 4) == {1, 2, 3, 4}
    assert measured_epochs(3, 10) == {1, 3, 6, 9, 10}
    assert measured_epochs(100, 10) == {1, 10}
    assert measured_epochs([2, 5], 10) == {2, 5}
    assert measured_epochs("log", 350) == set(log_spaced_epochs(350))


@pytest.mark.parametrize("schedule", [0, -1, 1.5, "often", [], [0, 3], None])
def test_bad_schedules(schedule):
    with pytest.raises(ValueError, match="Received: epochs="):
        measured_epochs(schedule, 10)
    with pytest.raises(ValueError, match="Received: epochs="):
        log_spaced_epochs(0)
