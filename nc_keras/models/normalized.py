import keras
from keras import ops

from nc_keras.graph import all_layers
from nc_keras.layers.rho import Rho
from nc_keras.layers.weight_norm_dense import WeightNormDense
from nc_keras.layers.weight_normalization import WeightNormalization
from nc_keras.weights import homogeneous_weights
from nc_keras.weights import rho as rho_of


def Normalized(
    model: keras.Model,
    decay: float = 0.0,
    rho: float | None = None,
    name: str | None = None,
) -> keras.Model:
    """Normalises all weights of a network, with one `rho` for all of them.

    `f_W = rho f_V`: every kernel is divided by its Frobenius norm, and one
    trainable factor behind the head takes the product of the norms. The new
    model computes what the old one does, but its gradients differ: those of
    the directions `V_k` are orthogonal to them. Plain gradient descent on it
    follows the dynamics of Xu et al., `nc_keras.theory.square_loss`, for
    small steps. Their decay is that of `rho` alone.

    Args:
        model: A built `Functional` or `Sequential` model that is homogeneous
            in its weights, as `nc_keras.models.HomogeneousNet`. It is left
            as it is.
        decay: Float, not negative, `lambda` in the penalty `lambda rho^2`,
            which is added to the loss. Defaults to `0.0`.
        rho: Float, positive, where `rho` starts; or `None` for the product of
            the norms. The smaller, the longer the network stays near zero,
            and the less of the directions it begins with is left.
        name: Name of the new model. Defaults to that of the old one with
            `normalized_` in front.

    Returns:
        A functional model. It is not compiled.

    Raises:
        ValueError: If a layer is not homogeneous, is normalised already, has
            a regularizer or only weights of zero, naming it; or if a number
            is out of its range.

    Example:

    >>> model = nc_keras.models.HomogeneousNet((4,), 3, widths=(8,))
    >>> normalized = nc_keras.models.Normalized(model, decay=1e-3)
    >>> x = np.random.default_rng(0).normal(size=(5, 4))
    >>> outputs = [m.predict(x, verbose=0) for m in (model, normalized)]
    >>> print(np.allclose(*outputs, atol=1e-6))
    True
    >>> norms = [w.norm for w in nc_keras.weights.weights_of(normalized)]
    >>> print(np.round(norms, 6))
    [1. 1.]

    Reference:

    - [Xu et al., 2023](https://doi.org/10.34133/research.0024).
    """
    weights = homogeneous_weights(model)
    _validate(model, weights)
    if rho is None:
        rho = rho_of(model)
    if not 0 < rho < float("inf"):
        raise ValueError(
            "The product of the norms must be a positive number. "
            f"Received: rho={rho} of model {model.name!r}."
        )
    layers = [one.layer for one in weights]

    def copy_of(layer):
        copy = layer.__class__.from_config(layer.get_config())
        if any(layer is one for one in layers):
            return WeightNormalization(
                copy, per="kernel", length=1.0, name=layer.name
            )
        return copy

    copy = keras.models.clone_model(
        model, clone_function=copy_of, recursive=True
    )
    _copy_state(model, copy)
    for old, new in zip(weights, homogeneous_weights(copy), strict=True):
        unit = old.kernel / old.norm
        new.layer.kernel.assign(ops.cast(unit, new.layer.kernel.dtype))
    outputs = Rho(rho, decay, name="rho")(copy.outputs[0])
    # A list of one would ask for lists of data.
    inputs = copy.inputs[0] if len(copy.inputs) == 1 else copy.inputs
    return keras.Model(inputs, outputs, name=name or f"normalized_{model.name}")


def _validate(model, weights):
    """Sees that nothing scales or decays the weights already."""
    for one in weights:
        if one.norm == 0:
            raise ValueError(
                "A kernel of zeros has no direction. "
                f"Received: layer {one.name!r}, all of whose weights are zero."
            )
        if getattr(one.layer, "kernel_regularizer", None) is not None:
            raise ValueError(
                "Normalised weights cannot decay; `decay` is that of rho. "
                f"Received: layer {one.name!r} with a kernel_regularizer."
            )
    for layer in all_layers(model):
        if isinstance(layer, Rho | WeightNormalization | WeightNormDense):
            raise ValueError(
                "The weights must not be normalised before. Received: layer "
                f"{layer.name!r} of type {type(layer).__name__}."
            )


def _copy_state(model, copy):
    """Gives the copy what other layers, such as preprocessing, have learned."""
    for old, new in zip(model.layers, copy.layers, strict=True):
        if isinstance(old, keras.Model):
            _copy_state(old, new)
        elif old.weights and not isinstance(new, WeightNormalization):
            new.set_weights(old.get_weights())
            # What is not a weight, as that of an adapted Normalization.
            if hasattr(new, "finalize_state"):
                new.finalize_state()
