"""Writes small files in the original formats of the datasets.

Each function returns the images and labels of both splits, as `load` must.
"""

import gzip
import io
import struct
import tarfile

import numpy as np
import PIL.Image
import scipy.io

# The first five classes of ImageNet, in the order of their labels.
SYNSETS = ("n01440764", "n01443537", "n01484850", "n01491361", "n01494475")


def random_split(rng, shape, counts):
    """Returns random images, and `counts[c]` labels of each class c."""
    labels = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    labels = rng.permutation(labels)
    return rng.integers(0, 256, (len(labels), *shape), np.uint8), labels


def write_mnist(folder, rng):
    splits = {
        "train": random_split(rng, (28, 28, 1), [3, 2, 4, 2, 3, 5, 2, 2, 3, 2]),
        "t10k": random_split(rng, (28, 28, 1), [1] * 10),
    }
    for prefix, (x, y) in splits.items():
        images = struct.pack(">4I", 2051, len(x), 28, 28) + x.tobytes()
        labels = struct.pack(">2I", 2049, len(y)) + bytes(y.tolist())
        for kind, content in (("images-idx3", images), ("labels-idx1", labels)):
            path = folder / f"{prefix}-{kind}-ubyte.gz"
            path.write_bytes(gzip.compress(content))
    return splits["train"], splits["t10k"]


def cifar_rows(x, *labels):
    """Returns rows of label bytes and a plane of each colour."""
    planes = x.transpose(0, 3, 1, 2).reshape(len(x), -1)
    columns = [np.asarray(label, np.uint8)[:, None] for label in labels]
    return np.concatenate([*columns, planes], axis=1).tobytes()


def write_tar(path, contents, mode="w:gz"):
    """Writes a tar archive to a path or to a file in memory."""
    is_path = not hasattr(path, "write")
    target = {"name": path} if is_path else {"fileobj": path}
    with tarfile.open(mode=mode, **target) as tar:
        for name, content in contents.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def write_cifar10(folder, rng):
    train = random_split(rng, (32, 32, 3), [2] * 10)
    test = random_split(rng, (32, 32, 3), [1] * 10)
    names = "".join(f"name{label}\n" for label in range(10)) + "\n"
    contents = {"batches.meta.txt": names.encode()}
    for batch in range(5):
        rows = slice(4 * batch, 4 * batch + 4)
        contents[f"data_batch_{batch + 1}.bin"] = cifar_rows(
            train[0][rows], train[1][rows]
        )
    contents["test_batch.bin"] = cifar_rows(*test)
    write_tar(
        folder / "cifar-10-binary.tar.gz",
        {f"cifar-10-batches-bin/{k}": v for k, v in contents.items()},
    )
    return train, test


def write_cifar100(folder, rng):
    train = random_split(rng, (32, 32, 3), [2] * 100)
    test = random_split(rng, (32, 32, 3), [1] * 100)
    contents = {
        "coarse_label_names.txt": "".join(f"c{i}\n" for i in range(20)),
        "fine_label_names.txt": "".join(f"f{i}\n" for i in range(100)),
    }
    contents = {name: text.encode() for name, text in contents.items()}
    for name, (x, y) in {"train": train, "test": test}.items():
        contents[f"{name}.bin"] = cifar_rows(x, y // 5, y)
    write_tar(
        folder / "cifar-100-binary.tar.gz",
        {f"cifar-100-binary/{k}": v for k, v in contents.items()},
    )
    return train, test


def write_svhn(folder, rng):
    splits = {
        "train": random_split(rng, (32, 32, 3), [3, 2, 4, 2, 3, 5, 2, 2, 3, 2]),
        "test": random_split(rng, (32, 32, 3), [1] * 10),
        "extra": random_split(rng, (32, 32, 3), [1] * 4),
    }
    for name, (x, y) in splits.items():
        digits = np.where(y == 0, 10, y).astype(np.uint8)[:, None]
        scipy.io.savemat(
            folder / f"{name}_32x32.mat",
            {"X": x.transpose(1, 2, 3, 0), "y": digits},
            do_compression=True,
        )
    return splits["train"], splits["test"]


def write_stl10(folder, rng):
    splits = {
        "train": random_split(rng, (96, 96, 3), [1] * 10),
        "test": random_split(rng, (96, 96, 3), [2] * 10),
        "unlabeled": random_split(rng, (96, 96, 3), [3]),
    }
    names = "".join(f"name{label}\n" for label in range(10))
    contents = {"class_names.txt": names.encode()}
    for name, (x, y) in splits.items():
        # Colour planes one after the other, each column by column.
        contents[f"{name}_X.bin"] = x.transpose(0, 3, 2, 1).tobytes()
        if name != "unlabeled":
            contents[f"{name}_y.bin"] = bytes((y + 1).tolist())
    write_tar(
        folder / "stl10_binary.tar.gz",
        {f"stl10_binary/{k}": v for k, v in contents.items()},
    )
    return splits["train"], splits["test"]


def encode(image):
    """Returns a JPEG file, and the pixels that its decoder gives."""
    file = io.BytesIO()
    PIL.Image.fromarray(image).save(file, "JPEG", quality=60)
    decoded = np.asarray(PIL.Image.open(file).convert("RGB"))
    return file.getvalue(), decoded


def write_imagenet(folder, rng, labels_file):
    """Also writes the labels of the validation images, to `labels_file`.

    The shorter side of the images is 256, so that nothing is resized: the
    pixels must be those of the centre.
    """
    sizes = [(256, 304), (288, 256), (256, 256)]
    splits, files = {}, {}
    for split, counts in {"train": [3, 5, 4, 3, 3], "val": [2] * 5}.items():
        labels = np.repeat(np.arange(5, dtype=np.int32), counts)
        labels = rng.permutation(labels)
        pixels, files[split] = [], []
        for number in range(len(labels)):
            height, width = sizes[number % 3]
            tiles = rng.integers(0, 256, (height // 8, width // 8, 3), np.uint8)
            file, image = encode(tiles.repeat(8, 0).repeat(8, 1))
            top, left = (height - 224) // 2, (width - 224) // 2
            files[split].append(file)
            pixels.append(image[top : top + 224, left : left + 224])
        splits[split] = np.stack(pixels), labels
    train = {}
    for label, synset in enumerate(SYNSETS):
        inner = io.BytesIO()
        images = {
            f"{synset}_{index}.JPEG": files["train"][index]
            for index in np.flatnonzero(splits["train"][1] == label)
        }
        write_tar(inner, images, "w")
        train[f"{synset}.tar"] = inner.getvalue()
    write_tar(folder / "ILSVRC2012_img_train.tar", train, "w")
    val = {
        f"ILSVRC2012_val_{number + 1:08}.JPEG": file
        for number, file in enumerate(files["val"])
    }
    write_tar(folder / "ILSVRC2012_img_val.tar", val, "w")
    labels_file.write_text(
        "".join(f"{SYNSETS[label]}\n" for label in splits["val"][1])
    )
    return splits["train"], splits["val"]
