"""Studies: one claim of a paper each, on real images."""
