from nc_keras.callbacks.checkpoint import Checkpoint
from nc_keras.callbacks.evaluated_collapse import EvaluatedCollapse
from nc_keras.callbacks.follow_class_means import FollowClassMeans
from nc_keras.callbacks.forgetting_epoch_end import ForgettingEpochEnd
from nc_keras.callbacks.kernel_alignment import KernelAlignment
from nc_keras.callbacks.layerwise_collapse import LayerwiseCollapse
from nc_keras.callbacks.nc_tensorboard import NCTensorBoard
from nc_keras.callbacks.neural_collapse import NeuralCollapse
from nc_keras.callbacks.normalized_margins import NormalizedMargins
from nc_keras.callbacks.progress_line import ProgressLine
from nc_keras.callbacks.running_collapse import RunningCollapse
from nc_keras.callbacks.schedule import only_measured
from nc_keras.callbacks.signal_to_noise import SignalToNoise
from nc_keras.callbacks.terminal_phase import TerminalPhase
from nc_keras.callbacks.terminate_on_non_finite import TerminateOnNonFinite
from nc_keras.callbacks.weight_spectrum import WeightSpectrum
from nc_keras.epochs import log_spaced_epochs

__all__ = [
    "Checkpoint",
    "EvaluatedCollapse",
    "FollowClassMeans",
    "ForgettingEpochEnd",
    "KernelAlignment",
    "LayerwiseCollapse",
    "NCTensorBoard",
    "NeuralCollapse",
    "ProgressLine",
    "RunningCollapse",
    "SignalToNoise",
    "TerminalPhase",
    "TerminateOnNonFinite",
    "NormalizedMargins",
    "WeightSpectrum",
    "log_spaced_epochs",
    "only_measured",
]
