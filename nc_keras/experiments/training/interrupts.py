import os
import signal
import threading
from typing import Any

import keras

_WORDS = b"\nStops after this batch. Ctrl-C again stops at once.\n"


class Interrupts(keras.callbacks.Callback):
    """Ends a training between two batches after Ctrl-C.

    Python raises `KeyboardInterrupt` wherever it happens to be: in a
    finalizer it is printed and lost, and in a writer it leaves half a line.
    Within this context, the first Ctrl-C waits for the next batch, and the
    second is Python's own.

    Raises:
        KeyboardInterrupt: From `fit`, or at the end of the context if it was
            asked for after the last batch.
    """

    def __enter__(self):
        self._asked = False
        self._before = None
        if threading.current_thread() is threading.main_thread():
            self._before = signal.getsignal(signal.SIGINT)
        # Who has a handler of their own keeps it.
        if self._before is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._ask)
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        if self._before is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._before)
        if kind is None:
            self._raise_if_asked()

    def on_epoch_begin(self, epoch, logs=None):
        self._raise_if_asked()

    def on_train_batch_begin(self, batch, logs=None):
        self._raise_if_asked()

    def on_test_batch_begin(self, batch, logs=None):
        self._raise_if_asked()

    def _ask(self, number, frame):
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True
        # `print` cannot be called while it is printing.
        os.write(2, _WORDS)

    def _raise_if_asked(self):
        if self._asked:
            raise KeyboardInterrupt
