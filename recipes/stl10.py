"""The papers' protocol on STL-10: 500 images per class of 96x96, ResNet-50.

    python tools/prepare_dataset.py stl10 --archives DIR
    python -m recipes.stl10

    Loss            cross-entropy, rate 0.0679 (MNIST's); --losses mse: 0.0184,
                    and 0.0679 for resnet18
    Optimizer       SGD, momentum 0.9, coupled weight decay 5e-4, batch 128
    Schedule        350 epochs, rate divided by ten after 116 and 233
    Images          96x96, standardised, not augmented
    Terminal phase  from 99.9 % training accuracy on

Hardware and time: one GPU, some hours a head; not for a CPU. Expect:
transcribed by others are the rates for the MSE; that Papyan et al. took the
depth 50 is not confirmed, nor which stem. Han et al. call its ResNet and
DenseNet runs slow outliers. We have no run of our own to quote.
"""

from nc_keras.experiments.command.cli import main
from nc_keras.experiments.options.protocol import Network
from nc_keras.experiments.options.protocol import Protocol
from nc_keras.experiments.options.protocol import transcribed
from nc_keras.experiments.options.settings import Settings

PROTOCOL = Protocol(
    dataset="stl10",
    network="resnet50",
    networks={
        "vgg11": transcribed(mse=0.018420157),
        "vgg13": Network(),
        "resnet18": transcribed(mse=0.06786044),
        "resnet50": Network(),
        "densenet201": transcribed(mse=0.001880302),
        "densenet250": Network(),
    },
)
SETTINGS = Settings.of(PROTOCOL)

if __name__ == "__main__":
    main(SETTINGS, __doc__)
