"""Convolutional trunks under the methods that are compared on images."""

import torch
from torch import nn

from skrelmetric.objectives import drawing


def conv_trunk(seed: int, width: int = 64, n_blocks: int = 4) -> nn.Sequential:
    """Blocks of convolution, batch normalisation, ReLU and pooling: (n, 1, 28, 28) to (n, width).

    Every block halves height and width, rounding down: 28, 14, 7, 3, 1. With fewer than four blocks the output is
    wider: (n, width * side ** 2), where side is the last height. Weights come from the seed and leave the global
    generator as it was.
    """
    layers: list[nn.Module] = []
    with drawing(seed, torch.device("cpu")):
        for block in range(n_blocks):
            layers += [
                nn.Conv2d(width if block else 1, width, kernel_size=3, padding=1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(),
                nn.MaxPool2d(2),
            ]
    return nn.Sequential(*layers, nn.Flatten())
