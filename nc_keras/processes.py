"""Which of several processes this one is."""

import keras


def is_first_process() -> bool:
    """Whether this process is the one that writes files.

    Several processes train one model where a `keras.distribution.DataParallel`
    over all their devices is set; each has its own share of the data.
    """
    distribution = keras.distribution.distribution()
    return distribution is None or distribution.data_shard_id == 0
