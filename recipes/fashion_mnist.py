"""The papers' protocol on Fashion-MNIST: 6,000 images per class, ResNet-18.

    python tools/prepare_dataset.py fashion_mnist
    python -m recipes.fashion_mnist

    Loss            cross-entropy, rate 0.0679 (MNIST's); --losses mse: 0.0940
    Optimizer       SGD, momentum 0.9, coupled weight decay 5e-4, batch 128
    Schedule        350 epochs, rate divided by ten after 116 and 233
    Images          28x28 padded to 32x32, standardised, not augmented
    Terminal phase  from 99.9 % training accuracy on

Hardware and time: one GPU, some hours a head; on two CPU cores it is days.
There, `python -m recipes.fashion_mnist_mlp` shows the same with a small
network on all images, and `--widths 8 --per-class 200 --fraction 0.1` scales
this one down. Expect: transcribed by others are the rates and depths for the
MSE; that Papyan et al. took the depth 18 here too is not confirmed. We have no
full run of our own to quote.
"""

from nc_keras.experiments.command.cli import main
from nc_keras.experiments.options.protocol import Protocol
from nc_keras.experiments.options.protocol import transcribed
from nc_keras.experiments.options.settings import Settings

PROTOCOL = Protocol(
    dataset="fashion_mnist",
    network="resnet18",
    networks={
        "vgg11": transcribed(mse=0.018420157),
        "resnet18": transcribed(mse=0.094015077),
        "densenet250": transcribed(mse=0.009596916),
    },
)
SETTINGS = Settings.of(PROTOCOL)

if __name__ == "__main__":
    main(SETTINGS, __doc__)
