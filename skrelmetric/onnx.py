"""ONNX: pipelines with estimators of this package as one file, by converters for skl2onnx."""

from skrelmetric._onnx.estimators import OF_MEMBERS, OF_SAMPLES
from skrelmetric._onnx.registration import register

__all__ = ["register_converters"]


def register_converters() -> None:
    """Make ``skl2onnx.to_onnx`` take estimators of this package, alone and as steps of pipelines.

    These are all of them: metrics, neighbours, relational estimators, and votes and thresholds of whatever skl2onnx
    converts. Of searches it takes ``GridSearchCV``; of others pass `best_estimator_`.

    Raises
    ------
    ImportError
        If skl2onnx is not installed.

    Notes
    -----
    *Input and output.* Samples are rows of features, float32 or float64; outputs have their dtype. Shown a data frame,
    skl2onnx makes an input of each column, float64 where one of them is: show it an array instead. Classifiers have two
    outputs, "label" and "probabilities": as `predict` and `predict_proba` have them, and never as a list of
    dictionaries, whatever the option ``zipmap`` says. Transformers and regressors have one, "variable"; a target of
    one dimension comes as a column.

    *Precision.* Neighbours are searched in float64, and equal distances decided as the estimator decides them;
    relational estimators compute in float64, but for the kernel of 2,000 training samples or more, which is float32.
    Steps before neighbours compute in the dtype of the samples, so that with float32 samples as near as its rounding
    may change places. What the estimator refuses, such as NaN, is not looked for.

    *Size.* The file has the training samples, in float64: for each search of neighbours, of which a relational
    estimator has two or three. All queries of a call meet all of them at once, in up to 50 bytes for each pair: ask for
    many queries in several calls.

    *What is refused.* Neighbours need a Euclidean metric, dense targets, and a fit to numpy arrays or sparse matrices
    on the CPU, and relational estimators ``forest=False``. Votes and thresholds are converted alone, in pipelines, in
    ``GridSearchCV`` and in one another, and not as members of other estimators. Operators are those of opset 13 or
    later, and of modules of torch, one of which is in each relational estimator, 18 or later.

    Examples
    --------
    >>> from skl2onnx import to_onnx
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skrelmetric import MLkNN, RAMLLinear
    >>> from skrelmetric.datasets import load_emotions
    >>> from skrelmetric.onnx import register_converters
    >>> X, Y = load_emotions(return_X_y=True)
    >>> model = make_pipeline(StandardScaler(), RAMLLinear(), MLkNN()).fit(X, Y)
    >>> register_converters()
    >>> [output.name for output in to_onnx(model, X[:1]).graph.output]
    ['label', 'probabilities']
    """
    for kind, convert in OF_SAMPLES.items():
        register(kind, convert, of_members=False)
    for kind, convert in OF_MEMBERS.items():
        register(kind, convert, of_members=True)
