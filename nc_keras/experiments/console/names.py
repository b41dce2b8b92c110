import difflib
from collections.abc import Iterable


def nearest(what: str, name: str, known: Iterable[str]) -> str:
    """The message of an error: an unknown name, and the nearest known one.

    Args:
        what: What the name is of.
        name: The name that was received.
        known: The names that there are.
    """
    known = list(known)
    close = difflib.get_close_matches(str(name), known, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return (
        f"{what} must be one of {', '.join(known)}.{hint} "
        f"Received: {str(name)!r}."
    )
