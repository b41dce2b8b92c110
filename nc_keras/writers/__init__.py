"""Files that a training writes: whole, or not at all."""
