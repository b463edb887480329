"""Convolutional trunks under the methods that are compared on images."""

import torch
from torch import nn

from skrelmetric._training.encode import drawing


def conv_trunk(seed: int, widths: tuple[int, ...] = (16, 32, 64, 128)) -> nn.Sequential:
    """Blocks of convolution, batch normalisation, ReLU and pooling: (n, 1, 28, 28) to (n, 128).

    Every block halves height and width, rounding down: 28, 14, 7, 3, 1. With fewer than four blocks the output is
    wider: (n, widths[-1] * side ** 2), where side is the last height. Weights come from the seed and leave the global
    generator as it was.
    """
    layers: list[nn.Module] = []
    with drawing(seed, torch.device("cpu")):
        for n_inputs, n_outputs in zip((1, *widths), widths, strict=False):
            layers += [
                nn.Conv2d(n_inputs, n_outputs, kernel_size=3, padding=1, bias=False),
                nn.BatchNorm2d(n_outputs),
                nn.ReLU(),
                nn.MaxPool2d(2),
            ]
    # Twice as fast on a CPU; torch's types leave the argument out.
    return nn.Sequential(*layers, nn.Flatten()).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
