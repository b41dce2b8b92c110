from typing import Any

from keras import ops


def lengths(v: Any, axis: Any, keepdims: bool = False) -> Any:
    """The Euclidean lengths of weight vectors, and 1 for a vector of zeros.

    With length 1 a zero vector stays zero when it is normalised, and has a
    gradient by which it can leave.

    Args:
        v: Tensor of weights.
        axis: Integer or tuple, the axes of one vector.
        keepdims: Boolean, whether these axes stay, with size 1.
    """
    squares = ops.sum(ops.square(v), axis=axis, keepdims=keepdims)
    return ops.sqrt(ops.where(squares > 0, squares, 1.0))
