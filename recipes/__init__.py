"""What one runs: a file for each data set of the papers, and a few tools."""

import os

# TensorFlow, which reads it when it is imported, notes what nobody asked for.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# TensorFlow announces itself on the descriptor of errors when it is imported.
_errors, _null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
os.dup2(_null, 2)
try:
    import nc_keras  # noqa: F401
finally:
    os.dup2(_errors, 2)
    os.close(_errors)
    os.close(_null)
