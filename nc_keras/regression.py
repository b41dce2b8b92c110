"""Neural regression collapse: NRC1 to NRC3 of a head with several outputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from nc_keras.arguments import checked
from nc_keras.arguments import real_array
from nc_keras.graph import model_until
from nc_keras.graph import resolve_layer
from nc_keras.measuring.extractor import FeatureExtractor
from nc_keras.tables import Table
from nc_keras.tables import Tabular

__all__ = [
    "RegressionCollapse",
    "RegressionReport",
    "collapse_metrics",
    "measure",
    "report",
]
_GOALS = {
    "mse": "0: mean squared error of the outputs",
    "nrc1": "0: share of features outside n directions",
    "nrc2": "0: share of features outside the rows of the head",
    "nrc3": "0: distance of WW' from S^1/2 - g^1/2 I",
    "nrc3_gamma": "g of nrc3, at most the smallest eigenvalue of S",
    "nrc_noise": "0: share of variance outside n directions",
}


@checked(model="model", batch_size="integer")
def measure(
    model: keras.Model,
    x: Any,
    targets: Any,
    head: keras.Layer | str | None = None,
    batch_size: int | None = None,
) -> dict[str, float]:
    """Measures how far the features of a regression have collapsed.

    Example:

    >>> model = keras.Sequential(
    ...     [
    ...         keras.Input((4,)),
    ...         keras.layers.Dense(16, activation="relu"),
    ...         keras.layers.Dense(2),
    ...     ]
    ... )
    >>> rng = np.random.default_rng(0)
    >>> x, y = rng.normal(size=(50, 4)), rng.normal(size=(50, 2))
    >>> sorted(nc_keras.regression.measure(model, x, y))
    ['nrc1', 'nrc2', 'nrc3', 'nrc3_gamma', 'nrc_noise']

    Args:
        model: A built `keras.Model` that ends in a linear layer.
        x: Array of `N` examples.
        targets: Array of shape `(N, n)`, of `n` outputs.
        head: The last linear layer or its name; by default the last layer.
        batch_size: Integer; by default one that suits the model.

    Returns:
        Dictionary as that of `collapse_metrics`.

    Raises:
        ValueError: If the head has no kernel of shape `(D, n)`, or shapes do
            not fit.

    Reference:

    - [Andriopoulos et al., 2024](https://arxiv.org/abs/2409.04180).
    """
    return _Measured(model, head, batch_size)(x, targets)


class _Measured:
    """The compiled features of a model, which is measured again and again."""

    def __init__(self, model, head, batch_size):
        self._layer = (
            model.layers[-1]
            if head is None
            else resolve_layer(model, head, "head")
        )
        kernel = getattr(self._layer, "kernel", None)
        if kernel is None or len(kernel.shape) != 2:
            raise ValueError(
                "The head of a regression must have a `kernel` of shape (D, n)."
                f" Received: layer {self._layer.name!r}. Pass `head`."
            )
        before = model_until(model, self._layer.input)
        self._extractor = FeatureExtractor(model, features=before)
        self._batch_size = batch_size

    def __call__(self, x, targets):
        features, kernel = self._features(x), self._kernel()
        return collapse_metrics(features, kernel, targets)

    def with_error(self, x, targets):
        """The same with `mse`, from the same pass."""
        features = self._features(x)
        found = collapse_metrics(features, self._kernel(), targets)
        outputs = ops.convert_to_numpy(self._layer(features))
        squares = (outputs.astype("float64") - np.asarray(targets)) ** 2
        return {"mse": float(squares.mean()), **found}

    def _features(self, x):
        x = real_array(x, "`x`")
        labels = np.zeros(x.shape[:1], "int64")
        return self._extractor(x, labels, self._batch_size)[0]

    def _kernel(self):
        return ops.convert_to_numpy(self._layer.kernel)


class RegressionReport(Tabular, dict):
    """Values by data set, which print as a table.

    The same table is a pandas frame (`to_frame`) or a text or file in CSV,
    LaTeX or Markdown (`to_csv`, `to_latex`, `to_markdown`).

    Example:

    >>> found = {"train": {"nrc1": 0.0123456, "nrc2": 0.5}}
    >>> print(nc_keras.regression.RegressionReport(found))
                      train  goes to
      nrc1          0.01235  0: share of features outside n directions
      nrc2              0.5  0: share of features outside the rows of the head
    """

    def __str__(self) -> str:
        head = "".join(f"{name:>11}" for name in self)
        lines = [f"{'':12}{head}  goes to"]
        for tag, goal, *row in self.table().rows:
            cells = "".join(f"{value:11.4g}" for value in row)
            lines.append(f"  {tag:10}{cells}  {goal}")
        return "\n".join(lines)

    def table(self) -> Table:
        """Returns the values, a row for each metric, a column a data set."""
        return Table(
            ("metric", "goes to", *self),
            [
                (tag, _GOALS[tag], *(values[tag] for values in self.values()))
                for tag in next(iter(self.values()))
            ],
            title="Neural regression collapse",
            text_columns=2,
        )


@checked(model="model", batch_size="integer")
def report(
    model: keras.Model,
    train: tuple[Any, Any],
    test: tuple[Any, Any] | None = None,
    head: keras.Layer | str | None = None,
    batch_size: int | None = None,
    print_fn: Callable[[str], Any] = print,
) -> RegressionReport:
    """Prints how far a regression has collapsed, and returns the values.

    Example:

    >>> layers = [keras.layers.Dense(16, "relu"), keras.layers.Dense(2)]
    >>> model = keras.Sequential([keras.Input((4,)), *layers])
    >>> rng = np.random.default_rng(0)
    >>> x, y = rng.normal(size=(90, 4)), rng.normal(size=(90, 2))
    >>> found = nc_keras.regression.report(
    ...     model, (x[:60], y[:60]), (x[60:], y[60:]), print_fn=str
    ... )
    >>> list(found), list(found["train"])[:3]
    (['train', 'test'], ['mse', 'nrc1', 'nrc2'])

    Makes one forward pass over each data set.

    Args:
        model: A built `keras.Model` that ends in a linear layer.
        train: Tuple `(x, targets)` of arrays, the targets of shape `(N, n)`.
        test: Test set in the same form, or `None`.
        head: The last linear layer or its name; by default the last layer.
        batch_size: Integer; by default one that suits the model.
        print_fn: Function that is given the table.

    Returns:
        A `RegressionReport`: dictionary with `"train"`, and `"test"` if it
        was given, of dictionaries as those of `collapse_metrics`, with `mse`.

    Raises:
        ValueError: As `measure`, or if a data set is no tuple.

    Reference:

    - [Andriopoulos et al., 2024](https://arxiv.org/abs/2409.04180).
    """
    measured = _Measured(model, head, batch_size)
    found = {}
    for name, data in (("train", train), ("test", test)):
        if data is None and name == "test":
            continue
        if not isinstance(data, tuple | list) or len(data) != 2:
            raise ValueError(
                f"`{name}` must be a tuple (x, targets) of arrays. "
                f"Received: {name} of type {type(data).__name__}."
            )
        found[name] = measured.with_error(*data)
    result = RegressionReport(found)
    print_fn(str(result))
    return result


def collapse_metrics(
    features: Any, kernel: Any, targets: Any
) -> dict[str, float]:
    """NRC1 to NRC3 of features, head and targets.

    Example:

    >>> features = np.array([[1.0, 0, 0], [0, 2.0, 0], [-1.0, 0, 0]])
    >>> kernel = np.array([[1.0, 0], [0, 1.0], [0, 0]])
    >>> found = nc_keras.regression.collapse_metrics(
    ...     features, kernel, features @ kernel
    ... )
    >>> print(f"{found['nrc1']:.3f} {found['nrc2']:.3f}")
    0.000 0.000

    Args:
        features: Array of shape `(N, D)`.
        kernel: Array of shape `(D, n)`, the head's, `n <= D`.
        targets: Array of shape `(N, n)`.

    Returns:
        Dictionary of floats, all of which go to 0 but for `nrc3_gamma`:

        - `nrc1`: the mean of `|h - Ph|² / |h|²`, `P` the projection on the
          first `n` right singular vectors of the features;
        - `nrc2`: the same for the span of the head's rows;
        - `nrc3`: the squared distance of `WW'` and `S^(1/2) - g^(1/2) I`,
          both of norm 1, `S` the covariance of the targets over the examples,
          at the `g` in `(0, smallest eigenvalue of S]` where it is least;
        - `nrc3_gamma`: this `g`; NaN, as `nrc3`, if `S` is singular;
        - `nrc_noise`: the share of the variance of the features outside their
          first `n` principal directions.

    Raises:
        ValueError: If the shapes do not fit, or numbers are not finite.

    Reference:

    - [Andriopoulos et al., 2024](https://arxiv.org/abs/2409.04180).
    """
    h, w, y = _validated(features, kernel, targets)
    outputs = y.shape[1]
    covariance = np.cov(h.T, bias=True)
    values = np.linalg.eigvalsh(covariance)[::-1]
    gamma, least = _nrc3(w @ w.T, np.atleast_2d(np.cov(y.T, bias=True)))
    _, _, directions = np.linalg.svd(h, full_matrices=False)
    return {
        "nrc1": _outside(h, directions[:outputs]),
        "nrc2": _outside(h, np.linalg.qr(w.T)[0].T),
        "nrc3": least,
        "nrc3_gamma": gamma,
        "nrc_noise": float(1 - values[:outputs].sum() / values.sum()),
    }


class RegressionCollapse(keras.callbacks.Callback):
    """Puts `nrc1` and so on of a data set into `logs` after each epoch.

    Example:

    >>> rng = np.random.default_rng(0)
    >>> x, y = rng.normal(size=(50, 4)), rng.normal(size=(50, 2))
    >>> layers = [keras.layers.Dense(16, "relu"), keras.layers.Dense(2)]
    >>> model = keras.Sequential([keras.Input((4,)), *layers])
    >>> model.compile(nc_keras.optimizers.SGD(0.01), loss="mse")
    >>> history = model.fit(
    ...     x,
    ...     y,
    ...     epochs=2,
    ...     callbacks=[nc_keras.regression.RegressionCollapse(x, y)],
    ...     verbose=0,
    ... )
    >>> len(history.history["nrc1"])
    2

    Args:
        x: Array of examples.
        targets: Array of their targets, shape `(N, n)`.
        head: As in `measure`.
        batch_size: Integer; by default one that suits the model.
    """

    def __init__(
        self,
        x: Any,
        targets: Any,
        head: keras.Layer | str | None = None,
        batch_size: int | None = None,
    ):
        super().__init__()
        self._data, self._head = (x, targets), head
        self._batch_size = batch_size

    def on_train_begin(self, logs=None):
        self._measured = _Measured(self.model, self._head, self._batch_size)

    def on_epoch_end(self, epoch, logs=None):
        if logs is not None:
            logs.update(self._measured(*self._data))


def _outside(features, directions):
    """The mean share of features outside of orthonormal directions."""
    squares = np.sum(features**2, axis=1)
    rest = features - features @ directions.T @ directions
    shares = np.sum(rest**2, axis=1) / np.where(squares > 0, squares, 1.0)
    return float(shares.mean())


def _nrc3(gram, covariance):
    from scipy.optimize import minimize_scalar

    values, vectors = np.linalg.eigh(covariance)
    if not values[0] > len(values) * np.finfo("float64").eps * values[-1]:
        return np.nan, np.nan
    unit = gram / np.linalg.norm(gram)

    def distance(gamma):
        target = (vectors * (np.sqrt(values) - np.sqrt(gamma))) @ vectors.T
        norm = np.linalg.norm(target)
        # One output has no direction left where its target vanishes.
        return 4.0 if not norm else np.sum((unit - target / norm) ** 2)

    found = minimize_scalar(
        distance,
        bounds=(0.0, values[0]),
        method="bounded",
        options={"xatol": 1e-10 * values[0]},
    )
    return float(found.x), float(found.fun)


def _validated(features, kernel, targets):
    arrays = []
    for name, one in (
        ("features", features),
        ("kernel", kernel),
        ("targets", targets),
    ):
        array = real_array(one, f"`{name}`").astype("float64")
        if array.ndim != 2 or not array.size or not np.isfinite(array).all():
            raise ValueError(
                f"`{name}` must be a matrix of finite numbers. "
                f"Received: {name} of shape {array.shape}."
            )
        arrays.append(array)
    h, w, y = arrays
    fits = w.shape == (h.shape[1], y.shape[1]) and len(h) == len(y)
    if not fits or y.shape[1] > h.shape[1]:
        raise ValueError(
            "Features (N, D), kernel (D, n) and targets (N, n) with n <= D are "
            f"needed. Received: shapes {h.shape}, {w.shape}, {y.shape}."
        )
    return h, w.T, y
