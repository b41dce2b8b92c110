"""The papers' protocol on CIFAR-100: 500 images per class, ResNet-50.

    python tools/prepare_dataset.py cifar100 --archives DIR
    python -m recipes.cifar100

    Loss            cross-entropy, rate 0.1805
    Optimizer       SGD, momentum 0.9, coupled weight decay 5e-4, batch 128
    Schedule        350 epochs, rate divided by ten after 116 and 233
    Images          32x32, standardised, not augmented
    Terminal phase  from 99.9 % training accuracy on

The MSE paper leaves CIFAR-100 out: more than ten classes need a scaled loss,
for which there is `--losses rescaled_square`.

Hardware and time: one GPU, most of a day a head; not for a CPU. Expect: others
transcribe DenseNet's test accuracies, 77.19 % at zero error and 76.56 % at the
end; a reproduction of ResNet-50, not the paper, ends at NC1 near 0.35 (train)
and NC4 near 0.07 (test), read off its plot. We have no run of our own to quote.
"""

from nc_keras.experiments.command.cli import main
from nc_keras.experiments.options.protocol import NOTES
from nc_keras.experiments.options.protocol import REPRODUCTION
from nc_keras.experiments.options.protocol import Fact
from nc_keras.experiments.options.protocol import Network
from nc_keras.experiments.options.protocol import Protocol
from nc_keras.experiments.options.protocol import Published
from nc_keras.experiments.options.protocol import Status
from nc_keras.experiments.options.settings import Settings

PROTOCOL = Protocol(
    dataset="cifar100",
    network="resnet50",
    networks={
        "vgg13": Network(),
        "resnet50": Network(
            Status.TRANSCRIBED,
            {"ce": Fact(0.18045095, Status.TRANSCRIBED, REPRODUCTION)},
            REPRODUCTION,
        ),
        "densenet250": Network(),
    },
    published=(
        Published(
            "CE, DenseNet: test accuracy at zero error → at the end",
            "77.19 % → 76.56 %",
            f"Table 1 of Papyan et al. 2020, by {NOTES}",
        ),
        Published(
            "CE, ResNet-50, epoch 350, a reproduction: NC1 (train), NC4 (test)",
            "about 0.35 and 0.07",
            "read off a plot of github.com/malashinroman/neuronal_collapse, a "
            "reproduction with the ImageNet stem",
        ),
    ),
)
SETTINGS = Settings.of(PROTOCOL)

if __name__ == "__main__":
    main(SETTINGS, __doc__)
