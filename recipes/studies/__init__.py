"""Studies: one claim of a paper each, on real images."""

from nc_keras.experiments.console.quiet import import_keras
from nc_keras.experiments.options.early import check_options

check_options(__name__)
import_keras()
