def plain(text: object) -> str:
    """Returns text of a stranger's file, fit for a terminal or a page.

    What is not printable, such as the escapes that move a cursor or set the
    title of a window, is written out.

    Example:

    >>> from nc_keras.experiments.console.plain import plain
    >>> print(plain("a\\x1b[2Jb"))
    a\\x1b[2Jb
    """
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode()
        for one in str(text)
    )
