"""What one runs: a file for each data set of the papers, and a few tools."""

import os

# TensorFlow, which reads it when it is imported, notes what nobody asked for.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Keras takes seconds: it is imported when a command begins to train.
os.environ["NC_KERAS_DEFER"] = "1"
import nc_keras  # noqa: E402, F401

del os.environ["NC_KERAS_DEFER"]
