"""Real data sets for label sets, distributions, numbers, classes and images, and a generator with a known answer."""

from skrelmetric.datasets._bundled import load_emotions, load_yeast
from skrelmetric.datasets._dcsn import DCSN_NAMES, fetch_dcsn
from skrelmetric.datasets._eml import EML_NAMES, fetch_eml
from skrelmetric.datasets._flowers102 import fetch_flowers102
from skrelmetric.datasets._generated import make_label_distributions
from skrelmetric.datasets._imdb import fetch_imdb
from skrelmetric.datasets._ldl import LDL_NAMES, fetch_ldl
from skrelmetric.datasets._mulan import MULAN_NAMES, fetch_mulan
from skrelmetric.datasets._multi_target import MULTI_TARGET_NAMES, fetch_multi_target
from skrelmetric.datasets._omniglot import fetch_omniglot
from skrelmetric.datasets._usps import fetch_usps

__all__ = [
    "DCSN_NAMES",
    "EML_NAMES",
    "LDL_NAMES",
    "MULAN_NAMES",
    "MULTI_TARGET_NAMES",
    "fetch_dcsn",
    "fetch_eml",
    "fetch_flowers102",
    "fetch_imdb",
    "fetch_ldl",
    "fetch_mulan",
    "fetch_multi_target",
    "fetch_omniglot",
    "fetch_usps",
    "load_emotions",
    "load_yeast",
    "make_label_distributions",
]
