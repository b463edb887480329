"""Losses for embeddings, as specifications that build torch modules for any number of groups at once.

A group is what one branch of an ensemble trains on; a loss gives the sum over groups of the loss of each group alone.
"""

from skrelmetric.losses._contrastive import SupervisedContrastive
from skrelmetric.losses._core import Batch, LossSpec
from skrelmetric.losses._pairs import Circle, Contrastive, MultiSimilarity, NPair
from skrelmetric.losses._proxies import ArcFace, CosFace, NormalizedSoftmax, ProxyAnchor, ProxyNCA, SoftTriple
from skrelmetric.losses._ranking import RankedList, SmoothAP
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
    "RankedList",
    "SmoothAP",
    "SoftTriple",
    "SupervisedContrastive",
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
    "smooth_ap": SmoothAP(),
    "ranked_list": RankedList(),
    "supcon": SupervisedContrastive(),
    "normalized_softmax": NormalizedSoftmax(),
    "arcface": ArcFace(),
    "proxy_nca": ProxyNCA(),
    "proxy_nca_pp": ProxyNCA(scale=9.0),
    "soft_triple": SoftTriple(),
}
"""Losses by the names that ``loss=`` of :class:`skrelmetric.DRMLTransformer` takes."""
