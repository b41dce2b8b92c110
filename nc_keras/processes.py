"""Which of several processes this one is."""

import os

import keras


def is_first_process() -> bool:
    """Whether this process is the one that writes files.

    Several processes can train one model, with a
    `keras.distribution.DataParallel` over the devices of all.
    """
    distribution = keras.distribution.distribution()
    if distribution is not None:
        return distribution.data_shard_id == 0
    return int(os.environ.get("KERAS_DISTRIBUTION_PROCESS_ID", 0)) == 0
