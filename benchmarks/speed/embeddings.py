"""Hot paths of deep metric learning: a step of DRML, the losses, retrieval."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import nn

from benchmarks.compare.images import conv_trunk
from benchmarks.speed.timing import Measurement, added, measurement, medians
from skrelmetric import DRMLTransformer
from skrelmetric.losses import LOSSES, Batch
from skrelmetric.metrics import retrieval_report

_N_CLASSES, _WIDTH = 128, 128
_MARGIN = 0.2


def measure() -> Iterator[Measurement]:
    """Measurements of these paths, and beside peers where pytorch-metric-learning is installed."""
    trunks = {"convolutional trunk": (conv_trunk(0), (1, 28, 28)), "72 - 256 - 128 perceptron": (_table_trunk(), (72,))}
    for name, (trunk, shape) in trunks.items():
        for loss in ("proxy_anchor", "triplet"):
            for batch_size in (80, 512):
                yield relational_step(loss, batch_size, name, trunk, shape)
    try:
        import pytorch_metric_learning  # noqa: F401
    except ImportError:
        return
    for batch_size in (80, 512):
        yield from losses(batch_size)
    for n_classes in (10, 100, 2000):
        yield retrieval(n_classes)


def relational_step(
    loss: str, batch_size: int, name: str, trunk: nn.Module, shape: tuple[int, ...], n_batches: int = 4
) -> Measurement:
    """Step of DRML against one of its plain loss: same trunk, samples and batches."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((batch_size * n_batches, *shape)).astype(np.float32)
    y = rng.integers(0, _N_CLASSES, len(X))

    def fit(relational: bool, n_epochs: int) -> DRMLTransformer:
        model = DRMLTransformer(
            _WIDTH,
            trunk=trunk,
            loss=loss,
            relational=relational,
            batch_size=batch_size,
            early_stopping=False,
            max_epochs=n_epochs,
            n_iter_no_change=n_epochs,
            random_state=0,
        )
        return model.fit(X, y)

    # What more epochs add to a fit: reading and starting take their time in both.
    few = medians(lambda: fit(True, 1), lambda: fit(False, 1), repeats=1)
    many = medians(lambda: fit(True, 6), lambda: fit(False, 6), repeats=1)
    step, plain = (added(start, total, 5 * n_batches) for start, total in zip(few, many, strict=True))
    return measurement(f"DRML step, {loss}, batch of {batch_size}, {name}", step, "plain step", plain)


def losses(batch_size: int) -> Iterator[Measurement]:
    """Forward and backward pass of each loss that the DRML paper has, against pytorch-metric-learning's."""
    Z = torch.randn(batch_size, _WIDTH, generator=torch.Generator().manual_seed(0)).requires_grad_()
    codes = torch.arange(batch_size) % (batch_size // 4)  # four of each class, as such losses are trained
    batch, generator = Batch.of_classes(codes, _N_CLASSES), torch.Generator().manual_seed(1)
    for name, peer in _peers(_N_CLASSES).items():
        loss = LOSSES[name].build(_N_CLASSES, _WIDTH, 1, generator)
        seconds, floor = medians(
            lambda loss=loss: loss(Z, batch, generator).backward(),
            lambda peer=peer: peer(Z, codes).backward(),
            repeats=5,
        )
        yield measurement(f"{name} loss, batch of {batch_size} x {_WIDTH}", seconds, "pytorch-metric-learning", floor)


def _peers(n_classes: int) -> dict[str, Callable]:
    from pytorch_metric_learning import distances, losses, miners

    distance = distances.LpDistance(normalize_embeddings=True, p=2)
    triplet = losses.TripletMarginLoss(_MARGIN, distance=distance)
    semi_hard = miners.TripletMarginMiner(_MARGIN, "semihard", distance=distance)
    margin = losses.MarginLoss(_MARGIN, 0, 1.2, learn_beta=True, num_classes=n_classes, distance=distance)
    weighted = miners.DistanceWeightedMiner(0.5, 1.4, distance=distance)
    return {
        "triplet": lambda Z, codes: triplet(Z, codes, semi_hard(Z, codes)),
        "margin": lambda Z, codes: margin(Z, codes, weighted(Z, codes)),
        "proxy_anchor": losses.ProxyAnchorLoss(n_classes, _WIDTH, margin=0.1, alpha=32),
        "cosface": losses.CosFaceLoss(n_classes, _WIDTH, margin=0.35, scale=64),
    }


def retrieval(n_classes: int, n_samples: int = 10_000, width: int = 512) -> Measurement:
    """Every criterion of retrieval against pytorch-metric-learning's AccuracyCalculator."""
    from pytorch_metric_learning.distances import LpDistance
    from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
    from pytorch_metric_learning.utils.inference import CustomKNN

    rng = np.random.default_rng(0)
    y = np.arange(n_samples) % n_classes
    Z = rng.standard_normal((n_samples, width)) + 0.4 * rng.standard_normal((n_classes, width))[y]
    Z, codes = torch.from_numpy(Z.astype(np.float32)), torch.from_numpy(y)
    calculator = AccuracyCalculator(
        include=("precision_at_1", "r_precision", "mean_average_precision_at_r"),
        k="max_bin_count",
        knn_func=CustomKNN(LpDistance(normalize_embeddings=False)),
        device=torch.device("cpu"),
    )
    seconds, floor = medians(lambda: retrieval_report(Z, y), lambda: calculator.get_accuracy(Z, codes), repeats=1)
    path = f"retrieval_report ({n_samples:,} x {width}, {n_classes} classes)"
    return measurement(path, seconds, "AccuracyCalculator, without R@2, 4 and 8", floor)


def _table_trunk() -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    layers = nn.Sequential(nn.Linear(72, 256), nn.ReLU(), nn.Linear(256, _WIDTH), nn.ReLU())
    with torch.no_grad():
        for parameter in layers.parameters():
            parameter.normal_(0, 0.1, generator=generator)
    return layers
