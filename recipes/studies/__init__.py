"""Studies: one claim of a paper each, on real images."""

from nc_keras.experiments.console.quiet import import_keras

import_keras()
