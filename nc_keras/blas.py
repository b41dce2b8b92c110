"""How many threads NumPy's matrix products take."""

import contextlib
import functools
from contextlib import AbstractContextManager

from threadpoolctl import ThreadpoolController

ONE_THREAD = 2**27  # multiplications, up to which a product takes one


@functools.cache
def _controller():
    return ThreadpoolController().select(user_api="blas")


def one_thread_for(multiplications: int) -> AbstractContextManager:
    """Returns a context in which small products run in one thread.

    Where the processors are busy, as beside a training, the threads of a
    product, or of a factorisation, wait for each other ten times longer than
    they compute.

    Args:
        multiplications: Integer, how many the products of the context have.
    """
    if multiplications > ONE_THREAD:
        return contextlib.nullcontext()
    return one_thread()


def one_thread() -> AbstractContextManager:
    """Returns a context in which every product runs in one thread."""
    return _controller().limit(limits=1)
