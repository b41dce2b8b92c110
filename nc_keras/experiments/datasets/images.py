"""From a JPEG file to the pixels that a network sees."""

import io

import numpy as np

# Our choice, the usual one for evaluation; Papyan, Han and Donoho (2020) do
# not augment. The shorter side becomes 256 pixels, the centre 224 are kept.
SHORTER_SIDE = 256
CROP = 224

# Of torchvision's documentation, for its pretrained models; there of 0 to 1.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


def decode(content: bytes) -> np.ndarray:
    """Decodes a JPEG file, resizes it, and crops its centre.

    Args:
        content: The bytes of the file; grey images become coloured ones.

    Returns:
        The pixels, `[224, 224, 3]`, uint8.
    """
    from PIL import Image

    with Image.open(io.BytesIO(content)) as image:
        width, height = image.size
        # In one step: resize only the square that the crop will keep.
        side = min(width, height) * CROP / SHORTER_SIDE
        left, top = (width - side) / 2, (height - side) / 2
        resized = image.convert("RGB").resize(
            (CROP, CROP),
            Image.Resampling.BILINEAR,
            box=(left, top, left + side, top + side),
        )
    return np.asarray(resized)
