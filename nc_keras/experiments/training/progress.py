import keras
from rich.progress import BarColumn
from rich.progress import MofNCompleteColumn
from rich.progress import Progress
from rich.progress import TextColumn
from rich.progress import TimeElapsedColumn
from rich.progress import TimeRemainingColumn

from nc_keras.callbacks.schedule import is_measured


class EpochProgress(keras.callbacks.Callback):
    """One progress bar for a whole training: epochs, loss, error, NC1.

    It is drawn inside its `with` block.

    Args:
        description: String, what is being trained.
    """

    def __init__(self, description: str):
        super().__init__()
        self._nc1 = None
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TextColumn("{task.fields[state]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        self._task = self._progress.add_task(description, state="")

    def __enter__(self):
        self._progress.start()
        return self

    def __exit__(self, *error):
        self._progress.stop()

    def on_epoch_end(self, epoch, logs=None):
        logs = logs or {}
        if is_measured(logs, "nc1"):
            self._nc1 = logs["nc1"]
        # A regression has no error, and may have no collapse.
        state = [f"loss {logs['loss']:.4f}"] if "loss" in logs else []
        if "accuracy" in logs:
            state.append(f"error {1 - logs['accuracy']:.2%}")
        if self._nc1 is not None:
            state.append(f"NC1 {self._nc1:.3g}")
        self._progress.update(
            self._task,
            completed=epoch + 1,
            total=self.params["epochs"],
            state="  ".join(state),
        )
