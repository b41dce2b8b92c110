import keras

from nc_keras.graph import chain_of
from nc_keras.layers.direct_feedback import DirectFeedback
from nc_keras.layers.direct_feedback import StopGradient
from nc_keras.stages import stages


def direct_feedback(
    model: keras.Model, sign: bool = False, seed: int | None = None
) -> keras.Model:
    """Returns a model that trains the same layers by direct feedback (DFA).

    The last layer learns by its gradient. Each layer before it, with the
    normalisation, activation and pooling that follow it, gets `e F` in place
    of what backpropagation would bring, `e` the gradient of the outputs and
    `F` a fixed random matrix of its own. The layers, and so their weights,
    are those of `model`, which measures, predicts and is saved as ever.

    Example:

    >>> model = nc_keras.models.MLP((4,), 3, widths=(8,))
    >>> trained = nc_keras.models.direct_feedback(model, seed=0)
    >>> trained.compile("sgd", loss=nc_keras.losses.CE())
    >>> history = trained.fit(np.eye(4), np.arange(4) % 3, verbose=0)
    >>> tuple(model.predict(np.eye(4), verbose=0).shape)
    (4, 3)

    Args:
        model: A built Functional or Sequential model, whose layers follow one
            another, without branches.
        sign: Boolean, whether to take the signs of `F` alone; a variant of
            ours. Defaults to `False`.
        seed: Integer or `None`. The same seed gives the same `F`.

    Returns:
        A `keras.Model` with the inputs and outputs of `model`, to be compiled.

    Raises:
        ValueError: If the model has branches, or a layer is called twice.

    Reference:

    - [Nøkland, 2016](https://arxiv.org/abs/1609.01596).
    """
    chain = list(chain_of(model))
    branched = [layer.name for layer, _, is_chain in chain if not is_chain]
    if branched or len(model.inputs) != 1:
        raise ValueError(
            "Direct feedback is for layers that follow one another, each "
            f"called once. Received: model {model.name!r}, with "
            f"{', '.join(branched) or f'{len(model.inputs)} inputs'}."
        )
    ends = stages(model)
    x, hidden = model.inputs[0], []
    for layer, _, _ in chain:
        if isinstance(layer, keras.layers.InputLayer):
            continue
        x = layer(x)
        if any(layer is end for end in ends):
            hidden.append(x)
            x = StopGradient()(x)
    outputs = DirectFeedback(sign, seed, name="feedback")(x, hidden)
    return keras.Model(model.inputs[0], outputs, name=f"{model.name}_dfa")
