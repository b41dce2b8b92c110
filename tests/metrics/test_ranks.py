import numpy as np
import pytest

from nc_keras.metrics.ranks import ranks


def test_ranks():
    found = ranks(np.diag([2.0, 2.0, 1e-5]))
    assert found.numerical == 2
    assert np.isclose(found.stable, 2, atol=1e-9)
    assert np.isclose(found.effective, 2, rtol=1e-4)
    assert ranks(np.zeros((3, 4))) == ranks(np.zeros(3))
    assert ranks(np.diag([1.0, 0.04]), 0.05).numerical == 1
    assert ranks(np.ones((5, 7))).numerical == 1


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="tolerance=2"):
        ranks(np.eye(2), 2)
    with pytest.raises(ValueError, match="finite matrix"):
        ranks([[np.nan]])
