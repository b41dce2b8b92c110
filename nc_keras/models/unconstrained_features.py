from collections.abc import Sequence

import keras
import numpy as np

from nc_keras.arguments import real_array
from nc_keras.class_counts import checked_counts


def UnconstrainedFeatures(
    num_classes: int,
    examples: int | Sequence[int],
    dim: int,
    weight_decay: float,
    feature_decay: float,
    bias_decay: float | None = 0.0,
    name: str = "unconstrained_features",
) -> keras.Model:
    """A head on features that are free parameters, one for each example.

    The model of which neural collapse is proved. It takes the index of an
    example, `0 .. N - 1`, looks its feature up, and applies a linear head.
    All parameters have a penalty `(decay / 2) ||.||^2` in the loss; train it
    on all indices at once, without weight decay in the optimizer.

    Args:
        num_classes: Integer, `K`.
        examples: Integer, `n`, the examples of each class; or one for each
            class.
        dim: Integer, `d`, the dimension of the features.
        weight_decay: Float, `lw`, of the head's kernel.
        feature_decay: Float, `lh`, of the features.
        bias_decay: Float, `lb`, of the head's bias; or `None` for a head
            without bias.
        name: Name of the model.

    Returns:
        A `keras.Sequential`, from integers of shape `(batch_size,)` to
        outputs of shape `(batch_size, K)`.

    Raises:
        ValueError: If there is not one number of examples for each class, or
            one is no positive integer.

    Example:

    >>> model = nc_keras.models.UnconstrainedFeatures(3, 5, 8, 5e-3, 5e-3)
    >>> model(np.arange(15)).shape == (15, 3)
    True

    Reference:

    - [Zhu et al., 2021](https://arxiv.org/abs/2105.02375);
      `nc_keras.theory.unconstrained_features` has the minimisers.
    """
    counts = real_array(examples, "`examples`")
    if counts.ndim and counts.shape != (num_classes,):
        raise ValueError(
            "`examples` must be one number, or one for each class. Received: "
            f"num_classes={num_classes}, examples={examples}."
        )
    counts = checked_counts(np.broadcast_to(counts, num_classes))
    scale = dim**-0.5

    def half(decay):
        return keras.regularizers.L2(decay / 2) if decay else None

    def normal():
        return keras.initializers.RandomNormal(stddev=scale)

    return keras.Sequential(
        [
            keras.Input((), dtype="int32"),
            keras.layers.Embedding(
                int(counts.sum()),
                dim,
                embeddings_initializer=normal(),
                embeddings_regularizer=half(feature_decay),
                name="features",
            ),
            keras.layers.Dense(
                num_classes,
                use_bias=bias_decay is not None,
                kernel_initializer=normal(),
                kernel_regularizer=half(weight_decay),
                bias_regularizer=half(bias_decay),
                name="head",
            ),
        ],
        name=name,
    )
