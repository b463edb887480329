"""Real data sets for label sets, label distributions and images, and a generator with a known answer."""

from skrelmetric.datasets._bundled import load_emotions, load_yeast
from skrelmetric.datasets._generated import make_label_distributions
from skrelmetric.datasets._ldl import LDL_NAMES, fetch_ldl
from skrelmetric.datasets._mulan import MULAN_NAMES, fetch_mulan
from skrelmetric.datasets._omniglot import fetch_omniglot

__all__ = [
    "LDL_NAMES",
    "MULAN_NAMES",
    "fetch_ldl",
    "fetch_mulan",
    "fetch_omniglot",
    "load_emotions",
    "load_yeast",
    "make_label_distributions",
]
