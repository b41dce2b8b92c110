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

from recipes.datasets.arrays import Dataset
from recipes.datasets.files import npz_path
from recipes.datasets.files import read_npz
from recipes.datasets.files import read_prepared
from recipes.datasets.files import write_npz
from recipes.datasets.loading import digits
from recipes.datasets.loading import load
from recipes.datasets.originals import archive_list
from recipes.datasets.originals import archives
from recipes.datasets.originals import find_archives
from recipes.datasets.originals import verify
from recipes.datasets.prepared import builder
from recipes.datasets.prepared import is_prepared
from recipes.datasets.prepared import prepared_path
from recipes.datasets.sources import BALANCED
from recipes.datasets.sources import NAMES
from recipes.datasets.sources import SOURCES
from recipes.datasets.sources import Archive
from recipes.datasets.sources import Source
from recipes.datasets.sources import unknown
from recipes.datasets.streams import ImageStream
from recipes.datasets.subsets import balance
from recipes.datasets.subsets import take
from recipes.datasets.subsets import take_test

__all__ = [
    "BALANCED",
    "NAMES",
    "SOURCES",
    "Archive",
    "Dataset",
    "ImageStream",
    "Source",
    "archive_list",
    "archives",
    "balance",
    "builder",
    "digits",
    "find_archives",
    "is_prepared",
    "load",
    "npz_path",
    "prepared_path",
    "read_npz",
    "read_prepared",
    "take",
    "take_test",
    "unknown",
    "verify",
    "write_npz",
]
