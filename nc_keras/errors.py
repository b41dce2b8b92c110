from __future__ import annotations


class NonFiniteError(ValueError):
    """Features or weights hold a NaN or an infinity: nothing to measure."""
