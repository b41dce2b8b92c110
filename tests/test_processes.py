"""Which process writes, with and without what Keras tells of it."""

import types

import keras
import pytest

from nc_keras.processes import is_first_process


@pytest.mark.parametrize(
    "distribution, expected",
    [
        (None, True),
        (types.SimpleNamespace(data_shard_id=0), True),
        (types.SimpleNamespace(data_shard_id=2), False),
        # Keras before 3.15 has no such attribute; here is one process.
        (types.SimpleNamespace(), True),
    ],
)
def test_the_first_process(distribution, expected, monkeypatch):
    monkeypatch.setattr(
        keras.distribution, "distribution", lambda: distribution
    )
    assert is_first_process() is expected
