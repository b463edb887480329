"""Real data sets for label sets, label distributions, classes and images, and a generator with a known answer."""

from skrelmetric.datasets._bundled import load_emotions, load_yeast
from skrelmetric.datasets._generated import make_label_distributions
from skrelmetric.datasets._imdb import fetch_imdb
from skrelmetric.datasets._ldl import LDL_NAMES, fetch_ldl
from skrelmetric.datasets._mulan import MULAN_NAMES, fetch_mulan
from skrelmetric.datasets._omniglot import fetch_omniglot
from skrelmetric.datasets._usps import fetch_usps

__all__ = [
    "LDL_NAMES",
    "MULAN_NAMES",
    "fetch_imdb",
    "fetch_ldl",
    "fetch_mulan",
    "fetch_omniglot",
    "fetch_usps",
    "load_emotions",
    "load_yeast",
    "make_label_distributions",
]
