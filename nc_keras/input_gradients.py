"""What a small change of the inputs does to the outputs of a model."""

import functools
from typing import Any

import keras
import numpy as np
from keras import ops

from nc_keras.arguments import refuse_masked
from nc_keras.stateless import call_at
from nc_keras.stateless import current_values


class InputGradients:
    """Outputs of a model and their gradients by its inputs.

    They are computed in batches of one size, by one compiled function.

    Args:
        model: A built model with one output, `(N, C)`.
        image_shape: Tuple, the shape of one input.
        batch_size: Integer.
    """

    def __init__(self, model: keras.Model, image_shape: tuple, batch_size: int):
        self.image_shape = image_shape
        self.batch_size = batch_size
        self._model = model
        self._variables = list(model.variables)
        self._values: list = []
        self._shifted = _Shifted(
            model, self._variables, (batch_size, *image_shape)
        )

    def read_variables(self) -> None:
        """Takes in the weights as they are now."""
        self._values = current_values(self._model, self._variables)

    def outputs(self, x: np.ndarray) -> np.ndarray:
        """Raw outputs, shape `(N, C)`."""
        found = []
        for rows in chunks(len(x), self.batch_size):
            inputs = (self._padded(x[rows]), self._values)
            batch = self._shifted.predict_on_batch(inputs)
            _validate_shape(batch, self.batch_size)
            found.append(batch[: len(x[rows])].astype("float64"))
        outputs = np.concatenate(found)
        require_finite("outputs", outputs)
        return outputs

    def gradients(self, x: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Gradients of `sum_c weights_c f_c(x)` for a batch at the most."""
        inputs = (self._padded(x), self._values)
        self._shifted.train_on_batch(inputs, self._padded(weights))
        shift = ops.convert_to_numpy(self._shifted.shift)
        gradients = -shift[: len(x)]
        self._shifted.shift.assign(np.zeros_like(shift))
        require_finite("gradients", gradients)
        return gradients

    def _padded(self, rows):
        # Repeated rows keep the shape, and with it the compiled function.
        return np.resize(rows, (self.batch_size, *rows.shape[1:]))


class _Shifted(keras.Model):
    """A model of `x + shift`, whose only variable is the shift.

    Keras gives no gradients but to its optimizers: a step of SGD with rate 1
    from `shift = 0` leaves minus the gradient in `shift`.
    """

    def __init__(self, model, variables, shape):
        super().__init__(name="shifted", dtype="float32", autocast=False)
        # A function, since a model among the attributes would be trained too.
        self._apply = functools.partial(call_at, model, variables)
        self.shift = self.add_weight(shape=shape, initializer="zeros")
        self.built = True
        self.compile(
            keras.optimizers.SGD(1.0),
            run_eagerly=model.run_eagerly,
            jit_compile=model.jit_compile and not model.run_eagerly,
            auto_scale_loss=False,
        )

    def call(self, inputs):
        images, values = inputs
        return self._apply(values, ops.add(images, self.shift))

    def compute_loss(
        self, x=None, y=None, y_pred=None, sample_weight=None, training=True
    ):
        return ops.sum(ops.multiply(y, ops.cast(y_pred, "float32")))


def chunks(length: int, size: int) -> list[slice]:
    """Slices of at most `size` items."""
    return [slice(start, start + size) for start in range(0, length, size)]


def images_of(x: Any) -> np.ndarray:
    """Returns images as a float32 array of their own."""
    refuse_masked(x, "Images")
    x = ops.convert_to_numpy(x) if ops.is_tensor(x) else np.asarray(x)
    if not keras.backend.is_float_dtype(x.dtype.name):
        raise ValueError(
            "`x` must be an array of a floating-point dtype: standardise the "
            "images first, as the model was trained with them. "
            f"Received: x of dtype {x.dtype}."
        )
    x = x.astype("float32")
    if x.ndim < 2 or not x.size:
        raise ValueError(
            "`x` must have the shape (N, ...), and not be empty. "
            f"Received: x of shape {x.shape}."
        )
    require_finite("images", x)
    return x


def require_finite(name: str, values: np.ndarray) -> None:
    """Refuses values of which some are not finite."""
    finite = np.isfinite(values).reshape(len(values), -1).all(axis=1)
    if not finite.all():
        raise ValueError(
            f"Gradients by inputs need finite {name}. Received: NaN or "
            f"infinite {name} for {(~finite).sum()} of {len(finite)}."
        )


def require_raw(outputs: np.ndarray) -> None:
    """Refuses outputs that are probabilities."""
    sums_to_one = np.abs(outputs.sum(axis=1) - 1) < 1e-5
    if sums_to_one.all() and (outputs >= 0).all():
        raise ValueError(
            "The model must return raw outputs, whose gradients do not vanish "
            "where it is sure: take a model that ends before the softmax. "
            "Received: outputs that are probabilities."
        )


def _validate_shape(outputs, batch_size):
    shape = getattr(outputs, "shape", None)
    if shape is None or len(shape) != 2 or shape[0] != batch_size:
        found = keras.tree.map_structure(np.shape, outputs)
        raise ValueError(
            "The model must return one array of shape (N, C). Received: "
            f"outputs of shape {found} for {batch_size} images."
        )
    if shape[1] < 2:
        raise ValueError(
            "The model must have an output for each of C >= 2 classes. "
            f"Received: outputs of shape {shape}."
        )
