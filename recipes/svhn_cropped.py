"""The papers' protocol on SVHN: 4,600 images per class, ResNet-18.

    python tools/prepare_dataset.py svhn_cropped --archives DIR
    python -m recipes.svhn_cropped

    Loss            cross-entropy, rate 0.0679 (MNIST's); --losses mse: 0.0184,
                    and 0.0096 for resnet34
    Optimizer       SGD, momentum 0.9, coupled weight decay 5e-4, batch 128
    Schedule        350 epochs, rate divided by ten after 116 and 233
    Images          32x32, standardised, not augmented
    Terminal phase  from 99.9 % training accuracy on

Hardware and time: one GPU, some hours a head; on two CPU cores it is days.
Expect: transcribed by others are the rates for the MSE; that Papyan et al.
took the depth 18 is not confirmed. We have no run of our own to quote.
"""

from nc_keras.experiments.command.cli import main
from nc_keras.experiments.options.protocol import Network
from nc_keras.experiments.options.protocol import Protocol
from nc_keras.experiments.options.protocol import transcribed
from nc_keras.experiments.options.settings import Settings

PROTOCOL = Protocol(
    dataset="svhn_cropped",
    network="resnet18",
    per_class=4600,
    networks={
        "vgg11": Network(),
        "vgg13": transcribed(mse=0.018420157),
        "resnet18": Network(),
        "resnet34": transcribed(mse=0.009596916),
        "densenet40": transcribed(mse=0.013295740),
    },
)
SETTINGS = Settings.of(PROTOCOL)

if __name__ == "__main__":
    main(SETTINGS, __doc__)
