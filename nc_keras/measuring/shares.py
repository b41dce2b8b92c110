"""Statistics of examples of which each process has a share."""

from __future__ import annotations

import dataclasses
import functools
import itertools

import numpy as np

from nc_keras.errors import NonFiniteError
from nc_keras.measuring.class_statistics import ClassStatistics
from nc_keras.processes import Gather

_EMPTY = "There must be examples. Received: an empty dataset."


def statistics_of_all(
    part: ClassStatistics | None,
    error: ValueError | None = None,
    gather: Gather | None = None,
    scatter: bool = False,
) -> ClassStatistics:
    """Merges what processes have gathered; all of them must call it.

    Args:
        part: The statistics of this process, or `None` if it has no examples.
        error: What this process could not gather them for.
        gather: `nc_keras.processes.all_gather`; or `None` for one process.
        scatter: Boolean, whether the scatters are merged where this process
            has none.

    Raises:
        ValueError: The error, or that of another process; or if there are no
            examples at all, or features of several dimensions.
    """
    if gather is None:
        if error is not None or part is None:
            raise error or ValueError(_EMPTY)
        return part
    # What is wrong in one process must not leave the others waiting.
    shape = (0, 0) if part is None else part.means.shape
    finite = not isinstance(error, NonFiniteError)
    state = np.array([*shape, error is not None, finite], "int64")
    states = np.array(gather(state))
    if error is not None:
        raise error
    if states[:, 2].any():
        failed = np.flatnonzero(states[:, 2])
        kind = ValueError if states[failed, 3].all() else NonFiniteError
        raise kind(
            "Another process could not measure its share of the examples, "
            f"and says why. Received: an error in process {failed[0]}."
        )
    dims = sorted({int(dim) for dim in states[:, 1] if dim})
    if len(dims) > 1:
        raise ValueError(
            "The features of all processes must have one dimension. "
            f"Received: {dims}."
        )
    if not dims:
        raise ValueError(_EMPTY)
    return _merged(part, int(states[:, 0].max()), dims[0], gather, scatter)


def _merged(part, classes, dim, gather, scatter):
    """The sum of all parts; arrays are made alike first, for `gather`."""
    has_scatter = scatter or (part is not None and part.scatter is not None)
    whole = ClassStatistics.empty(classes, dim, has_scatter)
    names = [field.name for field in dataclasses.fields(whole)]
    arrays = {name: getattr(whole, name) for name in names}
    if part is not None:
        for name, array in arrays.items():
            if array is not None:
                own = getattr(part, name)
                array[tuple(slice(n) for n in own.shape)] = own
    gathered = [
        [None] if array is None else gather(array) for array in arrays.values()
    ]
    parts = itertools.zip_longest(*gathered)
    return functools.reduce(
        ClassStatistics.merge, itertools.starmap(ClassStatistics, parts)
    )
