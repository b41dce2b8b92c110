import sys


def program() -> list[str]:
    """The words that run this program: `python -m recipes.digits`, say."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    if spec is None:
        return ["python", sys.argv[0]]
    return ["python", "-m", spec.name.removesuffix(".__main__")]
