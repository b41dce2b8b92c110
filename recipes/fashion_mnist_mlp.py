"""Neural collapse on all 60,000 images of Fashion-MNIST, on two CPU cores.

    python tools/prepare_dataset.py fashion_mnist
    python -m recipes.fashion_mnist_mlp

Trains a 3x512 MLP with a learned head and with a fixed simplex-ETF head to
99.9 % training accuracy and on.

Hardware and time: two CPU cores, about 3 s per epoch on JAX and 4.5 s on
TensorFlow, 240 epochs in all. What to expect is in docs/results.md.
"""

from nc_keras.experiments.command.cli import main
from nc_keras.experiments.options.settings import Settings
from recipes.fashion_mnist import PROTOCOL

SETTINGS = Settings(
    dataset="fashion_mnist",
    protocol=PROTOCOL,
    network="mlp",
    widths=(512, 512, 512),
    epochs=120,
    batch_size=256,
    rates={"ce": 0.1, "mse": 0.2, "rescaled_square": 0.01},
    weight_decay=1e-3,
)

if __name__ == "__main__":
    main(SETTINGS, __doc__)
