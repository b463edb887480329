"""Losses for embeddings, as specifications that build torch modules for any number of groups at once.

A group is what one branch of an ensemble trains on; a loss gives the sum over groups of the loss of each group alone.
"""

from skrelmetric.losses._core import Batch, LossSpec
from skrelmetric.losses._pairs import Circle, Contrastive, MultiSimilarity, NPair
from skrelmetric.losses._proxies import ArcFace, CosFace, NormalizedSoftmax, ProxyAnchor, ProxyNCA, SoftTriple
from skrelmetric.losses._triplets import Margin, Triplet

__all__ = [
    "LOSSES",
    "ArcFace",
    "Batch",
    "Circle",
    "Contrastive",
    "CosFace",
    "LossSpec",
    "Margin",
    "MultiSimilarity",
    "NPair",
    "NormalizedSoftmax",
    "ProxyAnchor",
    "ProxyNCA",
    "SoftTriple",
    "Triplet",
]

LOSSES: dict[str, LossSpec] = {
    "proxy_anchor": ProxyAnchor(),
    "triplet": Triplet(),
    "triplet_all": Triplet(mining="all"),
    "triplet_random": Triplet(mining="random"),
    "margin": Margin(),
    "cosface": CosFace(),
    "contrastive": Contrastive(),
    "multi_similarity": MultiSimilarity(),
    "circle": Circle(),
    "n_pair": NPair(),
    "normalized_softmax": NormalizedSoftmax(),
    "arcface": ArcFace(),
    "proxy_nca": ProxyNCA(),
    "soft_triple": SoftTriple(),
}
