"""The papers' protocol on ImageNet: 600 images per class, ResNet-152.

    python tools/prepare_dataset.py imagenet2012 --archives DIR
    python -m recipes.imagenet2012

    Loss            cross-entropy, rate 0.0679 (MNIST's)
    Optimizer       SGD, momentum 0.9, coupled weight decay 1e-4, batch 256
    Schedule        300 epochs, rate divided by ten after 150 and 225
    Images          224x224, standardised, not augmented, read while training
    Terminal phase  from 99.6 % training accuracy on

Batch, drops and depth are not confirmed by a source that we could read, and
resizing is our choice: the shorter side to 256, the centre of 224x224.

Hardware and time: several GPUs and weeks. Expect: others transcribe the test
accuracies at zero error and at the end, ResNet 65.41 % and 64.45 %, DenseNet
65.04 % and 62.38 %. We have no run of our own to quote.
"""

from nc_keras.experiments.command.cli import main
from nc_keras.experiments.options.protocol import NOTES
from nc_keras.experiments.options.protocol import Network
from nc_keras.experiments.options.protocol import Protocol
from nc_keras.experiments.options.protocol import Published
from nc_keras.experiments.options.settings import Settings

PROTOCOL = Protocol(
    dataset="imagenet2012",
    network="resnet152",
    per_class=600,
    epochs=300,
    drops=(1 / 2, 3 / 4),
    batch_size=256,
    weight_decay=1e-4,
    threshold=0.996,
    networks={
        "vgg19": Network(),
        "resnet152": Network(),
        "densenet201": Network(),
    },
    published=tuple(
        Published(
            f"CE, {network}: test accuracy at zero error → at the end",
            value,
            f"Table 1 of Papyan et al. 2020, by {NOTES}",
        )
        for network, value in (
            ("ResNet", "65.41 % → 64.45 %"),
            ("DenseNet", "65.04 % → 62.38 %"),
        )
    ),
)
SETTINGS = Settings.of(PROTOCOL)

if __name__ == "__main__":
    main(SETTINGS, __doc__)
