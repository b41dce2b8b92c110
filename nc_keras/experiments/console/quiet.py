import contextlib
import os
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def silenced(*descriptors: int) -> Iterator[None]:
    """Drops what is written to file descriptors: 1 is output, 2 is errors.

    TensorFlow's C++ code writes past `sys.stderr`, and no setting of its own
    keeps it from announcing itself when it is imported.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    kept = {descriptor: os.dup(descriptor) for descriptor in descriptors}
    with open(os.devnull, "wb") as null:
        for descriptor in kept:
            os.dup2(null.fileno(), descriptor)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for descriptor, copy in kept.items():
            os.dup2(copy, descriptor)
            os.close(copy)
