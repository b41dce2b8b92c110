"""What is known of each dataset before it is read."""

import dataclasses
import difflib
import math
from collections.abc import Mapping
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Archive:
    """An original file, as it is published.

    Args:
        filename: Its name.
        size: Its size in bytes.
        sha256: The SHA-256 of the file.
        content: The SHA-256 of what is compressed in it, where mirrors are
            known to compress it again.
    """

    filename: str
    size: int
    sha256: str
    content: str | None = None


@dataclasses.dataclass(frozen=True)
class Source:
    """A dataset of tensorflow-datasets.

    Args:
        version: The version that is prepared.
        image_shape: `(height, width, channels)` of the images that are read.
        num_classes: Number of classes.
        num_train: Number of training images.
        num_test: Number of test images.
        test_split: The split that serves as test set.
        num_unused: Images of splits that are prepared, but never read.
        streamed: Whether images are read from disk while training.
        content: SHA-256 sums of the content of archives, by file name.
        package: Debian's package of the archives, if there is one.
        package_dir: Where that package puts them.
    """

    version: str
    image_shape: tuple[int, int, int]
    num_classes: int
    num_train: int
    num_test: int
    test_split: str = "test"
    num_unused: int = 0
    streamed: bool = False
    content: Mapping[str, str] = dataclasses.field(default_factory=dict)
    package: str | None = None
    package_dir: Path | None = None

    @property
    def raw_bytes(self) -> int:
        """Size of all prepared images as pixels; 0 of a streamed set."""
        if self.streamed:
            return 0
        count = self.num_train + self.num_test + self.num_unused
        return count * math.prod(self.image_shape)


# Of the IDX files inside the .gz, because mirrors compress them again.
# Debian's differ by the name and time in the gzip header; with both put back
# they have the .gz checksums of tensorflow-datasets. Of MNIST, third parties
# publish the same pairs of .gz and content sums.
_MNIST_CONTENT = {
    "train-images-idx3-ubyte.gz": (
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"
    ),
    "train-labels-idx1-ubyte.gz": (
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"
    ),
    "t10k-images-idx3-ubyte.gz": (
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"
    ),
    "t10k-labels-idx1-ubyte.gz": (
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"
    ),
}
_FASHION_MNIST_CONTENT = {
    "train-images-idx3-ubyte.gz": (
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"
    ),
    "train-labels-idx1-ubyte.gz": (
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"
    ),
    "t10k-images-idx3-ubyte.gz": (
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"
    ),
    "t10k-labels-idx1-ubyte.gz": (
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"
    ),
}

SOURCES = {
    "mnist": Source(
        "3.0.1", (28, 28, 1), 10, 60_000, 10_000, content=_MNIST_CONTENT
    ),
    "fashion_mnist": Source(
        "3.0.1",
        (28, 28, 1),
        10,
        60_000,
        10_000,
        content=_FASHION_MNIST_CONTENT,
        package="dataset-fashion-mnist",
        package_dir=Path("/usr/share/datasets/fashion-mnist"),
    ),
    "cifar10": Source("3.0.2", (32, 32, 3), 10, 50_000, 10_000),
    "cifar100": Source("3.0.2", (32, 32, 3), 100, 50_000, 10_000),
    "svhn_cropped": Source(
        "3.1.0", (32, 32, 3), 10, 73_257, 26_032, num_unused=531_131
    ),
    "stl10": Source("1.0.0", (96, 96, 3), 10, 5_000, 8_000, num_unused=100_000),
    "imagenet2012": Source(
        "5.1.0",
        (224, 224, 3),
        1000,
        1_281_167,
        50_000,
        test_split="validation",
        streamed=True,
    ),
}

NAMES = ("digits", *SOURCES)

# Training images per class in Papyan, Han and Donoho (2020), who balanced these
# three; their other sets have equal classes as they are.
BALANCED = {"mnist": 5000, "svhn_cropped": 4600, "imagenet2012": 600}


def unknown(name: object) -> str:
    """Returns the error message for a name that is not in `NAMES`."""
    close = difflib.get_close_matches(str(name), NAMES, n=1)
    hint = f" Did you mean '{close[0]}'?" if close else ""
    if Path(str(name)).is_dir():
        hint += f" The folder of that name is meant by '{name}/'."
    known = ", ".join(f"'{known}'" for known in NAMES)
    return f"Unknown dataset.{hint} Known: {known}. Received: name={name!r}."
