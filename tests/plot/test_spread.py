"""Bands over seeds: what they are, and that one seed has none."""

import pytest
import scipy.stats

from nc_keras.plot.spread import SPREADS
from nc_keras.plot.spread import band

VALUES = [0.3, 0.1, 0.4, 0.15]


def test_the_range_goes_from_the_smallest_to_the_largest():
    assert band(VALUES) == (0.1, 0.4)


def test_std_is_that_of_a_sample():
    low, high = band(VALUES, "std")
    assert (high - low) / 2 == pytest.approx(scipy.stats.tstd(VALUES))
    assert (high + low) / 2 == pytest.approx(0.2375)


def test_the_interval_is_that_of_students_t():
    expected = scipy.stats.ttest_1samp(VALUES, 0).confidence_interval(0.95)
    assert band(VALUES, "ci95") == pytest.approx(tuple(expected))


@pytest.mark.parametrize("spread", SPREADS)
def test_one_seed_has_no_spread(spread):
    assert band([0.3], spread) == (0.3, 0.3)


def test_another_spread_is_refused():
    with pytest.raises(ValueError, match="Received: spread='sem'"):
        band(VALUES, "sem")
