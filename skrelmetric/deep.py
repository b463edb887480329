"""The deep aligned metric."""

from collections.abc import Callable
from copy import deepcopy
from functools import partial
from numbers import Integral, Real
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, Self
from warnings import warn

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor, nn
from torch.optim import Optimizer

from skrelmetric._data.checks import check_supervision, stacked
from skrelmetric._data.partitions import Collection, InMemory
from skrelmetric._data.read import checked_part, collected, comes_in_parts
from skrelmetric._data.summary import surveyed
from skrelmetric._hraml.heads import Head, LinearHead, RidgeHead
from skrelmetric._hraml.objective import Alignment, AlignmentInMemory, Schedule
from skrelmetric._hraml.partitioned import AlignmentInParts
from skrelmetric._interop.dask import is_dask
from skrelmetric._interop.device_lock import exclusive
from skrelmetric._interop.sklearn import (
    EpochCallbacks,
    HasMethods,
    Interval,
    StrOptions,
    fit_context,
    with_callbacks,
)
from skrelmetric._interop.torch import like, resolve_device
from skrelmetric._training.encode import Part, alike, counted_part, dtype_of, embed
from skrelmetric._training.loop import OPTIMIZERS, Checkpoint, History, check_loss, progress_bar, train
from skrelmetric._training.shards import Shares
from skrelmetric._training.transformer import ModuleTransformer
from skrelmetric.chunks import Chunks
from skrelmetric.distributed import Ranks, current_ranks
from skrelmetric.encoders import ACTIVATIONS, MLP, EncoderSpec, Laplacian, Tanh
from skrelmetric.relations import Relation, RelationInParts, make_relation, relation_name

__all__ = ["HRAMLTransformer"]

_N_LANDMARKS = 2000
_N_COMPONENTS = 64
_MAX_EPOCHS = 200
_LEARNING_RATES = {"adam": 1e-3, "sgd": 1e-2, "lbfgs": 1.0}


class _State(NamedTuple):
    """What training continues from."""

    encoder: nn.Module
    head: Head
    optimizer: tuple[str, dict] | None  # its name and state
    relation: Any
    n_averaged: int  # samples on which the exact head was solved
    example: Tensor  # two samples, of zeros
    width: int


class HRAMLTransformer(ModuleTransformer):
    """Deep relation-aligned metric, exact over all pairs of samples.

    Learns an embedding in which samples with similar targets are near: an encoder turns samples into nonlinear
    features, and a head into an embedding whose squared distances are aligned with a relation g(y_i, y_j) of the
    targets. By default the features are those of a Laplacian kernel and the head is the exact solution over all n^2
    pairs, without any gradient; encoders of any kind can be trained, under that head or under the paper's.

    Parameters
    ----------
    n_components : int or None, default=None
        Dimension of the embedding. None is 64, or the number of features of the encoder where they are fewer.
    relation : str, callable or object, default="auto"
        What to align with; see :func:`skrelmetric.relations.make_relation`. "auto" is "hamming" for label sets, "l1"
        for label distributions and other real targets, "discrete" for classes.
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
        Share of the hidden units of "mlp" left out in a training step, at least 0 and below 1.
    head : {"ridge", "linear"}, default="ridge"
        "ridge" solves for the best matrix of the distance of features, over all pairs of samples and for every state
        of the encoder, and embeds in its positive semi-definite part. "linear" is the paper's: the features are the
        embedding.
    alpha : float, default=3.0
        Weight of the penalty ``alpha / 2 * |M|_F^2`` of the "ridge" head, at least 0; scale-free, as that of
        :class:`skrelmetric.RAMLLinear`.
    learn_scale : bool, default=False
        Whether the "linear" head learns a scale and an offset between distance and relation. Without them normalised
        features cannot match a relation above 4. The "ridge" head always has both.
    weight_decay : float, default=0.0
        Weight lambda of the squared weights and biases of the encoder (HRAML, Eq. 5), at least 0.
    pairs : "all" or int, default="all"
        "all" takes all pairs of samples, exactly; with `batch_size` all pairs of each batch. A number of pairs is
        drawn anew in every epoch, as in the paper.
    batch_size : int or None, default=None
        Samples of a step, or drawn pairs of a step, at least 2 samples or 1 pair. None takes all in one.
    hard_fraction : float, default=1.0
        Share of the drawn pairs of each step that counts: those with the largest errors (HRAML, section 5.3). For the
        "linear" head.
    chunk_size : int or None, default=None
        Most samples that the encoder takes at once, of all pairs or of those of a batch; it bounds memory and changes
        nothing but rounding, and what dropout draws and batch normalisation estimates. None is no limit.
    optimizer : {"adam", "sgd", "lbfgs"}, default="adam"
        Optimiser of the encoder. "lbfgs" takes up to 20 steps an epoch and wants all pairs and no batches.
    learning_rate : float or None, default=None
        Step size. None is 0.001 for "adam", 0.01 for "sgd" and 1 for "lbfgs".
    max_epochs : int or "auto", default="auto"
        Most epochs of training, at least 0. "auto" is 0 for encoders that are chosen from the samples under the "ridge"
        head, which training was not found to improve, and 200 otherwise.
    tol : float, default=1e-4
        An epoch counts as an improvement if it lowers the criterion, or without validation the loss, by this share.
    early_stopping : bool, default=True
        Whether to judge each epoch on validation samples, stop when the criterion no longer improves, and return to
        the best weights, which may be those before training. Of no effect without training.
    validation_fraction : float, default=0.1
        Share of the samples set aside for that, between 0 and 1. The exact head of the chosen weights is solved on all.
    n_iter_no_change : int, default=10
        Epochs without improvement after which training stops.
    criterion : {"neighbors", "loss"}, default="neighbors"
        What is judged: the mean relation of a validation sample to its ten nearest training samples in the
        embedding, or the loss over pairs of validation samples, which says less about neighbours.
    warm_start : bool, default=False
        Whether `fit` starts from the encoder of the last fit.
    checkpoint : str, Path or None, default=None
        Folder where the state is kept after every epoch. A fit of the same parameters to the same data takes it up, and
        ends as if it had not been interrupted; other fits have files of their own. Without a `random_state` the seed
        then comes from parameters and data.
    mixed_precision : bool, default=False
        Whether the encoder is trained in bfloat16 where torch deems it safe, which it does for float32 only. Sums over
        pairs are float64 always.
    verbose : bool, default=False
        Whether to show the progress of the epochs, which needs rich.
    device : str or torch.device, default="auto"
        Where to compute. "auto" stays where the samples live: on the CPU for numpy arrays.
    random_state : int, RandomState or None, default=None
        Seed of initial weights, batches, drawn pairs, dropout and validation samples. torch's own generators are left
        as they are.

    Attributes
    ----------
    encoder_ : torch.nn.Module
        Map from samples to the embedding, encoder and head, in evaluation mode.
    components_ : ndarray of shape (n_components, width)
        Factor L of the metric L' L of the features that the head found, strongest direction first.
    n_iter_ : int
        Epochs of training.
    best_epoch_ : int
        Epoch whose weights were kept, 0 for those before training.
    loss_curve_ : list of float
        Training loss of each epoch: half the mean squared difference of distance and relation, and the penalties.
    validation_curve_ : list of float
        Criterion before training and after each epoch, the lower the better; empty without validation.
    offset_ : float
        Offset between distance and relation.
    n_features_in_ : int
        Number of features; only where samples are rows of features.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, where `X` has string names.

    See Also
    --------
    skrelmetric.RAMLLinear : The same without an encoder.

    Notes
    -----
    *The loss* is HRAML's, Eq. 5, as a mean: 1/2 sum_ij p_i p_j (D_ij + b - g(y_i, y_j))^2 for sample weights p_i of
    sum 1, with D_ij the squared distance of features, under the matrix of the head. Over all pairs it needs only sums
    over samples, in float64: an epoch takes time linear in n, and with `chunk_size` memory beyond the samples does not
    grow with them but for a "ridge" head, which takes the features of all, and an "l1" relation.

    *The ridge head* is variable projection: it is solved for the features of each epoch, so that the gradient at the
    solution is that of the best loss the features admit. An embedding trained end to end has a positive semi-definite
    distance from the start and no penalty on it; it fits the relation better and has worse neighbours.

    *Missing labels, weights.* As for :class:`skrelmetric.RAMLLinear`.

    *Images, sequences.* With a torch module for `encoder`, `X` may have any number of dimensions.

    References
    ----------
    .. [1] "Hierarchical relationship alignment metric learning" (HRAML), Eqs. 4-11 and sections 5.1-5.3.
    .. [2] G. Golub and V. Pereyra, "The differentiation of pseudo-inverses and nonlinear least squares problems whose
       variables separate", SIAM Journal on Numerical Analysis 10(2), 1973 (variable projection).

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

    _parameter_constraints: dict = {
        "n_components": [Interval(Integral, 1, None, closed="left"), None],
        "relation": [str, callable, HasMethods("bind")],
        "encoder": [StrOptions({"laplacian", "tanh", "mlp"}), nn.Module, HasMethods("build")],
        "hidden_layer_sizes": [tuple, list],
        "activation": [StrOptions(set(ACTIVATIONS))],
        "normalize": ["boolean"],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "head": [StrOptions({"ridge", "linear"})],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "learn_scale": ["boolean"],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "pairs": [StrOptions({"all"}), Interval(Integral, 1, None, closed="left")],
        "batch_size": [Interval(Integral, 1, None, closed="left"), None],
        "hard_fraction": [Interval(Real, 0, 1, closed="right")],
        "chunk_size": [Interval(Integral, 1, None, closed="left"), None],
        "optimizer": [StrOptions(set(OPTIMIZERS))],
        "learning_rate": [Interval(Real, 0, None, closed="neither"), None],
        "max_epochs": [StrOptions({"auto"}), Interval(Integral, 0, None, closed="left")],
        "tol": [Interval(Real, 0, 1, closed="left")],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "criterion": [StrOptions({"neighbors", "loss"})],
        "warm_start": ["boolean"],
        "checkpoint": [str, Path, None],
        "mixed_precision": ["boolean"],
        "verbose": ["boolean"],
        "device": [str, torch.device],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        n_components=None,
        *,
        relation="auto",
        encoder="laplacian",
        hidden_layer_sizes=(128,),
        activation="tanh",
        normalize=True,
        dropout=0.0,
        head="ridge",
        alpha=3.0,
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
        device="auto",
        random_state=None,
    ):
        self.n_components = n_components
        self.relation = relation
        self.encoder = encoder
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.normalize = normalize
        self.dropout = dropout
        self.head = head
        self.alpha = alpha
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
        self.device = device
        self.random_state = random_state

    @with_callbacks
    @fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: Any,
        y: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        *,
        X_val: ArrayLike | None = None,
        y_val: ArrayLike | None = None,
    ) -> Self:
        """Learn the embedding.

        Parameters
        ----------
        X : array-like, sparse matrix, dask.array.Array or Chunks of shape (n_samples, ...)
            Samples, at least two. :class:`~skrelmetric.chunks.Chunks`, Dask arrays and memory maps are read part by
            part, where steps see all pairs; what batch normalisation estimates is then that of each part. Within
            :func:`skrelmetric.distributed.shards`, the samples of this process.
        y : array-like, sparse matrix or dask.array.Array of shape (n_samples,) or (n_samples, n_outputs)
            Targets: a 0/1 label indicator, label distributions, numbers or classes. NaN where a number is missing. None
            for Chunks, which hold them.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights, at least 0. A pair counts by the product of its samples' weights. None weighs all alike.
        X_val : array-like or sparse matrix, default=None
            Samples to judge epochs on, in place of a part of the training samples; the same in every process.
        y_val : array-like or sparse matrix, default=None
            Their targets.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If samples are not finite, of unfitting shapes or too few, if the target does not suit `relation`, if
            weights are negative, if parameters exclude one another, or an encoder returns anything but features.
        FloatingPointError
            If the training diverges.
        """
        ranks = current_ranks()
        in_parts = comes_in_parts(X, ranks) and (ranks.size > 1 or not isinstance(X, np.memmap) or self._sums_suffice)
        with ranks.together(), exclusive(resolve_device(self.device, X)):
            if in_parts:
                with TemporaryDirectory() as folder:
                    self._fit_in_parts(X, y, sample_weight, X_val, y_val, ranks, Path(folder))
            else:
                self._fit_in_memory(X, y, sample_weight, X_val, y_val)
        return self

    def _fit_in_memory(self, X: Any, y: Any, sample_weight: Any, X_val: Any, y_val: Any) -> None:
        X, targets, whole = self._read(X, y, sample_weight, reset=True)
        relation = self._named_relation(targets)
        n_epochs = self._n_epochs()
        data = (whole.X, whole.rows, targets, whole.weights, X_val, y_val)
        key = None if self.checkpoint is None else self._fingerprint(*data)
        seed = self._seed(key)
        training, validation = whole, None
        if X_val is not None or y_val is not None:
            validation, y_val = self._validation_set(X_val, y_val, whole)
            targets = stacked(targets, y_val)
        elif n_epochs and self.early_stopping:
            training, validation = self._split(whole, seed)
        G = make_relation(targets, relation, device=whole.weights.device)

        state = self._start(*self._look(whole, seed), relation)
        checkpoint = None if key is None else Checkpoint(Path(self.checkpoint).expanduser() / f"{key}.pt")
        rank, schedule = self._rank(state.width), self._schedule(seed)
        alignment = AlignmentInMemory(state.encoder, state.head, training, G, rank, schedule)
        self._train(alignment, state, validation, whole, X, y, checkpoint)

    def _fit_in_parts(
        self, X: Any, y: Any, sample_weight: Any, X_val: Any, y_val: Any, ranks: Ranks, folder: Path
    ) -> None:
        """Learn the embedding of samples that come in parts; `folder` is for their features."""
        collection = collected(self, X, y, sample_weight, ranks, self._rows)
        self._check_parameters()
        self._check_in_parts(X)
        device = resolve_device(self.device, X)
        self._check_same_validation_set(X_val, y_val, ranks)
        survey = of_all = surveyed(collection)
        given: list[Collection] = []
        if X_val is not None or y_val is not None:
            self._check_validation_set(X_val, y_val)
            given.append(InMemory([checked_part(self._rows, X_val, y_val)]))
            of_given = surveyed(given[0])
            of_all = survey.merged(of_given)
        relations = RelationInParts.across(self.relation, of_all.targets, device, collection, *given)
        seed, n = ranks.agreed(self._seed(None)), survey.n_samples
        training = whole = Shares.of(collection, survey, relations, device)
        validation = None
        if given:
            validation = Shares.of(given[0], of_given, relations, device)
        elif self._n_epochs() and self.early_stopping:
            training, validation = (whole.among(places.to(device)) for places in self._split_places(n, seed))

        places, generator = _look_places(n, seed)
        look = whole.part(torch.arange(n) if places is None else places, survey)
        state = self._start(look, generator, relations.name if self._auto else self.relation)
        state = state._replace(encoder=ranks.agreed(state.encoder.cpu()).to(device))
        alignment = AlignmentInParts(
            state.encoder,
            state.head,
            training,
            relations.nothing(),
            look.read(slice(None), dtype_of(state.encoder)),
            self._rank(state.width),
            self._schedule(seed),
            ranks,
            folder,
        )
        self._train(alignment, state, validation, whole, X, y, None)

    def _train(
        self,
        alignment: Alignment,
        state: _State,
        validation: Any,
        whole: Any,
        X: Any,
        y: Any,
        checkpoint: Checkpoint | None,
    ) -> None:
        """Train what is to be trained, judged by validation samples, and attend to the whole at the end."""
        n_epochs = self._n_epochs()
        optimizer = self._new_optimizer(alignment) if n_epochs else None
        callbacks = EpochCallbacks(self, n_epochs if optimizer else 0, X, y)
        fitted = partial(self._attributes, alignment, state, X)
        history = History()
        if optimizer:
            with progress_bar(n_epochs, self.verbose) as advance:
                history = train(
                    alignment,
                    optimizer,
                    partial(alignment.run_epoch, optimizer=optimizer),
                    max_epochs=n_epochs,
                    criterion=self._criterion(alignment, validation),
                    tol=self.tol,
                    patience=self.n_iter_no_change,
                    checkpoint=checkpoint,
                    after_epoch=lambda history: advance(history) or callbacks.epoch_ended(fitted),
                )
        alignment.attend(whole)
        callbacks.fit_ended(fitted)

        state = state._replace(optimizer=self._state_of(optimizer), n_averaged=alignment.n_samples)
        self.__dict__.update(self._attributes(alignment, state, X))
        self.loss_curve_, self.validation_curve_ = history.losses, history.scores
        self.n_iter_, self.best_epoch_ = history.n_epochs, history.best_epoch
        self._warn_of(alignment.head, stacklevel=7 if hasattr(self, "set_callbacks") else 6)

    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Learn from one chunk of the samples, of a stream for example.

        The first chunk, if no fit went before, sets the encoder up. Every chunk then trains the encoder for an epoch,
        where it is trained at all (see `max_epochs`), on the pairs within the chunk. A "ridge" head is solved on each
        chunk, and the solutions are averaged by the numbers of samples: chunks should have a thousand or more.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features), or of any shape for a torch module
            Samples, at least two.
        y : array-like or sparse matrix of shape (n_samples,) or (n_samples, n_outputs)
            Targets; what "auto" stands for is decided by the first chunk.
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
        first = not hasattr(self, "_state")
        if current_ranks().size > 1:
            raise ValueError("partial_fit learns from the samples of one process. Use fit within shards().")
        X, y, chunk = self._read(X, y, sample_weight, reset=first)
        seed = self._seed(None)
        state = self._start(*self._look(chunk, seed), self._named_relation(y)) if first else self._state
        device = chunk.weights.device
        state = state._replace(relation=state.relation if self._auto else self.relation)
        keeps = self._keeps(state.head)
        head = state.head if keeps else self._new_head(state.encoder, state.width, device)
        G = make_relation(y, state.relation, device=device)
        alignment = AlignmentInMemory(state.encoder, head, chunk, G, self._rank(state.width), self._schedule(seed))
        optimizer = self._new_optimizer(alignment) if self._n_epochs() else None
        if optimizer:
            if state.optimizer is not None and state.optimizer[0] == self.optimizer and (keeps or self._exact):
                optimizer.load_state_dict(state.optimizer[1])
            epoch = 0 if first else self.n_iter_
            loss = alignment.run_epoch(epoch, optimizer)
            check_loss(loss, epoch + 1)
        alignment.solve()
        n_averaged = state.n_averaged + chunk.n_samples
        if isinstance(head, RidgeHead) and isinstance(state.head, RidgeHead) and state.n_averaged:
            head.average(state.head, state.n_averaged / n_averaged)
        state = state._replace(head=head, optimizer=self._state_of(optimizer), n_averaged=n_averaged)
        self.__dict__.update(self._attributes(alignment, state, X))
        if first:
            self.loss_curve_, self.validation_curve_, self.n_iter_, self.best_epoch_ = [], [], 0, 0
        if optimizer:
            self.loss_curve_.append(loss)
            self.n_iter_ = self.best_epoch_ = self.n_iter_ + 1
        self._warn_of(head, stacklevel=4)
        return self

    def _read(self, X: Any, y: Any, sample_weight: Any, *, reset: bool) -> tuple[Any, Any, Part]:
        """Samples as they came, the targets that count, and the samples that count."""
        X = self._validated(X, reset=reset)
        y = check_supervision(self, X, y)
        self._check_parameters()
        device = resolve_device(self.device, X)
        part, y = counted_part(X, y, sample_weight, device)
        return X, y, part

    def _named_relation(self, y: Any) -> Any:
        """The relation, with the name that "auto" stands for."""
        return relation_name(y) if self._auto else self.relation

    def _look(self, part: Part, seed: int) -> tuple[Part, torch.Generator]:
        """Samples to choose an encoder from, and what it draws with."""
        places, generator = _look_places(part.n_samples, seed)
        return part if places is None else part.some(places.to(part.places.device)), generator

    def _start(self, part: Part, generator: torch.Generator, relation: Any) -> _State:
        """Encoder and head to begin with, given some samples."""
        example = part.example()
        state = getattr(self, "_state", None) if self.warm_start else None
        if state is None:
            encoder = self._new_encoder(part, generator)
            width = self._width(encoder, part)
            head = self._new_head(encoder, width, part.weights.device)
            return _State(encoder, head, None, relation, 0, example, width)
        self._check_same_samples(example)
        # Copies: what was fitted stays as it is if this fit is interrupted.
        encoder = deepcopy(state.encoder).to(part.weights.device)
        width = self._width(encoder, part)
        head = self._new_head(encoder, width, part.weights.device)
        if self._keeps(state.head):
            head.load_state_dict(state.head.state_dict())
        return state._replace(encoder=encoder, head=head, relation=relation, optimizer=None, width=width)

    def _check_parameters(self) -> None:
        if isinstance(self.encoder, type):
            raise ValueError(
                f"encoder={self.encoder.__name__} is a class. Pass an object, {self.encoder.__name__}(...)."
            )
        self._check_layers_and_start()
        if self.pairs == "all" and self.hard_fraction < 1:
            raise ValueError(
                f"hard_fraction={self.hard_fraction} chooses among drawn pairs, but pairs='all'. "
                "Pass a number of pairs, or hard_fraction=1.0."
            )
        if self._exact and self.hard_fraction < 1:
            raise ValueError(
                f"hard_fraction={self.hard_fraction} is for head='linear': head='ridge' is solved for all pairs, "
                "of which the hardest are no sample. Pass hard_fraction=1.0."
            )
        if self.pairs == "all" and self.batch_size == 1:
            raise ValueError("batch_size=1, but a batch of samples needs two to have a pair. Pass 2 or more, or None.")
        if self.optimizer == "lbfgs" and (self.pairs != "all" or self.batch_size is not None or self._dropout):
            raise ValueError(
                "optimizer='lbfgs' needs the same loss at every step: pairs='all', batch_size=None and dropout=0. "
                "Use optimizer='adam' for anything drawn."
            )
        if self.learn_scale and self._exact:
            raise ValueError(
                "learn_scale=True is for head='linear': head='ridge' always solves for scale and offset. "
                "Pass learn_scale=False."
            )
        if self._exact and self._dropout and len(self.hidden_layer_sizes) == 1:
            raise ValueError(
                f"dropout={self.dropout} is for layers before the features, but hidden_layer_sizes="
                f"{self.hidden_layer_sizes!r} has none under head='ridge'. Name two layers, or pass dropout=0."
            )
        if self._exact and self.encoder == "mlp" and not self.hidden_layer_sizes:
            raise ValueError(
                "hidden_layer_sizes=() leaves encoder='mlp' no features for head='ridge'. Name one layer at least."
            )

    @property
    def _sums_suffice(self) -> bool:
        """Whether a step needs nothing but sums over all samples."""
        return (
            self.pairs == "all"
            and self.batch_size is None
            and self.checkpoint is None
            and not isinstance(self.relation, Relation)
        )

    def _check_in_parts(self, X: Any) -> None:
        if self.checkpoint is not None:
            raise ValueError("checkpoint keeps the state of a fit to samples of one process in memory. Pass None.")
        if (isinstance(X, Chunks) or is_dask(X)) and (self.batch_size is not None or self.pairs != "all"):
            raise ValueError(
                f"batch_size={self.batch_size} and pairs={self.pairs!r} would go through all chunks for every step. "
                "Pass None and 'all', with chunk_size for less memory, or use partial_fit chunk by chunk."
            )

    @property
    def _dropout(self) -> float:
        return self.dropout if self.encoder == "mlp" else 0.0

    @property
    def _auto(self) -> bool:
        return isinstance(self.relation, str) and self.relation == "auto"

    @property
    def _exact(self) -> bool:
        return self.head == "ridge"

    def _n_epochs(self) -> int:
        if self.max_epochs != "auto":
            return self.max_epochs
        chosen = self._exact and not isinstance(self.encoder, nn.Module | MLP) and self.encoder != "mlp"
        return 0 if chosen else _MAX_EPOCHS

    def _schedule(self, seed: int) -> Schedule:
        return Schedule(
            n_pairs=None if self.pairs == "all" else self.pairs,
            batch_size=self.batch_size,
            chunk_size=self.chunk_size,
            hard_fraction=self.hard_fraction,
            weight_decay=self.weight_decay,
            mixed_precision=self.mixed_precision,
            seed=seed,
        )

    def _split(self, whole: Part, seed: int) -> tuple[Part, Part]:
        training, validation = (places.to(whole.places.device) for places in self._split_places(whole.n_samples, seed))
        return whole.some(training), whole.some(validation)

    def _split_places(self, n: int, seed: int) -> tuple[Tensor, Tensor]:
        """Places of training and of validation samples among n, each in order."""
        n_validation = max(1, round(self.validation_fraction * n))
        fewest = 2 if self.criterion == "loss" else 1
        if n_validation < fewest or n - n_validation < 2:
            raise ValueError(
                f"validation_fraction={self.validation_fraction} of {n} samples leaves {n - n_validation} for training "
                f"and {n_validation} for validation; 2 and {fewest} are needed. "
                "Pass more samples, another fraction, X_val and y_val, or early_stopping=False."
            )
        order = torch.from_numpy(np.random.default_rng(seed).permutation(n))
        return order[n_validation:].sort().values, order[:n_validation].sort().values

    def _new_encoder(self, part: Part, generator: torch.Generator) -> nn.Module:
        if isinstance(self.encoder, nn.Module):
            return self._copied_module().to(part.weights.device)
        n_features = self.n_components or _N_COMPONENTS
        specs: dict[str, EncoderSpec] = {
            "laplacian": Laplacian() if self._exact else Laplacian(n_features),
            "tanh": Tanh() if self._exact else Tanh(n_features),
            "mlp": MLP(
                (*self.hidden_layer_sizes, *([] if self._exact else [n_features])),
                self.activation,
                self.normalize,
                self.dropout,
            ),
        }
        spec = specs[self.encoder] if isinstance(self.encoder, str) else self.encoder
        return spec.build(part.read(slice(None), part.float_dtype), part.weights, generator)

    def _width(self, encoder: nn.Module, part: Part) -> int:
        """Number of features of the encoder, of which the embedding can have no more."""
        device, dtype = part.places.device, dtype_of(encoder)
        samples = part.read(torch.arange(2, device=device), dtype)
        kept = samples.clone()
        width = embed(encoder, alike(samples, device), dtype).shape[1]
        if not torch.equal(samples, kept):
            raise ValueError("The encoder writes into its input, which would be your samples. Use inplace=False in it.")
        if self.n_components is not None and (self.n_components > width if self._exact else self.n_components != width):
            raise ValueError(
                f"n_components={self.n_components}, but the encoder has {width} features. Pass "
                + ("at most that, or None." if self._exact else "that number, or None, for head='linear'.")
            )
        return width

    def _rank(self, width: int) -> int:
        return (self.n_components or min(_N_COMPONENTS, width)) if self._exact else width

    def _new_head(self, encoder: nn.Module, width: int, device: torch.device) -> Head:
        return RidgeHead(self.alpha) if self._exact else LinearHead(width, self.learn_scale, device, dtype_of(encoder))

    def _keeps(self, head: Head) -> bool:
        """Whether what a head has learned is what the parameters ask for; an exact head has learned nothing."""
        return isinstance(head, LinearHead) and not self._exact and head.learn_scale == self.learn_scale

    def _new_optimizer(self, alignment: Alignment) -> Optimizer | None:
        """Optimiser of what can be trained, if there is anything."""
        parameters = [parameter for parameter in alignment.parameters() if parameter.requires_grad]
        rate = self.learning_rate or _LEARNING_RATES[self.optimizer]
        return OPTIMIZERS[self.optimizer](parameters, rate) if parameters else None

    def _state_of(self, optimizer: Optimizer | None) -> tuple[str, dict] | None:
        return (self.optimizer, optimizer.state_dict()) if optimizer else None

    def _criterion(self, alignment: Alignment, validation: Any) -> Callable[[], float] | None:
        if validation is None:
            return None
        criteria = {"neighbors": alignment.neighbour_error, "loss": alignment.alignment_error}
        return partial(criteria[self.criterion], validation)

    def _attributes(self, alignment: Alignment, state: _State, X: Any) -> dict[str, Any]:
        """What `transform` needs, as if training on samples like X ended here."""
        alignment.solve()
        head, dtype = alignment.head, dtype_of(alignment.encoder)
        return {
            "_state": state,
            "encoder_": nn.Sequential(alignment.encoder, head.layer(alignment.n_components, dtype)).eval(),
            "components_": like(head.factor(alignment.n_components).to(dtype), X),
            "offset_": float(head.offset.detach()),
        }

    def _warn_of(self, head: Head, stacklevel: int) -> None:
        if not isinstance(head, RidgeHead):
            return
        if not head.converged:
            warn(
                f"The ridge head stopped at a relative residual of {head.residual:.1e}. Raise alpha.",
                ConvergenceWarning,
                stacklevel=stacklevel,
            )
        if not head.factor(1).any():
            warn(
                "The learned metric is 0: no direction of the features goes along with differences of the targets. "
                "All distances will be 0.",
                UserWarning,
                stacklevel=stacklevel,
            )

    @property
    def _example(self) -> Tensor:
        return self._state.example

    @property
    def _n_features_out(self) -> int:
        return len(self.components_)


def _look_places(n_samples: int, seed: int) -> tuple[Tensor | None, torch.Generator]:
    """Places of the samples that an encoder is chosen from, in order, None for all; and what is drawn with."""
    generator = torch.Generator().manual_seed(seed)
    if n_samples <= _N_LANDMARKS:
        return None, generator
    return torch.randperm(n_samples, generator=generator)[:_N_LANDMARKS].sort().values, generator
