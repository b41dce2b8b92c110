import keras


def centered(model: keras.Model) -> keras.Model:
    """Returns a model of what training changes: `f(x; w) - f(x; w_0)`.

    It begins at zero, and has no variance over initialisations but that which
    training brings. The layers, and so their weights, are those of `model`;
    the weights of the moment are kept, frozen, in a copy.

    Example:

    >>> model = nc_keras.models.MLP((4,), 3, widths=(8,))
    >>> change = nc_keras.models.centered(model)
    >>> change.compile("sgd", loss="mse")
    >>> float(np.abs(change.predict(np.eye(4), verbose=0)).max())
    0.0

    Args:
        model: A built Functional or Sequential model.

    Returns:
        A `keras.Model` with the inputs of `model`, to be compiled.

    Raises:
        ValueError: If the model is of another kind, or is not built.

    Reference:

    - [Lee et al., 2020](https://arxiv.org/abs/2007.15801).
    """
    if not isinstance(model, keras.Model) or not getattr(model, "inputs", None):
        raise ValueError(
            "`model` must be a built Functional or Sequential model. Received: "
            f"{model!r} of type {type(model).__name__}."
        )
    start = keras.models.clone_model(
        model, clone_function=_renamed, recursive=True
    )
    start.set_weights(model.get_weights())
    start.name = f"{model.name}_start"
    start.trainable = False
    inputs = [keras.Input(i.shape[1:], dtype=i.dtype) for i in model.inputs]
    given = inputs if len(inputs) > 1 else inputs[0]
    outputs = keras.layers.Subtract()([model(given), start(given)])
    return keras.Model(given, outputs)


def _renamed(layer):
    # On torch a gradient is forgotten by the path of its variable: of two
    # with one path, those of the first would add up from step to step.
    config = layer.get_config() | {"name": f"{layer.name}_start"}
    return type(layer).from_config(config)
