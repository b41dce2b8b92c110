from nc_keras.callbacks.checkpoint import Checkpoint
from nc_keras.callbacks.nc_tensorboard import NCTensorBoard
from nc_keras.callbacks.neural_collapse import NeuralCollapse
from nc_keras.callbacks.running_collapse import RunningCollapse
from nc_keras.callbacks.schedule import log_spaced_epochs
from nc_keras.callbacks.terminal_phase import TerminalPhase
from nc_keras.callbacks.terminate_on_non_finite import TerminateOnNonFinite

__all__ = [
    "Checkpoint",
    "NCTensorBoard",
    "NeuralCollapse",
    "RunningCollapse",
    "TerminalPhase",
    "TerminateOnNonFinite",
    "log_spaced_epochs",
]
