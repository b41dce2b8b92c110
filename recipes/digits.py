"""Neural collapse on scikit-learn's 1,797 handwritten digits.

    python -m recipes.digits

Trains a three-block ConvNet with a learned head and with a fixed simplex-ETF
head, on 1,347 images of 8x8 pixels, far past the epoch at which it makes no
more training errors. Nothing is downloaded.

Hardware and time: two CPU cores, about a minute. What to expect is in
docs/results.md.
"""

from nc_keras.experiments.command.cli import main
from nc_keras.experiments.options.settings import Settings

SETTINGS = Settings(
    dataset="digits",
    network="conv_net",
    widths=(32, 64, 128),
    epochs=200,
    batch_size=64,
    rates={"ce": 0.01, "mse": 0.03, "rescaled_square": 0.001},
    weight_decay=4e-2,
)

if __name__ == "__main__":
    main(SETTINGS, __doc__)
