"""Retrieval of images of classes that were never seen: raw pixels, plain losses, and DRML over each of them.

Every method has the same trunk from the same weights, as many steps, and the same optimiser, which was chosen for the
plain losses on training classes held out.
"""

from collections.abc import Callable

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.cluster import KMeans
from sklearn.metrics import normalized_mutual_info_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, Normalizer
from torch import nn

from skrelmetric import DRMLTransformer
from skrelmetric.metrics import pair_f1, retrieval_report

LOSSES = {"TSH": "triplet", "MDW": "margin", "ProxyAnchor": "proxy_anchor", "CosFace": "cosface"}
"""Losses of the DRML paper by its names: triplets with semi-hard mining, margin with distance-weighted sampling."""

_BUDGET = {
    "init": "random",
    "batch_size": 80,
    "samples_per_class": 4,
    "learning_rate": 3e-3,
    "weight_decay": 0.05,
    "early_stopping": False,
    "max_epochs": 16,
    "n_iter_no_change": 1000,
}

_SHARED = ("init", "batch_size", "learning_rate", "trunk_learning_rate", "loss_learning_rate")

PAPER = {name: value for name, value in DRMLTransformer.PUBLISHED.items() if name not in _SHARED}
"""DRML as the paper states it, but for start and steps, which are those of all methods."""

CODE = {name: value for name, value in DRMLTransformer.RELEASED.items() if name not in _SHARED}
"""DRML as its authors' code has it, but for start and steps."""

ABLATIONS: dict[str, dict[str, object]] = {
    "without J_ensem": {"ensemble_weight": 0.0},
    "without J_recon": {"reconstruction_weight": 0.0},
    "without J_emb": {"embedding_weight": 0.0},
    **{f"K = {k}": {"n_branches": k} for k in (1, 2, 8)},
    "J_ensem averaged": {"ensemble_weight": 0.25},
    "balanced": {"assignment": "balanced"},
    "all samples": {"assignment": "all"},
    "softmax": {"score_activation": "softmax"},
    "free nodes": {"normalize_nodes": False},
    "blocked": {"stop_gradient": True},
    "embedding": {"output": "embedding"},
}
"""Changes to DRML with its defaults: each loss left out (DRML, Table 3), the number of branches (Table 1), and more."""


def conv_trunk(seed: int, widths: tuple[int, ...] = (16, 32, 64, 128)) -> nn.Sequential:
    """Blocks of convolution, batch normalisation, ReLU and pooling: (n, 1, 28, 28) to (n, 128).

    Every block halves height and width, rounding down: 28, 14, 7, 3, 1. With fewer than four blocks the output is
    wider: (n, widths[-1] * side ** 2), where side is the last height. Weights come from the seed and leave the global
    generator as it was.
    """
    layers: list[nn.Module] = []
    with torch.random.fork_rng([]):  # of the CPU
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed every device
        for n_inputs, n_outputs in zip((1, *widths), widths, strict=False):
            layers += [
                nn.Conv2d(n_inputs, n_outputs, kernel_size=3, padding=1, bias=False),
                nn.BatchNorm2d(n_outputs),
                nn.ReLU(),
                nn.MaxPool2d(2),
            ]
    # Twice as fast on a CPU; torch's types leave the argument out.
    return nn.Sequential(*layers, nn.Flatten()).to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def flat(images: np.ndarray) -> np.ndarray:
    """Pixels of each image in a row."""
    return images.reshape(len(images), -1)


def _trained(loss: str, **options: object) -> Callable[[int], BaseEstimator]:
    def method(seed: int) -> BaseEstimator:
        return DRMLTransformer(128, trunk=conv_trunk(seed), loss=loss, random_state=seed, **{**_BUDGET, **options})

    return method


METHODS: dict[str, Callable[[int], BaseEstimator]] = {
    "Raw pixels": lambda seed: make_pipeline(FunctionTransformer(flat), Normalizer())
}
ON_REQUEST: dict[str, Callable[[int], BaseEstimator]] = {}
for _name, _loss in LOSSES.items():
    METHODS[_name] = _trained(_loss, relational=False)
    METHODS[f"DRML-{_name}"] = _trained(_loss)
    METHODS[f"DRML-{_name}, paper"] = _trained(_loss, **PAPER)
    METHODS[f"DRML-{_name}, code"] = _trained(_loss, **CODE)
    for _change, _options in ABLATIONS.items():
        ON_REQUEST[f"DRML-{_name}, {_change}"] = _trained(_loss, **_options)
    ON_REQUEST[f"{_name}, 48 epochs"] = _trained(_loss, relational=False, max_epochs=48)
    ON_REQUEST[f"DRML-{_name}, 48 epochs"] = _trained(_loss, max_epochs=48)
    ON_REQUEST[f"DRML-{_name}, paper, 48 epochs"] = _trained(_loss, **PAPER, max_epochs=48)


def scores(estimator: BaseEstimator, X: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """Criteria of the embedded samples among themselves, of one embedding, one ranking and one clustering."""
    return scores_of(estimator.transform(X), y)


def scores_of(Z: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """Criteria of retrieval and clustering of embedded samples."""
    clusters = KMeans(len(np.unique(y)), n_init=3, random_state=0).fit_predict(Z)
    return {**retrieval_report(Z, y), "nmi": normalized_mutual_info_score(y, clusters), "f1": pair_f1(y, clusters)}
