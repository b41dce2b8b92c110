from collections.abc import Iterable

import keras

from nc_keras.callbacks.schedule import measured_only


class ProgressLine(keras.callbacks.ProgbarLogger):
    """Keras' progress bar, with few of the values that callbacks measure.

    `fit(verbose=1)` prints every value in `logs`: with `NeuralCollapse` that
    is a paragraph per epoch. This bar prints what the training steps and the
    validation report, and the metrics that you name. All values stay in
    `History`, `metrics.jsonl` and the panels. Place it last in the list of
    callbacks; Keras then adds no bar of its own.

    Args:
        metrics: Strings, the keys of `logs` to print. Defaults to
            `("nc1", "nc4")`.

    Example:

    >>> x, y = np.random.default_rng(0).normal(size=(30, 4)), np.arange(30) % 3
    >>> model = nc_keras.models.MLP((4,), 3, widths=(8,))
    >>> model.compile("sgd", loss=nc_keras.losses.CE())
    >>> callbacks = [
    ...     nc_keras.callbacks.NeuralCollapse(x, y),
    ...     nc_keras.callbacks.ProgressLine(),
    ... ]
    >>> _ = model.fit(
    ...     x, y, callbacks=callbacks, verbose=2
    ... )  # doctest: +ELLIPSIS
    1/1 - ... - loss: ... - nc1: ... - nc4: ...
    """

    def __init__(self, metrics: Iterable[str] = ("nc1", "nc4")):
        super().__init__()
        self.metrics = [metrics] if isinstance(metrics, str) else list(metrics)
        self._own: set[str] = set()

    def on_train_batch_end(self, batch, logs=None):
        self._own.update(logs or {})
        super().on_train_batch_end(batch, logs)

    def on_epoch_end(self, epoch, logs=None):
        shown = {*self._own, *(f"val_{key}" for key in self._own)}
        shown.update(self.metrics)
        measured = measured_only(logs or {})
        super().on_epoch_end(
            epoch, {k: v for k, v in measured.items() if k in shown}
        )
