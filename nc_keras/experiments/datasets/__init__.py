"""Image datasets, for every recipe and every backend.

`load("fashion_mnist")` reads `data/fashion_mnist.npz` with NumPy alone. The
first call makes that file: from a folder that tensorflow-datasets prepared
(`data/fashion_mnist/3.0.1`), or by letting tensorflow-datasets download it.
Without internet, `tools/prepare_dataset.py` does it from the original files.
Of ImageNet the file has only the labels, and images are read while training.

```python
data = datasets.balance(datasets.load("mnist"))
mean, std = data.pixel_statistics()
model.fit(**data.fit_data(batch_size=128, seed=0), epochs=10)
```
"""

from nc_keras.experiments.datasets.arrays import Dataset
from nc_keras.experiments.datasets.files import npz_path
from nc_keras.experiments.datasets.files import read_npz
from nc_keras.experiments.datasets.files import read_prepared
from nc_keras.experiments.datasets.files import write_npz
from nc_keras.experiments.datasets.folders import image_folder
from nc_keras.experiments.datasets.loading import digits
from nc_keras.experiments.datasets.loading import load
from nc_keras.experiments.datasets.originals import archive_list
from nc_keras.experiments.datasets.originals import archives
from nc_keras.experiments.datasets.originals import find_archives
from nc_keras.experiments.datasets.originals import verify
from nc_keras.experiments.datasets.prepared import builder
from nc_keras.experiments.datasets.prepared import is_prepared
from nc_keras.experiments.datasets.prepared import prepared_path
from nc_keras.experiments.datasets.source_batches import SourceStream
from nc_keras.experiments.datasets.sources import BALANCED
from nc_keras.experiments.datasets.sources import NAMES
from nc_keras.experiments.datasets.sources import SOURCES
from nc_keras.experiments.datasets.sources import Archive
from nc_keras.experiments.datasets.sources import Source
from nc_keras.experiments.datasets.sources import unknown
from nc_keras.experiments.datasets.streams import ImageStream
from nc_keras.experiments.datasets.subsets import balance
from nc_keras.experiments.datasets.subsets import imbalance
from nc_keras.experiments.datasets.subsets import oversample
from nc_keras.experiments.datasets.subsets import take
from nc_keras.experiments.datasets.subsets import take_test

__all__ = [
    "BALANCED",
    "NAMES",
    "SOURCES",
    "Archive",
    "Dataset",
    "ImageStream",
    "Source",
    "SourceStream",
    "archive_list",
    "archives",
    "balance",
    "builder",
    "digits",
    "find_archives",
    "image_folder",
    "imbalance",
    "is_prepared",
    "load",
    "npz_path",
    "oversample",
    "prepared_path",
    "read_npz",
    "read_prepared",
    "take",
    "take_test",
    "unknown",
    "verify",
    "write_npz",
]
