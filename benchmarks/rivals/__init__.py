"""Methods of others: metrics and predictors written from their papers, and predictors of others' packages.

The metrics are here by name: no library has them for current scikit-learn. All learn a Mahalanobis distance from one
class a sample, and expect standardised features. Predictors have a module each; packages are imported when they fit.
"""

from benchmarks.rivals.dml_eig import DMLEig
from benchmarks.rivals.doublet_svm import DoubletSVM
from benchmarks.rivals.gmml import GMML
from benchmarks.rivals.itml import ITML
from benchmarks.rivals.lmnn import LMNN

__all__ = ["GMML", "ITML", "LMNN", "DMLEig", "DoubletSVM"]
