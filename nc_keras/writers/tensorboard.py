import io
import numbers
import os
import pathlib
import socket
import time
from collections.abc import Iterable
from collections.abc import Mapping
from typing import Any

import numpy as np
from keras import ops
from PIL import Image
from tensorboard.compat.proto import event_pb2
from tensorboard.compat.proto import summary_pb2
from tensorboard.compat.proto import tensor_pb2
from tensorboard.compat.proto import types_pb2
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.custom_scalar import metadata as layout_metadata
from tensorboard.plugins.histogram.summary_v2 import histogram_pb
from tensorboard.plugins.hparams import api_pb2
from tensorboard.plugins.hparams import metadata as hparams_metadata
from tensorboard.plugins.hparams import plugin_data_pb2
from tensorboard.plugins.hparams.summary_v2 import hparams_pb
from tensorboard.plugins.image import metadata as image_metadata
from tensorboard.plugins.scalar.summary_v2 import scalar_pb
from tensorboard.plugins.text.summary_v2 import text_pb
from tensorboard.summary.writer.record_writer import RecordWriter

from nc_keras.processes import is_first_process
from nc_keras.writers.files import append
from nc_keras.writers.files import sync


class TensorBoardWriter:
    """Writes the events of one TensorBoard run, without TensorFlow.

    Everything is on disk when a method returns. A run that resumes at a step
    writes to a new event file that begins by taking back whatever had been
    logged from that step on: TensorBoard draws one line, with no zig-zag. Of
    several processes that train one model the first one writes.

    Args:
        run_dir: The directory of the run, which exists.
        first_step: Integer or `None`, the first step that will be written
            when the directory may hold an earlier part of the run.

    Example:

    >>> from nc_keras.writers.tensorboard import TensorBoardWriter
    >>> writer = TensorBoardWriter(tempfile.mkdtemp())
    >>> writer.scalars(1, {"nc/nc1": 0.5, "loss": 2.0})
    """

    _count = 0

    def __init__(
        self, run_dir: str | os.PathLike, first_step: int | None = None
    ):
        TensorBoardWriter._count += 1
        # TensorBoard reads the files of a run in the order of their names, so
        # that a clock that was put back must not make an earlier name.
        earlier = pathlib.Path(run_dir).glob("events.out.tfevents.*")
        begun = max([int(time.time()), *(_second(p) + 1 for p in earlier)])
        self._wall_time = float(begun)
        name = (
            f"events.out.tfevents.{begun:010d}."
            f"{socket.gethostname()}.{os.getpid()}."
            f"{TensorBoardWriter._count:06d}"
        )
        self._path = pathlib.Path(run_dir).absolute() / name
        if not is_first_process():
            self._path = pathlib.Path(os.devnull)
        self._write(event_pb2.Event(file_version="brain.Event:2"))
        if first_step is not None:
            start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
            self._write(event_pb2.Event(step=first_step, session_log=start))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Writes one number for each tag; what is none is left out."""
        summary = summary_pb2.Summary()
        for tag, value in values.items():
            if isinstance(number := _item(value), numbers.Real):
                summary.MergeFrom(scalar_pb(tag, float(number)))
        self._write(event_pb2.Event(step=step, summary=summary))

    def image(self, step: int, tag: str, pixels: np.ndarray) -> None:
        """Writes an image, uint8 of shape `(height, width, 3)`."""
        png = io.BytesIO()
        Image.fromarray(pixels).save(png, format="png")
        height, width, _ = pixels.shape
        tensor = tensor_pb2.TensorProto(
            dtype=types_pb2.DT_STRING,
            string_val=[
                str(width).encode(),
                str(height).encode(),
                png.getvalue(),
            ],
        )
        tensor.tensor_shape.dim.add(size=3)
        self._tensor(
            step, tag, tensor, image_metadata.create_summary_metadata("", "")
        )

    def histogram(self, step: int, tag: str, values: np.ndarray) -> None:
        """Writes the histogram of some values."""
        summary = histogram_pb(tag, np.asarray(values))
        self._write(event_pb2.Event(step=step, summary=summary))

    def layout(self, categories: Mapping[str, Mapping[str, list[str]]]) -> None:
        """Writes the panels of the Custom Scalars page.

        Args:
            categories: For each category's title, for each chart's title, the
                regular expressions of the tags that it draws.
        """
        layout = layout_pb2.Layout(
            category=[
                layout_pb2.Category(
                    title=title,
                    chart=[
                        layout_pb2.Chart(
                            title=chart,
                            multiline=layout_pb2.MultilineChartContent(
                                tag=tags
                            ),
                        )
                        for chart, tags in charts.items()
                    ],
                )
                for title, charts in categories.items()
            ]
        )
        tensor = tensor_pb2.TensorProto(
            dtype=types_pb2.DT_STRING, string_val=[layout.SerializeToString()]
        )
        self._tensor(
            0,
            layout_metadata.CONFIG_SUMMARY_TAG,
            tensor,
            layout_metadata.create_summary_metadata(),
        )

    def hparams(self, name: str, values: Mapping[str, Any]) -> None:
        """Writes the settings by which the HParams page tells runs apart."""
        summary = hparams_pb(dict(values), trial_id=name)
        self._write(event_pb2.Event(summary=summary))

    def columns(
        self,
        values: Mapping[str, Any],
        first: Iterable[str],
        results: Iterable[tuple[str, str, str]],
    ) -> None:
        """Writes which columns the HParams page has.

        Args:
            values: The settings, as in `hparams`.
            first: The names of those that come first.
            results: Run, tag and heading of each scalar that is a column.
        """
        first = set(first)
        experiment = api_pb2.Experiment(
            hparam_infos=[
                # The page sorts by this mark, and then by name.
                api_pb2.HParamInfo(
                    name=name, type=_data_type(value), differs=name in first
                )
                for name, value in values.items()
            ],
            metric_infos=[
                api_pb2.MetricInfo(
                    name=api_pb2.MetricName(group=run, tag=tag),
                    display_name=heading,
                )
                for run, tag, heading in results
            ],
        )
        data = plugin_data_pb2.HParamsPluginData(
            version=hparams_metadata.PLUGIN_DATA_VERSION, experiment=experiment
        )
        self._tensor(
            0,
            hparams_metadata.EXPERIMENT_TAG,
            hparams_metadata.NULL_TENSOR,
            hparams_metadata.create_summary_metadata(data),
        )

    def text(self, step: int, tag: str, markdown: str) -> None:
        """Writes a text, in Markdown."""
        self._write(event_pb2.Event(step=step, summary=text_pb(tag, markdown)))

    def finish(self) -> None:
        """Marks the run as ended, for the HParams page."""
        data = plugin_data_pb2.HParamsPluginData(
            version=hparams_metadata.PLUGIN_DATA_VERSION,
            session_end_info=plugin_data_pb2.SessionEndInfo(
                status=api_pb2.STATUS_SUCCESS, end_time_secs=time.time()
            ),
        )
        self._tensor(
            0,
            hparams_metadata.SESSION_END_INFO_TAG,
            hparams_metadata.NULL_TENSOR,
            hparams_metadata.create_summary_metadata(data),
        )

    def _tensor(self, step, tag, tensor, metadata):
        summary = summary_pb2.Summary()
        summary.value.add(tag=tag, tensor=tensor, metadata=metadata)
        self._write(event_pb2.Event(step=step, summary=summary))

    def sync(self) -> None:
        """Waits until everything is on the disk."""
        if is_first_process():
            sync(self._path)

    def _write(self, event):
        self._wall_time = max(self._wall_time, time.time())
        event.wall_time = self._wall_time
        record = io.BytesIO()
        RecordWriter(record).write(event.SerializeToString())
        append(self._path, record.getvalue())


def _data_type(value):
    if isinstance(value, bool):
        return api_pb2.DATA_TYPE_BOOL
    is_number = isinstance(value, numbers.Real)
    return api_pb2.DATA_TYPE_FLOAT64 if is_number else api_pb2.DATA_TYPE_STRING


def _item(value):
    """The number of an array or tensor without axes; all else as it is."""
    if ops.is_tensor(value):
        value = ops.convert_to_numpy(value)
    is_scalar = isinstance(value, np.ndarray | np.generic) and not value.ndim
    return value.item() if is_scalar else value


def _second(path):
    """The second in the name of an event file, or 0 in one of others."""
    second = path.name.split(".")[3]
    return int(second) if second.isdigit() else 0
