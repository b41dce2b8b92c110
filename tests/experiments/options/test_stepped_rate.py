import pytest

from nc_keras.experiments.options.schedule import stepped_rate
from recipes import mnist


def test_the_papers_schedule_drops_after_116_and_233_epochs():
    rates = [stepped_rate(1.0, e, 350, (1 / 3, 2 / 3)) for e in range(350)]
    expected = [1.0] * 116 + [0.1] * 117 + [0.01] * 117
    assert rates == pytest.approx(expected)
    first = mnist.SETTINGS.rate("ce").value
    recipe = [mnist.SETTINGS.learning_rate_at(e, "ce") for e in range(350)]
    assert recipe == pytest.approx([first * rate for rate in rates])


def test_without_drops_the_rate_stays():
    assert stepped_rate(0.3, 99, 100, ()) == 0.3
