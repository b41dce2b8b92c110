from typing import Literal

# What becomes of the images of a pass that fill no batch.
Remainder = Literal["drop", "keep", "spread"]
