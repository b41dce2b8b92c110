import numpy as np
import pytest

from nc_keras.metrics.separation_law import separation_law


@pytest.mark.parametrize(
    "values", [[], [2.0], [2.0, 0.0], [1.0, np.nan], [1.0, np.inf, 1.0]]
)
def test_law_that_cannot_be_fitted(values):
    law = separation_law(values)
    assert np.isnan([law.slope, law.decay_ratio, law.correlation]).all()


def test_law_of_equal_values():
    law = separation_law([3.0, 3.0, 3.0])
    assert law.slope == 0 and law.decay_ratio == 1
    assert np.isnan(law.correlation)
