"""Draws the pictures of docs/plotting.md: runs the lines of the page.

    python -m tools.gallery

The page's `savefig` and `save` write into docs/plots. Pictures are made small,
with a palette. On two CPU cores it takes three minutes.
"""

import os
import pathlib
import re
import sys
import tempfile

import keras
import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "plotting.md"
PICTURES = ROOT / "docs" / "plots"
_COLORS = 256
_MOST = {".png": 100_000, ".gif": 400_000}  # bytes


def main() -> None:
    """Runs the command line."""
    names = _data()
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for block in blocks:
            exec(block, names)
        os.chdir(ROOT)
        for path in sorted(pathlib.Path(folder).iterdir()):
            if path.suffix in _MOST:
                _keep(path)


def _data():
    """The names that the page takes for granted."""
    data = load_digits()
    images = ((data.images - 4.9) / 6.0).astype("float32")[..., None]
    labels = data.target.astype("int32")
    keras.utils.set_random_seed(0)
    order = np.random.default_rng(0).permutation(len(labels))
    # Whole batches of 64: a small last one spoils batch normalisation.
    train, test = order[:1344], order[1344:]
    return {
        "np": np,
        "keras": keras,
        "x": images[train],
        "y": labels[train],
        "x_test": images[test],
        "y_test": labels[test],
    }


def _keep(path):
    """Puts a picture into the documents, if it is small enough."""
    target = PICTURES / path.name
    if path.suffix == ".png":
        picture = Image.open(path).convert("RGB").quantize(_COLORS)
        picture.save(target, optimize=True)
    else:
        target.write_bytes(path.read_bytes())
    size = target.stat().st_size
    print(f"{target.relative_to(ROOT)}: {size:,} bytes")
    if size > _MOST[path.suffix]:
        sys.exit(f"{target.name} is larger than {_MOST[path.suffix]:,} bytes.")


if __name__ == "__main__":
    main()
