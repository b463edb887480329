"""Metric learning of others, written from their papers, since no library has it for current scikit-learn.

All learn a Mahalanobis distance from one class a sample, and expect standardised features.
"""

from benchmarks.rivals.dml_eig import DMLEig
from benchmarks.rivals.doublet_svm import DoubletSVM
from benchmarks.rivals.gmml import GMML
from benchmarks.rivals.itml import ITML
from benchmarks.rivals.lmnn import LMNN

__all__ = ["GMML", "ITML", "LMNN", "DMLEig", "DoubletSVM"]
