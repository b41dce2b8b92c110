import dataclasses
import math
import numbers
from typing import Any

import keras
import numpy as np

from nc_keras.input_gradients import InputGradients
from nc_keras.input_gradients import chunks
from nc_keras.input_gradients import images_of
from nc_keras.input_gradients import require_raw


@dataclasses.dataclass(frozen=True)
class DeepFoolResult:
    """What `nc_keras.deepfool` found for `N` images.

    Args:
        perturbations: Array of shape `(N, ...)` and dtype float32, in the
            units of the images: what takes an image over the decision
            boundary. NaN where none was found.
        relative_norms: Array of shape `(N,)`, `||r|| / ||x||`, no unit. NaN
            where no perturbation was found.
        found: Booleans of shape `(N,)`, whether the decision changed.
        labels: Integers of shape `(N,)`, the decisions for the images.
        new_labels: Integers of shape `(N,)`, the decisions for the perturbed
            images; that of the last step where none was found.
        steps: Integers of shape `(N,)`, the steps taken.
    """

    perturbations: np.ndarray
    relative_norms: np.ndarray
    found: np.ndarray
    labels: np.ndarray
    new_labels: np.ndarray
    steps: np.ndarray

    @property
    def robustness(self) -> float:
        """The mean of `||r|| / ||x||` over all images.

        NaN if one image has no perturbation: those are the most robust ones,
        so that a mean over the others (`np.nanmean(result.relative_norms)`)
        is too small, and has to be asked for.
        """
        return float(np.mean(self.relative_norms))


def deepfool(model: keras.Model, x: Any, **options: Any) -> DeepFoolResult:
    """Finds small perturbations that change a model's decisions (DeepFool).

    `DeepFoolResult.robustness`, the mean of `||r(x)|| / ||x||`, is the
    robustness of Figure 8 of Papyan et al., who take 100 test images. To
    measure one model again and again, keep a `nc_keras.DeepFool`: it compiles
    once.

    Args:
        model: As in `nc_keras.DeepFool`.
        x: As there, in its call.
        **options: `num_candidates`, `overshoot`, `max_steps` and
            `batch_size`, as there.

    Returns:
        A `nc_keras.robustness.DeepFoolResult`.

    Raises:
        ValueError: As `nc_keras.DeepFool`.

    Example: for the decision between `f_0 = 3 x_0 + 4 x_1` and `f_1 = 0`, the
    boundary is `f_0 / 5` away.

    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    >>> model.set_weights([np.array([[3.0, 0.0], [4.0, 0.0]]), np.zeros(2)])
    >>> result = nc_keras.deepfool(model, np.array([[3.0, 4.0]]))
    >>> (result.perturbations / 1.02).round(3)  # an overshoot of 2%
    array([[-3., -4.]], dtype=float32)
    >>> round(result.robustness, 3), result.found
    (1.02, array([ True]))

    Reference:

    - [Moosavi-Dezfooli et al., 2016](https://arxiv.org/abs/1511.04599),
      Algorithm 2.
    - [Papyan, Han & Donoho, 2020](https://arxiv.org/abs/2008.08186),
      Figure 8.
    """
    return DeepFool(model, **options)(x)


class DeepFool:
    """DeepFool for a model that is measured again and again.

    At each step the outputs `f` are taken to be linear, and the image `x_i`
    goes to the nearest boundary between its class `y` and another one:

    ```
    w_k = grad f_k(x_i) - grad f_y(x_i),  d_k = f_k(x_i) - f_y(x_i)
    l = argmin over k != y of |d_k| / ||w_k||
    r_i = |d_l| / ||w_l||^2 * w_l
    ```

    until the decision at `x + (1 + overshoot) * sum_i r_i` is another one. As
    in the authors' code, `y` is the model's own decision, `k` runs over the
    classes with the largest outputs for the unperturbed image, and what is
    returned includes the factor `1 + overshoot`. Perturbed images are not
    clipped to a range of pixels. Everything is computed in float32 and in
    inference mode, whatever precision the model was trained in: half of it
    cannot tell outputs close to a boundary apart.

    An image has no perturbation (`found` is false, its values are NaN) if its
    decision is the same after `max_steps`, or if it cannot move: because all
    gradients vanish, or two outputs are equal.

    The model is left as it is: nothing is compiled, trained or drawn in it.
    Each call sees its weights of that time, also in a callback during
    `fit()`. Functions are compiled in the first call, and again only for
    images of another shape.

    Args:
        model: A built `keras.Model` of any kind that returns raw outputs of
            shape `(N, C)`, no softmax, and treats images independently of one
            another.
        num_candidates: Integer, at least 2, how many classes are considered,
            the image's own among them; all if there are fewer. Defaults to
            `10`.
        overshoot: Float, not negative. Defaults to `0.02`.
        max_steps: Integer, the most steps for an image. Defaults to `50`.
        batch_size: Integer, how many images, or pairs of image and class,
            pass through the model at once. Defaults to `128`.

    Call arguments:
        x: Floating-point array of shape `(N, ...)`, the images as the model
            takes them.

    Call returns:
        A `nc_keras.robustness.DeepFoolResult`.

    Raises:
        ValueError: If the model is not built or an option is invalid; in a
            call, if images are not of a floating-point dtype, not finite or
            zero throughout, or if outputs or gradients are not finite, of
            another shape, or probabilities.

    Example:

    >>> model = nc_keras.models.MLP((8, 8, 1), 10, widths=(16,))
    >>> x = np.random.default_rng(0).normal(size=(5, 8, 8, 1))
    >>> measure = nc_keras.DeepFool(model, batch_size=32)
    >>> result = measure(x)
    >>> result.relative_norms.shape
    (5,)
    >>> bool(measure(x).robustness == result.robustness)
    True

    Reference:

    - [Moosavi-Dezfooli et al., 2016](https://arxiv.org/abs/1511.04599),
      Algorithm 2, and
      [their code](https://github.com/LTS4/DeepFool/tree/master/Python).
    """

    def __init__(
        self,
        model: keras.Model,
        *,
        num_candidates: int = 10,
        overshoot: float = 0.02,
        max_steps: int = 50,
        batch_size: int = 128,
    ):
        if not model.built:
            raise ValueError(
                "The model has no weights yet. Call it on a batch, or "
                "`model.build(input_shape)`, first. "
                f"Received: model {model.name!r}, which is not built."
            )
        _validate_integer("num_candidates", num_candidates, 2)
        _validate_integer("max_steps", max_steps, 1)
        _validate_integer("batch_size", batch_size, 1)
        if not 0 <= overshoot < math.inf:
            raise ValueError(
                "`overshoot` must be a number that is not negative. "
                f"Received: overshoot={overshoot}."
            )
        self.model = model
        self.num_candidates = num_candidates
        self.overshoot = overshoot
        self.max_steps = max_steps
        self.batch_size = batch_size
        self._network = None

    def __call__(self, x: Any) -> DeepFoolResult:
        x = images_of(x)
        _refuse_zeros(x)
        network = self._network_for(x.shape[1:])
        outputs = network.outputs(x)
        require_raw(outputs)
        labels = outputs.argmax(axis=1)
        ranking = np.argsort(-outputs, axis=1, kind="stable")
        rivals = ranking[:, 1 : self.num_candidates]
        new_labels, steps = labels.copy(), np.zeros(len(x), int)
        total, points = np.zeros(x.shape), x.copy()
        active = np.arange(len(x))
        for _ in range(self.max_steps):
            step = _steps(
                network, points[active], outputs, labels[active], rivals[active]
            )
            total[active] += step
            points[active] = x[active] + self._overshot(total[active])
            steps[active] += 1
            outputs = network.outputs(points[active])
            new_labels[active] = outputs.argmax(axis=1)
            same = new_labels[active] == labels[active]
            # What did not move would not move at the next step either.
            going = same & step.any(axis=tuple(range(1, x.ndim)))
            active, outputs = active[going], outputs[going]
            if not len(active):
                break
        return _result(x, self._overshot(total), labels, new_labels, steps)

    def _network_for(self, shape):
        """The compiled model for images of a shape, at its current weights."""
        if self._network is None or self._network.image_shape != shape:
            self._network = InputGradients(self.model, shape, self.batch_size)
        self._network.read_variables()
        return self._network

    def _overshot(self, total):
        return ((1 + self.overshoot) * total).astype("float32")


def _steps(network, x, outputs, labels, rivals):
    """The steps `r_i` of Algorithm 2, shape `(N, ...)`."""
    steps = []
    # A chunk at a time, since an image has a gradient for every rival.
    for rows in chunks(len(x), network.batch_size):
        own = np.take_along_axis(outputs[rows], labels[rows, None], axis=1)
        others = np.take_along_axis(outputs[rows], rivals[rows], axis=1)
        weights = _differences(labels[rows], rivals[rows], outputs.shape[1])
        w = _jacobians(network, x[rows], weights)
        squares = np.einsum("nkp,nkp->nk", w, w, dtype="float64")
        distances = _divide(own - others, np.sqrt(squares), np.inf)
        nearest = distances.argmin(axis=1)[:, None]
        rates = np.take_along_axis(
            _divide(own - others, squares, 0.0), nearest, axis=1
        )
        w = np.take_along_axis(w, nearest[..., None], axis=1)[:, 0]
        steps.append((rates * w).reshape(x[rows].shape))
    return np.concatenate(steps)


def _differences(labels, rivals, classes):
    """Rows that take `f_k - f_y` out of the outputs, `(N, K - 1, C)`."""
    identity = np.eye(classes, dtype="float32")
    return identity[rivals] - identity[labels][:, None]


def _jacobians(network, x, weights):
    """Gradients of all weighted sums of outputs, shape `(N, K - 1, P)`."""
    images = np.repeat(np.arange(len(x)), weights.shape[1])
    weights_of_pairs = weights.reshape(len(images), -1)
    gradients = [
        network.gradients(x[images[pairs]], weights_of_pairs[pairs])
        for pairs in chunks(len(images), network.batch_size)
    ]
    return np.concatenate(gradients).reshape(*weights.shape[:2], -1)


def _divide(a, b, at_zero):
    quotient = np.full(b.shape, at_zero)
    return np.divide(a, b, out=quotient, where=b > 0)


def _result(x, perturbations, labels, new_labels, steps):
    found = new_labels != labels
    perturbations[~found] = np.nan
    return DeepFoolResult(
        perturbations=perturbations,
        relative_norms=_norms(perturbations) / _norms(x),
        found=found,
        labels=labels,
        new_labels=new_labels,
        steps=steps,
    )


def _norms(images):
    return np.linalg.norm(images.reshape(len(images), -1).astype(float), axis=1)


def _validate_integer(name, value, smallest):
    if not isinstance(value, numbers.Integral) or value < smallest:
        raise ValueError(
            f"`{name}` must be an integer, at least {smallest}. "
            f"Received: {name}={value!r}."
        )


def _refuse_zeros(x):
    zeros = np.flatnonzero(_norms(x) == 0)
    if len(zeros):
        raise ValueError(
            "No perturbation is small beside an image that is zero "
            f"throughout. Received: {len(zeros)} of those, the first at index "
            f"{zeros[0]}."
        )
