"""Relations between targets, as symmetric linear operators over samples.

A relation g(y_i, y_j) says how far apart two *targets* are: label sets, label distributions, numbers or
classes. Over n samples it is an n x n matrix G, and everything that alignment needs of G is a product
``G @ V`` with a few columns V. The classes here compute that product, exactly, and never form G: in time linear in n
where the relation factors or sorts, and by blocks of *distinct* targets where it does neither.

A missing label (NaN) is left out of every pair that it is part of: two samples are compared on the labels that both
have.
"""

from skrelmetric.relations._given import GivenPairs
from skrelmetric.relations._named import Jeffreys, make_relation, relation_name
from skrelmetric.relations._operators import ClassDifference, Factored, Pairwise, Relation
from skrelmetric.relations._partitioned import RelationInParts
from skrelmetric.relations._reals import AbsoluteDifference

__all__ = [
    "AbsoluteDifference",
    "ClassDifference",
    "Factored",
    "GivenPairs",
    "Jeffreys",
    "Pairwise",
    "Relation",
    "RelationInParts",
    "make_relation",
    "relation_name",
]
