"""Criteria of multi-label and label-distribution predictions, and of embeddings.

The criteria of embeddings, :func:`recall_at_k`, :func:`r_precision`, :func:`mean_average_precision_at_r`,
:func:`clustering_nmi` and :func:`clustering_f1`, take ``(X, y)``: embedded samples and their classes.

Every other criterion takes ``(y_true, y_pred)`` and returns a float, the mean over samples but for some averages of
:func:`f1`. :func:`precision_at_k` and :func:`propensity_scored_precision_at_k`, for which :func:`label_propensities`
makes the propensities, also take several k and return as many values. The ranking criteria differ between
implementations in two points only, which are parameters here:

`ties`
    The rank of labels with equal scores. ``"worst"``, the default and scikit-learn's choice: each takes the worst
    rank of its group. ``"best"``: each takes the best. ``"index"``: a later label ranks before an earlier one, as
    an ascending stable sort has it.
`degenerate`
    Samples that have no label at all, or every label, so that nothing can be ranked wrongly. ``"keep"``, the
    default and scikit-learn's choice: they count as perfect. ``"drop"``: they are left out of the mean. In
    :func:`coverage` only samples without any label are degenerate, and count as it says there. Precision at k has a
    value for every sample, and is 0 for one without any label.

:data:`LAMDA` holds the choices behind most published numbers, those of Zhang and Zhou's Matlab code:

.. code-block:: python

    ranking_loss(Y, scores, **LAMDA["ranking_loss"])
"""

from skrelmetric.metrics._distribution import (
    canberra_distance,
    chebyshev_distance,
    clark_distance,
    cosine_similarity,
    intersection_similarity,
    kl_divergence,
)
from skrelmetric.metrics._multilabel import (
    LAMDA,
    average_precision,
    coverage,
    f1,
    hamming_loss,
    one_error,
    ranking_loss,
)
from skrelmetric.metrics._precision import (
    label_propensities,
    precision_at_k,
    propensity_scored_precision_at_k,
)
from skrelmetric.metrics._retrieval import (
    clustering_f1,
    clustering_nmi,
    mean_average_precision_at_r,
    pair_f1,
    r_precision,
    recall_at_k,
    retrieval_report,
)

__all__ = [
    "LAMDA",
    "average_precision",
    "canberra_distance",
    "chebyshev_distance",
    "clark_distance",
    "clustering_f1",
    "clustering_nmi",
    "cosine_similarity",
    "coverage",
    "f1",
    "hamming_loss",
    "intersection_similarity",
    "kl_divergence",
    "label_propensities",
    "mean_average_precision_at_r",
    "one_error",
    "pair_f1",
    "precision_at_k",
    "propensity_scored_precision_at_k",
    "r_precision",
    "ranking_loss",
    "recall_at_k",
    "retrieval_report",
]
