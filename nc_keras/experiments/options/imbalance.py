import math
from typing import Literal
from typing import get_args

# How training examples per class are made unequal.
Imbalance = Literal["step", "exponential"]


def imbalanced_counts(
    num_classes: int,
    largest: int,
    ratio: float,
    imbalance: Imbalance = "exponential",
    minority: int | None = None,
) -> list[int]:
    """Returns the examples per class of an unbalanced data set.

    As the published loaders do, which cut fractions off: `largest / ratio` for
    each class of the minority ("step"), or a geometric fall from the first
    class to the last ("exponential").

    Example:

    >>> from nc_keras.experiments.options.imbalance import imbalanced_counts
    >>> imbalanced_counts(4, 1000, 100.0)
    [1000, 215, 46, 10]
    >>> imbalanced_counts(4, 1000, 100.0, "step", minority=1)
    [1000, 1000, 1000, 10]

    Args:
        num_classes: Integer, `C`.
        largest: Integer, the examples of the first class.
        ratio: Float, at least 1, of the largest to the smallest class. With
            infinity the classes of the minority have none.
        imbalance: `"step"` or `"exponential"`.
        minority: Integer, how many of the last classes are the minority, for
            `"step"`. Defaults to half of them, the larger one.

    Raises:
        ValueError: If an argument is out of its range, or a class is left
            without an example.

    Reference:

    - [Cao et al., 2019](https://arxiv.org/abs/1906.07413), their code.
    """
    if imbalance not in get_args(Imbalance):
        raise ValueError(
            f"`imbalance` must be one of {get_args(Imbalance)}. "
            f"Received: imbalance={imbalance!r}."
        )
    if not ratio >= 1 or (math.isinf(ratio) and imbalance != "step"):
        raise ValueError(
            "`ratio`, of the largest to the smallest class, must be 1 or more, "
            'and finite but for `imbalance="step"`. '
            f"Received: ratio={ratio}, imbalance={imbalance!r}."
        )
    if minority is not None and imbalance != "step":
        raise ValueError(
            '`minority` is for `imbalance="step"`. '
            f"Received: minority={minority}, imbalance={imbalance!r}."
        )
    if minority is None:
        minority = num_classes - num_classes // 2
    if not 1 <= minority < num_classes:
        raise ValueError(
            "The minority must be a class or more, and leave one. "
            f"Received: minority={minority}, num_classes={num_classes}."
        )
    if imbalance == "step":
        few = int(largest * (1 / ratio))
        counts = [largest] * (num_classes - minority) + [few] * minority
    else:
        shares = [k / (num_classes - 1) for k in range(num_classes)]
        counts = [int(largest * (1 / ratio) ** share) for share in shares]
    if counts[-1] < 1 and not math.isinf(ratio):
        raise ValueError(
            f"Of {largest:,} examples a ratio of {ratio} leaves the smallest "
            f"class none. Received: largest={largest}, ratio={ratio}."
        )
    return counts
