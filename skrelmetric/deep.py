"""Deep aligned metric."""

from __future__ import annotations

from functools import partial
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn
from torch.optim import Optimizer

from skrelmetric._alignment.problem import targets_of_fit
from skrelmetric._data.loaded import loaded
from skrelmetric._data.read import Data, is_partitioned
from skrelmetric._hraml.heads import warn_of
from skrelmetric._hraml.model import Architecture, Model
from skrelmetric._hraml.objective import N_FOR_ORIGIN, Objective, Schedule
from skrelmetric._interop.dask import is_dask
from skrelmetric._interop.device_lock import exclusive
from skrelmetric._interop.given import is_data_set
from skrelmetric._interop.sklearn import HasMethods, Interval, StrOptions, fit_context, with_callbacks
from skrelmetric._interop.torch import like, resolve_device
from skrelmetric._training.callbacks import EpochCallbacks
from skrelmetric._training.checkpoint import History
from skrelmetric._training.encode import dtype_of
from skrelmetric._training.loop import OPTIMIZERS, check_loss, new_optimizer
from skrelmetric._training.shards import agreed, trained_parameters
from skrelmetric._training.subsets import Subsets, landmarks, related
from skrelmetric._training.transformer import ModuleTransformer, as_given
from skrelmetric.chunks import Chunks
from skrelmetric.distributed import Ranks, current_ranks
from skrelmetric.relations import Relation

__all__ = ["HRAMLTransformer"]

_MAX_EPOCHS = 200
_LEARNING_RATES = {"adam": 1e-3, "sgd": 1e-2, "lbfgs": 1.0}


class HRAMLTransformer(ModuleTransformer):
    """Deep relation-aligned metric, exact over all pairs of samples.

    Learns an embedding in which samples with similar targets are near: an encoder turns samples into nonlinear
    features, and a head into an embedding whose squared distances are aligned with a relation g(y_i, y_j) of the
    targets. By default the features are those of a Laplacian kernel and the head is the exact solution over all n^2
    pairs, without any gradient; encoders of any kind can be trained, under that head or under the paper's.

    Parameters
    ----------
    n_components : int or None, default=None
        Dimension of the embedding. None keeps every direction in which the metric of the "ridge" head is positive, or
        after `partial_fit` as many as there are features, and is 64 for the "linear" head.
    relation : str, callable or object, default="auto"
        What to align with; see :func:`skrelmetric.relations.make_relation`. "auto" is "hamming" for label sets,
        "cosine" for those of more than 40 labels, "l1" for label distributions and other real targets, "discrete" for
        classes.
    loss : {"relation", "neighbors"}, default="relation"
        What an encoder is trained by. "relation" is the difference of distance and relation, over pairs. "neighbors" is
        the loss of predicting each sample of a step by soft votes of all the others, as neighbours will; it takes
        samples in memory or a data set, and memory for the square of `batch_size`.
    encoder : {"laplacian", "tanh", "mlp"}, nn.Module or object with ``build``, default="laplacian"
        Features of the samples. "laplacian" is :class:`~skrelmetric.encoders.Laplacian`, "tanh"
        :class:`~skrelmetric.encoders.Tanh`, both chosen from the samples; pass such an object to set their parameters.
        "mlp" is the paper's multilayer perceptron, with random weights, made to be trained. A torch module is copied,
        and trained from the weights that it has; its samples may have any shape, images for example, and it gets
        integers of 16 bits and more as they are, for ``nn.Embedding``.
    hidden_layer_sizes : tuple of int, default=(128,)
        Units of the hidden layers of "mlp". Under the "ridge" head the last of them are its features; under the
        "linear" head a layer of `n_components` follows.
    activation : {"tanh", "relu", "gelu", "logistic", "identity"}, default="tanh"
        Activation of every layer of "mlp".
    normalize : bool, default=True
        Whether "mlp" divides its features by their norm (HRAML, Eq. 10).
    dropout : float, default=0.0
        Fraction of the hidden units of "mlp" left out in a training step, at least 0 and below 1.
    head : {"ridge", "linear"}, default="ridge"
        "ridge" solves for the best matrix of the distance of features, over all pairs, for every state of the encoder,
        and embeds in its positive semi-definite part. "linear" is the paper's: the features are the embedding.
    alpha : float, default=3.0
        Weight of the penalty ``alpha / 2 * |M|_F^2`` of the "ridge" head, at least 0; scale-free, as that of
        :class:`skrelmetric.RAMLLinear`.
    prediction_weight : float, default=0.3
        Share that ridge-regression predictions of the targets from the features have in the squared distances of the
        embedding under the "ridge" head, in [0, 1]; as that of :class:`skrelmetric.RAMLLinear`. Training goes by the
        aligned distance alone.
    learn_scale : bool, default=False
        Whether the "linear" head learns a scale and an offset between distance and relation. Without them normalised
        features cannot match a relation above 4. The "ridge" head always has both. For loss="relation".
    weight_decay : float, default=0.0
        Weight lambda of the squared weights and biases of the encoder (HRAML, Eq. 5), at least 0.
    pairs : "all" or int, default="all"
        "all" takes all pairs of samples, or of each batch, exactly. A number of pairs is drawn anew in every epoch. For
        loss="relation".
    batch_size : int or None, default=None
        Samples of a step, or drawn pairs of a step, at least 2 samples or 1 pair. None takes all in one.
    hard_fraction : float, default=1.0
        Fraction of the drawn pairs of each step, those with the largest errors, that count (HRAML, section 5.3). For
        the "linear" head.
    chunk_size : int or None, default=None
        Most samples that the encoder takes at once; it bounds memory and changes nothing but rounding, and what dropout
        draws and batch normalisation estimates. None is no limit, but 16 MiB of the samples of a data set where
        `batch_size` is None. For loss="relation".
    optimizer : {"adam", "sgd", "lbfgs"}, default="adam"
        Optimiser of the encoder. "lbfgs" takes up to 20 steps an epoch and wants all pairs and no batches.
    learning_rate : float or None, default=None
        Step size. None is 0.001 for "adam", 0.01 for "sgd" and 1 for "lbfgs".
    max_epochs : int or "auto", default="auto"
        Most epochs of training, at least 0. "auto" is 200, but 0 for encoders that are chosen from the samples under
        the "ridge" head, which training on loss="relation" was not found to improve.
    tol : float, default=1e-4
        An epoch counts as an improvement if it lowers the criterion, or without validation the loss, by this fraction.
    early_stopping : bool, default=True
        Whether to judge each epoch on validation samples, stop when the criterion no longer improves, and return to
        the best weights, those before training included.
    validation_fraction : float, default=0.1
        Fraction of the samples set aside for that, between 0 and 1. An exact head is solved on all in the end.
    n_iter_no_change : int, default=10
        Epochs without improvement after which training stops.
    criterion : {"neighbors", "loss"}, default="neighbors"
        Mean relation of a validation sample to its ten nearest training samples in the embedding, or loss: over pairs
        of validation samples, which says less about neighbours, or of the votes of training samples on these.
    warm_start : bool, default=False
        Whether `fit` starts from the encoder of the last fit.
    checkpoint : str, Path or None, default=None
        Folder where the state is kept after every epoch. A fit of the same parameters to the same data takes it up, and
        ends as if it had not been interrupted. Without a `random_state` the seed then comes from parameters and data.
        Data sets are the same if they are of one class, length and shape and have the same targets.
    mixed_precision : bool, default=False
        Whether the encoder is trained in bfloat16 where torch deems it safe: for float32. Sums over pairs are float64.
    verbose : bool, default=False
        Whether to show the progress of the epochs as a bar, on standard output, which needs rich.
    callbacks : callable, list of callables or None, default=None
        What is called after every epoch of `fit` with a :class:`skrelmetric.callbacks.Epoch`, and stops the training by
        returning True; :class:`skrelmetric.callbacks.EpochLog` writes a log. Those of scikit-learn go to
        `set_callbacks`. A fit without training calls none.
    device : str or torch.device, default="auto"
        Where to compute. "auto" stays where the samples live: on the CPU for numpy arrays.
    random_state : int, RandomState or None, default=None
        Seed of all that is drawn, in any thread. torch's own generators are left as they are; modules of yours draw
        from them, one fit at a time.

    Attributes
    ----------
    encoder_ : torch.nn.Module
        Map from samples to the embedding, encoder and head, in evaluation mode.
    components_ : ndarray of shape (n_components, width)
        Factor L of the metric L' L of the features that the head found, strongest direction first.
    n_iter_ : int
        Epochs of training.
    best_epoch_ : int
        Epoch whose weights were kept, 0 for those before training; where epochs were judged, and none was better than
        these, a ConvergenceWarning says so.
    loss_curve_ : list of float
        Training loss of each epoch: half the mean squared difference of distance and relation, or the mean loss of
        votes, and the penalties.
    validation_curve_ : list of float
        Criterion before training and after each epoch, the lower the better; empty without validation.
    offset_ : float
        Offset between distance and relation.
    n_features_in_ : int
        Number of features; only where samples are rows of features.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features, where `X` has string names.

    See Also
    --------
    skrelmetric.RAMLLinear : The same without an encoder.

    Notes
    -----
    *The loss* is HRAML's, Eq. 5, as a mean: 1/2 sum_ij p_i p_j (D_ij + b - g(y_i, y_j))^2 for sample weights p_i of
    sum 1, with D_ij the squared distance of features under the matrix of the head. Over all pairs it needs only sums
    over samples: an epoch takes time linear in n, and with `chunk_size` memory beyond the samples does not grow with
    them but for a "ridge" head, which takes the features of all, and an "l1" relation.

    *The ridge head* is variable projection: it is solved for the features of each epoch, so that the gradient is that
    of the best loss they admit. An embedding trained end to end fits the relation better and has worse neighbours.

    *The loss of neighbours* is that of :class:`skrelmetric.SoftNeighborsClassifier` and -Regressor, of a sample by all
    the others of its step: -log p of a label, for label sets, or of the class; the cross entropy of distributions; the
    squared error of numbers, in units of each output's variance. The votes are ``p_j exp(-|z_i - z_j|^2 / t)``, t being
    the best temperature for the features of each epoch. For classes that is neighbourhood components analysis [3]_ in
    batches, as ModernNCA [4]_ has it. A "ridge" head is solved on one half of the samples, drawn anew for each epoch,
    and the other half votes: of samples that it was solved for it makes neighbours too good to learn from.
    On four small sets of label sets it made soft votes behind "mlp" a little better than loss="relation" did, and those
    behind the default encoder neither better nor worse than without training.

    *Missing labels and weights* count as for :class:`skrelmetric.RAMLLinear`.

    References
    ----------
    .. [1] "Hierarchical relationship alignment metric learning" (HRAML), Eqs. 4-11 and sections 5.1-5.3.
    .. [2] G. Golub and V. Pereyra, "The differentiation of pseudo-inverses and nonlinear least squares problems whose
       variables separate", SIAM Journal on Numerical Analysis 10(2), 1973 (variable projection).
    .. [3] J. Goldberger, S. Roweis, G. Hinton and R. Salakhutdinov, "Neighbourhood components analysis", NIPS 2004.
    .. [4] H.-J. Ye, H.-H. Yin, D.-C. Zhan and W.-L. Chao, "Revisiting nearest neighbor for tabular data: a deep tabular
       baseline two decades later" (ModernNCA), arXiv 2407.03257.

    Examples
    --------
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skrelmetric import HRAMLTransformer, MLkNN
    >>> from skrelmetric.datasets import load_emotions
    >>> X, Y = load_emotions(subset="train", return_X_y=True)
    >>> model = make_pipeline(StandardScaler(), HRAMLTransformer(), MLkNN()).fit(X, Y)
    >>> model.predict(X).shape
    (391, 6)
    """

    _module_parameter = "encoder"
    _namespace_attribute = "components_"
    _modules_of_state = ("encoder", "encoder_", "_state", "components_")
    _state: Model
    _example = property(lambda self: self._state.example)

    _parameter_constraints: dict = {
        **ModuleTransformer._parameter_constraints,
        "n_components": [Interval(Integral, 1, None, closed="left"), None],
        "relation": [str, callable, HasMethods("bind")],
        "loss": [StrOptions({"relation", "neighbors"})],
        "encoder": [StrOptions({"laplacian", "tanh", "mlp"}), nn.Module, HasMethods("build")],
        "normalize": ["boolean"],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "head": [StrOptions({"ridge", "linear"})],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "prediction_weight": [Interval(Real, 0, 1, closed="both")],
        "learn_scale": ["boolean"],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "pairs": [StrOptions({"all"}), Interval(Integral, 1, None, closed="left")],
        "batch_size": [Interval(Integral, 1, None, closed="left"), None],
        "hard_fraction": [Interval(Real, 0, 1, closed="right")],
        "chunk_size": [Interval(Integral, 1, None, closed="left"), None],
        "optimizer": [StrOptions(set(OPTIMIZERS))],
        "learning_rate": [Interval(Real, 0, None, closed="neither"), None],
        "max_epochs": [StrOptions({"auto"}), Interval(Integral, 0, None, closed="left")],
        "criterion": [StrOptions({"neighbors", "loss"})],
    }

    def __init__(
        self,
        n_components=None,
        *,
        relation="auto",
        loss="relation",
        encoder="laplacian",
        hidden_layer_sizes=(128,),
        activation="tanh",
        normalize=True,
        dropout=0.0,
        head="ridge",
        alpha=3.0,
        prediction_weight=0.3,
        learn_scale=False,
        weight_decay=0.0,
        pairs="all",
        batch_size=None,
        hard_fraction=1.0,
        chunk_size=None,
        optimizer="adam",
        learning_rate=None,
        max_epochs="auto",
        tol=1e-4,
        early_stopping=True,
        validation_fraction=0.1,
        n_iter_no_change=10,
        criterion="neighbors",
        warm_start=False,
        checkpoint=None,
        mixed_precision=False,
        verbose=False,
        callbacks=None,
        device="auto",
        random_state=None,
    ):
        self.n_components = n_components
        self.relation = relation
        self.loss = loss
        self.encoder = encoder
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.normalize = normalize
        self.dropout = dropout
        self.head = head
        self.alpha = alpha
        self.prediction_weight = prediction_weight
        self.learn_scale = learn_scale
        self.weight_decay = weight_decay
        self.pairs = pairs
        self.batch_size = batch_size
        self.hard_fraction = hard_fraction
        self.chunk_size = chunk_size
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.max_epochs = max_epochs
        self.tol = tol
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.criterion = criterion
        self.warm_start = warm_start
        self.checkpoint = checkpoint
        self.mixed_precision = mixed_precision
        self.verbose = verbose
        self.callbacks = callbacks
        self.device = device
        self.random_state = random_state

    @with_callbacks
    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None, sample_weight: Any = None, *, X_val: Any = None, y_val: Any = None) -> Self:
        """Learn the embedding.

        Parameters
        ----------
        X : array-like, sparse matrix, dask.array.Array, Chunks, data set or DataLoader of shape (n_samples, ...)
            Samples, at least two. :class:`~skrelmetric.chunks.Chunks`, Dask arrays, memory maps and data sets are read
            chunk by chunk, where steps see all pairs; batch normalisation then goes by each chunk. Samples of a
            map-style data set, or of a DataLoader over one, are loaded when they are needed: see Notes. Within
            :func:`skrelmetric.distributed.shards`, the samples of this process.
        y : array-like, sparse matrix or dask.array.Array of shape (n_samples,) or (n_samples, n_outputs), default=None
            Targets: a 0/1 label indicator, label distributions, numbers or classes. NaN where a number is missing, not
            -1, which counts like any other. None for Chunks, which hold them, for a data set, to take the second
            element of each item, and where `relation` is given pairs.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights, at least 0. A pair counts by the product of its samples' weights. None weighs all alike.
        X_val : array-like, sparse matrix, data set or DataLoader, default=None
            Samples to judge epochs on, in place of some of the training samples; the same in every process.
        y_val : array-like or sparse matrix, default=None
            Their targets; None for a data set takes the second element of each item.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If samples are not finite or cannot be squared, of unfitting shapes or too few, if the target does not suit
            `relation`, if weights are negative, if parameters exclude one another, or an encoder returns anything but
            features; if items of a data set are no arrays or tensors of one shape, or a DataLoader has an order of its
            own.
        FloatingPointError
            If the training diverges.

        Notes
        -----
        *Data sets* are what has a length and items but is no array or list, as :class:`torch.utils.data.Dataset` has
        them. Items are ``(x, y)``, or ``x`` where `y` is passed; without `y` all are loaded once more, for their
        targets. Nothing is in memory but the batches, or chunks of `chunk_size`, that are being loaded, and features of
        all samples. A DataLoader lends its data set, ``collate_fn`` and worker processes, which are kept for the time
        of the fit; batches and their order are those of `batch_size` and `pairs`. What items draw of torch, to augment
        images for example, depends on `random_state`, the epoch and the place of the item alone, not on the workers.
        Samples that are held out, and those that a "ridge" head is solved for, are augmented as well, the latter in one
        way; pass `X_val` to judge by others.
        """
        self._fit(X, y, sample_weight, X_val, y_val)
        return self

    @with_callbacks
    @fit_context(prefer_skip_nested_validation=True)
    def fit_transform(
        self, X: Any, y: Any = None, sample_weight: Any = None, *, X_val: Any = None, y_val: Any = None
    ) -> np.ndarray:
        """Learn the embedding, and embed the same samples: their features are those of the fit, where it has them.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features), or of any shape for a torch module
            Samples, at least two; any that both `fit` and `transform` take.
        y : array-like, sparse matrix or dask.array.Array of shape (n_samples,) or (n_samples, n_outputs)
            Targets, as `fit` takes them.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights, at least 0.
        X_val : array-like, sparse matrix, data set or DataLoader, default=None
            Samples to judge epochs on.
        y_val : array-like or sparse matrix, default=None
            Their targets.

        Returns
        -------
        ndarray of shape (n_samples, n_components)
            Embeddings, as `transform` gives them but for rounding.

        Raises
        ------
        ValueError
            As `fit` does.
        FloatingPointError
            If the training diverges.
        """
        data, objective = self._fit(X, y, sample_weight, X_val, y_val)
        samples = data.partitions.only
        if samples is None or samples.rows is not None:  # the fit has them in partitions, or not all
            return self.transform(X)
        with torch.no_grad():
            embeddings = self.encoder_[1](objective.features().only.Z)
        return as_given(embeddings, samples.dtype, data.given)

    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Learn from one chunk of the samples, of a stream for example.

        The first chunk, if no fit went before, sets the encoder up. Every chunk then trains the encoder for an epoch,
        where it is trained at all (see `max_epochs`), on the pairs within the chunk. A "ridge" head is solved on each
        chunk, and the solutions are averaged by the numbers of samples: chunks should have a thousand or more. Each
        call is an epoch, of which `callbacks` are not told.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features), or of any shape for a torch module
            Samples, at least two.
        y : array-like or sparse matrix of shape (n_samples,) or (n_samples, n_outputs)
            Targets, of as many outputs in every chunk; what "auto" stands for is decided by the first.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights, at least 0.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            As `fit` does.
        FloatingPointError
            If the training diverges.
        """
        first, ranks = not hasattr(self, "_state"), current_ranks()
        if ranks.size > 1:
            raise ValueError("partial_fit learns from the samples of one process. Use fit within shards().")
        if isinstance(X, Chunks) or is_dask(X) or is_data_set(X):
            raise ValueError(
                f"partial_fit learns from one chunk in memory, but X is a {type(X).__name__} of several. "
                "Pass one after another, or all of them to fit."
            )
        self._check_parameters(X, ranks)
        device = resolve_device(self.device, X)
        data = self._read(X, y, sample_weight, device=device, reset=first, streams=False)
        if not first and self._state.n_outputs not in (None, data.n_outputs):
            raise ValueError(
                f"y has {data.n_outputs} outputs, but {self._state.n_outputs} in what was learned from before. Pass a "
                "column for each, of NaN or zeros if need be, or begin anew with a clone."
            )
        seed, asked = self._seed(), self._architecture
        keeps = not first and isinstance(self.relation, str) and self.relation == "auto"
        relation, (chunk,) = related(self._state.relation if keeps else self.relation, data)
        model = asked.build(*landmarks(data, seed), relation) if first else self._state._replace(relation=relation)
        head = asked.head_of(model)
        rank = self.n_components or model.width  # the same for every chunk
        objective = self._objective(model._replace(head=head), chunk, seed, rank)
        optimizer = self._new_optimizer(objective)
        if first:
            self._keep_curves(History())
        if optimizer:
            if (
                model.optimizer is not None
                and model.optimizer[0] == self.optimizer
                and (head is model.head or asked.exact)
            ):
                optimizer.load_state_dict(model.optimizer[1])
            loss = objective.run_epoch(self.n_iter_, optimizer)
            check_loss(loss, self.n_iter_ + 1)
            self.loss_curve_.append(loss)
            self.n_iter_ = self.best_epoch_ = self.n_iter_ + 1
        objective.solve()
        n_averaged = model.n_averaged + chunk.n_samples
        head.average(model.head, model.n_averaged / n_averaged)
        state = (self.optimizer, optimizer.state_dict()) if optimizer else None
        model = model._replace(head=head, optimizer=state, n_averaged=n_averaged, n_outputs=data.n_outputs)
        self._state, self.encoder_, self.components_, self.offset_ = self._fitted(objective, model, data).values()
        warn_of(head)
        return self

    def features(self, X: ArrayLike) -> np.ndarray:
        """Compute the features of samples, which the head embeds linearly.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features), or of any shape for a torch module
            Samples, or a data set or loader of them, as `transform` takes it.

        Returns
        -------
        ndarray of shape (n_samples, width)
            Features; ``features(X) @ components_.T`` is the embedding, but for rounding.
        """
        check_is_fitted(self, "encoder_")
        return self._mapped(self.encoder_[0], X, "features")

    def _fit(self, X: Any, y: Any, sample_weight: Any, X_val: Any, y_val: Any) -> tuple[Data, Objective]:
        """Learned attributes, and the samples with the objective that they were learned from."""
        with (
            current_ranks().together() as ranks,
            loaded(X, self._options) as samples,
            loaded(X_val, self._options, "X_val") as others,
            exclusive(resolve_device(self.device, samples)) as device,
        ):
            self._check_parameters(X, ranks)
            targets = targets_of_fit(samples, y, self.relation)
            if self.loss == "neighbors" and targets is not y:
                raise ValueError(
                    "loss='neighbors' predicts targets, but y is None. Pass y, or loss='relation', which needs nothing "
                    "but the given pairs."
                )
            data = self._read(samples, targets, sample_weight, ranks=ranks, device=device, streams=self._sums_suffice)
            given = self._read_validation(others, y_val, data)
            seed, checkpoint = self._begin(data, given)
            relation, (whole, *validation) = related(self.relation, data, *given)
            training, *validation = self._split(whole, validation, seed)
            model, objective = self._start(data, training, relation, seed)
            optimizer = self._new_optimizer(objective)
            criterion = partial(objective.error, validation[0], self.criterion) if validation else None
            callbacks = EpochCallbacks(self, self._n_epochs if optimizer else 0, X, y)
            fitted = partial(self._fitted, objective, model, data)
            self._train(objective, optimizer, criterion, checkpoint, callbacks, fitted)
            state = (self.optimizer, optimizer.state_dict()) if optimizer else None
            model = model._replace(optimizer=state, n_averaged=whole.n_samples, n_outputs=data.n_outputs)
            objective = objective.over(whole)
            fitted = partial(self._fitted, objective, model, data)
            callbacks.fit_ended(fitted)
            self._state, self.encoder_, self.components_, self.offset_ = fitted().values()
        warn_of(objective.head)
        return data, objective

    @property
    def _architecture(self) -> Architecture:
        return Architecture(**{name: getattr(self, name) for name in Architecture._fields})

    @property
    def _n_epochs(self) -> int:
        if self.max_epochs != "auto":
            return self.max_epochs
        return 0 if self._architecture.chosen and self.loss == "relation" else _MAX_EPOCHS

    @property
    def _sums_suffice(self) -> bool:
        """Whether a step needs nothing but sums over all samples."""
        steps = self.loss == "relation" and self.pairs == "all" and self.batch_size is None
        return steps and self.checkpoint is None and not isinstance(self.relation, Relation)

    def _check_parameters(self, X: Any, ranks: Ranks) -> None:
        architecture = self._architecture
        self._check_start(X, ranks)
        self._schedule(0).check(architecture.exact, steady=self.optimizer == "lbfgs", draws=architecture.draws)
        architecture.check()
        if self.loss == "neighbors" and is_partitioned(X, ranks, streams=False):
            raise ValueError(
                "loss='neighbors' predicts each sample of a step by all the others, which chunks, Dask arrays and "
                "shards do not hold together. Pass samples of one process in memory, or loss='relation'."
            )
        if self.loss == "neighbors" and self.learn_scale:
            raise ValueError(
                "learn_scale=True is for loss='relation': under loss='neighbors' the scale of distances is the "
                "temperature, which is always chosen. Pass learn_scale=False."
            )
        if (isinstance(X, Chunks) or is_dask(X)) and (self.batch_size is not None or self.pairs != "all"):
            raise ValueError(
                f"batch_size={self.batch_size} and pairs={self.pairs!r} would go through all chunks for every step. "
                "Pass None and 'all', with chunk_size for less memory, or use partial_fit chunk by chunk."
            )

    def _split(self, whole: Subsets, given: list[Subsets], seed: int) -> list[Subsets]:
        """Training samples, and behind them validation samples if there are any."""
        held_out = self._n_epochs and self.early_stopping and not given
        fewest = 2 if self.criterion == "loss" else 1
        return whole.split(self.validation_fraction, fewest=fewest, seed=seed) if held_out else [whole, *given]

    def _start(self, data: Data, training: Subsets, relation: Any, seed: int) -> tuple[Model, Objective]:
        """Encoder and head to begin with, and what they are trained for."""
        module = isinstance(self.encoder, nn.Module)
        samples, generator = landmarks(data, seed, N_FOR_ORIGIN) if module else landmarks(data, seed)
        if self.warm_start and hasattr(self, "_state"):
            self._check_same_samples(samples.example())
            model = self._architecture.rebuild(self._state, samples, relation)
        else:
            model = self._architecture.build(samples, generator, relation)
        model = model._replace(encoder=agreed(model.encoder, data.partitions.ranks, data.device))
        alone = data.partitions.only is not None
        few = None if alone else samples.read(slice(0, N_FOR_ORIGIN), dtype_of(model.encoder))
        return model, self._objective(model, training, seed, self._architecture.rank(model.width), few)

    def _schedule(self, seed: int) -> Schedule:
        n_pairs = None if self.pairs == "all" else self.pairs
        steps = self.batch_size, self.chunk_size, self.hard_fraction, self.weight_decay, self.mixed_precision
        return Schedule(n_pairs, *steps, seed, self.loss)

    def _objective(
        self, model: Model, samples: Subsets, seed: int, rank: int | None, few: Tensor | None = None
    ) -> Objective:
        return Objective(model.encoder, model.head, samples, model.width, rank, self._schedule(seed), few)

    def _new_optimizer(self, objective: Objective) -> Optimizer | None:
        """Optimiser of what can be trained, if there is anything and it is to be."""
        parameters = trained_parameters(objective) if self._n_epochs else []
        rate = self.learning_rate or _LEARNING_RATES[self.optimizer]
        return new_optimizer(self.optimizer, parameters, lr=rate) if parameters else None

    def _fitted(self, objective: Objective, model: Model, data: Data) -> dict[str, Any]:
        """State of the training and what was learned, as if training ended here."""
        encoder, components, offset = objective.embedding()
        components = like(components, data.given)
        return {"_state": model, "encoder_": encoder, "components_": components, "offset_": offset}

    @property
    def _n_features_out(self) -> int:
        return len(self.components_)
