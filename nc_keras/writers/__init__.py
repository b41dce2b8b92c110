from nc_keras.writers.json_lines import JSONLinesWriter
from nc_keras.writers.snapshots import Snapshot
from nc_keras.writers.snapshots import SnapshotDirectory
from nc_keras.writers.tensorboard import TensorBoardWriter

__all__ = [
    "JSONLinesWriter",
    "Snapshot",
    "SnapshotDirectory",
    "TensorBoardWriter",
]
