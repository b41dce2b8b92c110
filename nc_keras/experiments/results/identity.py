"""What runs of one folder must agree in."""

import json
import pathlib
from collections.abc import Collection
from collections.abc import Mapping
from typing import Any


def require_same(
    where: pathlib.Path,
    theirs: Mapping[str, Any],
    mine: Mapping[str, Any],
    free: Collection[str] = (),
) -> None:
    """Sees that what was trained and what is to be are the same.

    Args:
        where: The folder or file that would have both.
        theirs: What it has, as it was read.
        mine: What it is to have.
        free: Names that may differ. A name that one of them has not may, too:
            the version that wrote it did not know it, or it is another head.

    Raises:
        ValueError: If they are not; the message says what differs.
    """
    mine = json.loads(json.dumps(mine, default=str))
    different = [
        f"{name} is {theirs[name]} there and {mine[name]} here"
        for name in sorted(mine.keys() & theirs.keys())
        if name not in free and mine[name] != theirs[name]
    ]
    if different:
        raise ValueError(
            f"{where} is of other settings, which would be mixed: "
            f"{', '.join(different)}. Choose another folder with --output, or "
            "delete that one."
        )
