"""Train heads beside each other, compare them, and look at what came of it.

What the recipes are made of. `import nc_keras` does not import it.
"""

from nc_keras.experiments.command.cli import main
from nc_keras.experiments.options.settings import Settings

__all__ = ["Settings", "main"]
