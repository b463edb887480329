"""Deep relational metric learning."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.optim import Optimizer

from skrelmetric._alignment.problem import targets_of_fit
from skrelmetric._data.loaded import loaded
from skrelmetric._data.read import Data
from skrelmetric._data.targets import Targets
from skrelmetric._drml.ensemble import ASSIGNMENTS, RECONSTRUCTIONS, SCORES
from skrelmetric._drml.model import Architecture, Encoder
from skrelmetric._drml.objective import Weights, objective_of
from skrelmetric._drml.supervision import Supervision
from skrelmetric._drml.training import Chosen, Split, Training, split
from skrelmetric._interop.dask import is_dask
from skrelmetric._interop.device_lock import exclusive
from skrelmetric._interop.sklearn import (
    HasMethods,
    Interval,
    StrOptions,
    fit_context,
    warn_caller,
    with_callbacks,
)
from skrelmetric._interop.torch import TINY, like, resolve_device
from skrelmetric._training.batches import of_pairs, per_class, shuffled
from skrelmetric._training.callbacks import EpochCallbacks
from skrelmetric._training.encode import dtype_of
from skrelmetric._training.loop import new_optimizer
from skrelmetric._training.shards import agreed
from skrelmetric._training.subsets import landmark_places, landmarks
from skrelmetric._training.transformer import ModuleTransformer
from skrelmetric.chunks import Chunks
from skrelmetric.distributed import Ranks, current_ranks
from skrelmetric.losses import LOSSES
from skrelmetric.relations import GivenPairs

__all__ = ["DRMLTransformer"]


class DRMLTransformer(ModuleTransformer):
    """Deep relational metric learning: an ensemble of features, and an embedding inferred from their relations.

    A trunk turns samples into features, K branches turn those into nodes, and each branch is trained by a loss of
    metric learning on the samples that its decoder reconstructs best. Messages between the nodes, weighted by learned
    relations, give the embedding, which has a loss of its own.

    Parameters
    ----------
    n_components : int, default=128
        Width E of the embedding, a multiple of `n_branches`.
    n_branches : int, default=4
        Number K of branches; no more than components are taken.
    hidden_layer_sizes : tuple of int, default=()
        Units of the hidden layers of a perceptron for a trunk; () takes the samples as they are.
    activation : {"tanh", "relu", "gelu", "logistic", "identity"}, default="relu"
        Activation of its layers.
    trunk : nn.Module or None, default=None
        Module that maps samples, of any shape, to features of shape (n, D), in place of the perceptron. It is copied,
        and trained from the weights that it has.
    init : {"pca", "random"}, default="pca"
        What the nodes are before training: the principal components of the trunk features of up to 2,000 samples,
        shared out among the branches in turn, or drawn at random.
    loss : str, object with ``build``, or callable, default="proxy_anchor"
        Loss of the branches: a name of :data:`skrelmetric.losses.LOSSES`, one of its classes with parameters of your
        own, or a callable ``loss(Z, y)`` such as a loss of pytorch-metric-learning, copied for each branch. It gets
        nodes of width n_components / n_branches and their targets; if it is a module, its parameters are trained.
    embedding_loss : str, object with ``build``, callable or None, default=None
        Loss of the embedding, of width n_components; None takes that of the branches.
    relational : bool, default=True
        Whether to learn branches and relations. Without them one affine map of the trunk features is trained by
        `embedding_loss`: the baseline with the same trunk and the same initial weights.
    relation : str, callable or object, default="auto"
        What tells similar pairs from dissimilar ones, for losses of pairs; see
        :func:`skrelmetric.relations.make_relation`. "auto" is "discrete" for classes, "jaccard" for label sets and
        "l1" for real targets. A :class:`~skrelmetric.relations.GivenPairs` needs no targets.
    pair_thresholds : "auto" or pair of float, default="auto"
        Largest relation of a similar pair, and least of a dissimilar one. "auto" is 0 and 1 for classes and given
        pairs, 0.5 and 0.8 for "jaccard", and otherwise the relations that a tenth and a half of all pairs do not
        exceed.
    ensemble_weight : float, default=1.0
        Weight of the sum of the losses of the branches, at least 0.
    reconstruction_weight : float, default=0.1
        Weight lambda_1 of the error of the decoders, at least 0.
    embedding_weight : float, default=10.0
        Weight lambda_2 of the loss of the embedding, at least 0.
    split_features : bool, default=False
        Whether each branch sees and decodes a chunk of the trunk features, as in the authors' code, or all of them.
    stop_gradient : bool, default=False
        Whether the loss of the embedding leaves nodes and trunk alone (DRML, section 3.3).
    normalize_nodes : bool, default=True
        Whether nodes are divided by their norm, as in the authors' code.
    reconstruction : {"l2", "mse"}, default="l2"
        Error of a decoder: the norm of its residual (DRML, Eq. 2), or its mean square.
    score_activation : {"relu", "softmax"}, default="relu"
        What makes weights of the scores of relations.
    assignment : {"argmin", "balanced", "all"}, default="argmin"
        Which branch a sample trains: the one that decodes it best, the same with equally many samples for each, or all.
    output : {"nodes", "embedding"}, default="nodes"
        What `transform` returns: the nodes side by side, which retrieve unseen classes better, or the embedding that
        is inferred from them (DRML, section 3.3).
    normalize : bool, default=True
        Whether it is divided by its norm; the losses compare directions.
    batch_size : int, default=80
        Samples of a step, at least 2.
    samples_per_class : int or None, default=None
        Samples of each class in a batch, at least 2; the classes are drawn. None takes batches of a shuffled epoch.
    optimizer : {"adam", "adamw", "sgd"}, default="adamw"
        Optimiser.
    learning_rate : float, default=0.001
        Step size of all but trunk and losses.
    trunk_learning_rate : float or None, default=None
        Step size of the trunk; None is `learning_rate`.
    loss_learning_rate : float or None, default=None
        Step size of the proxies, and of whatever else the losses learn; None is ten times `learning_rate`.
    weight_decay : float, default=0.0001
        Decay of the weights, as the optimiser has it, at least 0.
    max_epochs : int, default=50
        Most epochs, at least 1.
    tol : float, default=1e-4
        An epoch counts as an improvement if it lowers the criterion, or without validation the loss, by this fraction.
    early_stopping : bool, default=True
        Whether to judge each epoch on samples held out, stop when that no longer improves, and return to the best
        weights, which may be those before training.
    validation_fraction : float, default=0.1
        Fraction of the samples, classes or pairs held out, between 0 and 1; two classes at least.
    hold_out : {"samples", "classes", "pairs"}, default="samples"
        What is held out. Samples are judged by the mean relation to their ten nearest training samples. Whole classes
        are judged by the mean average precision at R among themselves, which says how unseen classes will be retrieved.
        Of given pairs, which need "pairs", some of both kinds are judged by how often a dissimilar one is nearer than a
        similar one.
    n_iter_no_change : int, default=10
        Epochs without improvement after which training stops.
    warm_start : bool, default=False
        Whether `fit` starts from the weights of the last fit, trunk included; losses start anew.
    checkpoint : str, Path or None, default=None
        Folder where the state is kept after every epoch. A fit of the same parameters to the same data takes it up, and
        ends as if it had not been interrupted, as far as a callable loss keeps its state in a ``state_dict``. Without
        a `random_state` the seed then comes from parameters and data. Data sets are the same if they are of one class,
        length and shape and have the same targets.
    mixed_precision : bool, default=False
        Whether the trunk computes in bfloat16 where torch deems it safe.
    verbose : bool, default=False
        Whether to show the progress of the epochs as a bar, on standard output, which needs rich.
    callbacks : callable, list of callables or None, default=None
        What is called after every epoch of `fit` with a :class:`skrelmetric.callbacks.Epoch`, and stops the training by
        returning True; :class:`skrelmetric.callbacks.EpochLog` writes a log. Those of scikit-learn go to
        `set_callbacks`.
    device : str or torch.device, default="auto"
        Where to compute. "auto" stays where the samples live: on the CPU for numpy arrays.
    random_state : int, RandomState or None, default=None
        Seed of all that is drawn, in any thread. torch's own generators are left as they are; modules of yours draw
        from them, one fit at a time.

    Attributes
    ----------
    encoder_ : torch.nn.Module
        Map from samples to what `transform` returns, in evaluation mode.
    n_iter_ : int
        Epochs of training.
    best_epoch_ : int
        Epoch whose weights were kept, 0 for those before training; where epochs were judged, and none was better than
        these, a ConvergenceWarning says so.
    loss_curve_ : list of float
        Mean loss of the steps of each epoch.
    validation_curve_ : list of float
        Criterion before training and after each epoch, the lower the better; empty without validation.
    n_features_in_ : int
        Number of features; only where samples are rows of features.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features, where `X` has string names.

    See Also
    --------
    skrelmetric.HRAMLTransformer : Aligns distances with a relation of the targets over all pairs.

    Notes
    -----
    ``DRMLTransformer(**DRMLTransformer.PUBLISHED)`` is the method as the paper states it, and ``RELEASED`` as its
    authors' code has it; they differ in what the branches see and where gradients stop.

    *Weights.* Losses over pairs and proxies are not sums over samples: there is no ``sample_weight``.

    *Targets.* Losses of pairs take pairs whose relation is small for similar and large for dissimilar ones; losses of
    proxies have a proxy for each class, or for each label of a label set or a distribution.

    *Start.* With ``init="pca"`` the embedding before training has the directions of the trunk features less their mean,
    in as many principal components as fit, and early stopping returns to it where no epoch is better. On small classes
    of many features that is better than a random start, on images with a trunk from scratch as good.

    *Directions.* The losses compare directions alone, and so does the embedding with ``normalize=True``: of a few
    features directions are too little, and :class:`RAMLLinear` is the better choice.

    *Given pairs.* With ``relation=GivenPairs(similar, dissimilar, n_samples=len(X))`` an epoch has each pair once: its
    batches are the samples of some pairs, those of one sample together, and samples without a pair are not trained on.
    Losses of pairs alone then need no `y`: "contrastive", "multi_similarity" and "ranked_list" learn from any pairs,
    others from samples that have a similar and a dissimilar one.

    References
    ----------
    .. [1] W. Zheng, B. Zhang, J. Lu and J. Zhou, "Deep relational metric learning", ICCV 2021.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skrelmetric import DRMLTransformer
    >>> X, y = load_digits(return_X_y=True)
    >>> model = DRMLTransformer(16, max_epochs=2, random_state=0).fit(X / 16, y)
    >>> model.transform(X / 16).shape
    (1797, 16)
    """

    PUBLISHED = {
        "init": "random",
        "stop_gradient": True,
        "normalize_nodes": False,
        "output": "embedding",
        "normalize": False,
        "batch_size": 80,
        "trunk_learning_rate": 1e-5,
        "learning_rate": 1e-4,
    }
    """Parameters of the method as the paper states it (DRML, sections 3 and 4.2); it fine-tunes a trained trunk."""

    RELEASED = {
        "init": "random",
        "split_features": True,
        "reconstruction": "mse",
        "reconstruction_weight": 1.0,
        "output": "embedding",
        "batch_size": 180,
        "trunk_learning_rate": 5e-5,
        "learning_rate": 1e-3,
        "loss_learning_rate": 1e-2,
    }
    """Parameters of the authors' code, but for its schedule: steps halved every ten epochs, the trunk fixed in one."""

    _module_parameter = "trunk"
    _namespace_attribute = "_example"
    _modules_of_state = ("trunk", "loss", "embedding_loss", "encoder_", "_example")

    _parameter_constraints: dict = {
        **ModuleTransformer._parameter_constraints,
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "n_branches": [Interval(Integral, 1, None, closed="left")],
        "trunk": [nn.Module, None],
        "init": [StrOptions({"pca", "random"})],
        "loss": [StrOptions(set(LOSSES)), callable, HasMethods("build")],
        "embedding_loss": [StrOptions(set(LOSSES)), callable, HasMethods("build"), None],
        "relational": ["boolean"],
        "relation": [str, callable, HasMethods("bind")],
        "pair_thresholds": [StrOptions({"auto"}), tuple, list],
        "ensemble_weight": [Interval(Real, 0, None, closed="left")],
        "reconstruction_weight": [Interval(Real, 0, None, closed="left")],
        "embedding_weight": [Interval(Real, 0, None, closed="left")],
        "split_features": ["boolean"],
        "stop_gradient": ["boolean"],
        "normalize_nodes": ["boolean"],
        "reconstruction": [StrOptions(set(RECONSTRUCTIONS))],
        "score_activation": [StrOptions(set(SCORES))],
        "assignment": [StrOptions(set(ASSIGNMENTS))],
        "output": [StrOptions({"embedding", "nodes"})],
        "normalize": ["boolean"],
        "batch_size": [Interval(Integral, 2, None, closed="left")],
        "samples_per_class": [Interval(Integral, 2, None, closed="left"), None],
        "optimizer": [StrOptions({"adam", "adamw", "sgd"})],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "trunk_learning_rate": [Interval(Real, 0, None, closed="neither"), None],
        "loss_learning_rate": [Interval(Real, 0, None, closed="neither"), None],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "max_epochs": [Interval(Integral, 1, None, closed="left")],
        "hold_out": [StrOptions({"samples", "classes", "pairs"})],
    }

    def __init__(
        self,
        n_components=128,
        *,
        n_branches=4,
        hidden_layer_sizes=(),
        activation="relu",
        trunk=None,
        init="pca",
        loss="proxy_anchor",
        embedding_loss=None,
        relational=True,
        relation="auto",
        pair_thresholds="auto",
        ensemble_weight=1.0,
        reconstruction_weight=0.1,
        embedding_weight=10.0,
        split_features=False,
        stop_gradient=False,
        normalize_nodes=True,
        reconstruction="l2",
        score_activation="relu",
        assignment="argmin",
        output="nodes",
        normalize=True,
        batch_size=80,
        samples_per_class=None,
        optimizer="adamw",
        learning_rate=1e-3,
        trunk_learning_rate=None,
        loss_learning_rate=None,
        weight_decay=1e-4,
        max_epochs=50,
        tol=1e-4,
        early_stopping=True,
        validation_fraction=0.1,
        hold_out="samples",
        n_iter_no_change=10,
        warm_start=False,
        checkpoint=None,
        mixed_precision=False,
        verbose=False,
        callbacks=None,
        device="auto",
        random_state=None,
    ):
        self.n_components = n_components
        self.n_branches = n_branches
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.trunk = trunk
        self.init = init
        self.loss = loss
        self.embedding_loss = embedding_loss
        self.relational = relational
        self.relation = relation
        self.pair_thresholds = pair_thresholds
        self.ensemble_weight = ensemble_weight
        self.reconstruction_weight = reconstruction_weight
        self.embedding_weight = embedding_weight
        self.split_features = split_features
        self.stop_gradient = stop_gradient
        self.normalize_nodes = normalize_nodes
        self.reconstruction = reconstruction
        self.score_activation = score_activation
        self.assignment = assignment
        self.output = output
        self.normalize = normalize
        self.batch_size = batch_size
        self.samples_per_class = samples_per_class
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.trunk_learning_rate = trunk_learning_rate
        self.loss_learning_rate = loss_learning_rate
        self.weight_decay = weight_decay
        self.max_epochs = max_epochs
        self.tol = tol
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.hold_out = hold_out
        self.n_iter_no_change = n_iter_no_change
        self.warm_start = warm_start
        self.checkpoint = checkpoint
        self.mixed_precision = mixed_precision
        self.verbose = verbose
        self.callbacks = callbacks
        self.device = device
        self.random_state = random_state

    @with_callbacks
    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: ArrayLike | None = None, *, X_val: Any = None, y_val: ArrayLike | None = None) -> Self:
        """Learn the embedding.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features), or of any shape for a torch module
            Samples, at least two; within :func:`skrelmetric.distributed.shards`, those of this process, of which the
            trunk sees those of each global batch. The targets of all go to every process. Or a map-style data set, or
            a DataLoader over one, whose samples are loaded when they are needed: see Notes.
        y : array-like or sparse matrix of shape (n_samples,) or (n_samples, n_outputs), default=None
            Classes, a 0/1 label indicator, label distributions or numbers. NaN where one of several labels is missing;
            -1 is a class like any other. None takes the second element of each item of a data set, and nothing where
            `relation` holds given pairs, and losses compare pairs alone.
        X_val : array-like, sparse matrix, data set or DataLoader, default=None
            Samples to judge epochs on, in place of some of the training samples; the same in every process.
        y_val : array-like or sparse matrix, default=None
            Their targets; with ``hold_out="classes"`` these may be classes that `y` has not. None for a data set takes
            the second element of each item.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If samples are not finite or cannot be squared, of unfitting shapes or too few, if the target suits neither
            the loss nor the relation, if parameters exclude one another, or a trunk returns anything but features; if
            items of a data set are no arrays or tensors of one shape, or a DataLoader has an order of its own.
        FloatingPointError
            If the training diverges.

        Notes
        -----
        *Data sets* are what has a length and items but is no array or list, as :class:`torch.utils.data.Dataset` has
        them. Items are ``(x, y)``, or ``x`` where `y` is passed; without `y` all are loaded once more, for their
        targets. Nothing is in memory but the batches that are being loaded. A DataLoader lends its data set,
        ``collate_fn`` and worker processes, which are kept for the time of the fit; batches and their order are those
        of `batch_size` and `samples_per_class`. What items draw of torch, to augment images for example, depends on
        `random_state`, the epoch and the place of the item alone, not on the workers. Samples that are held out are
        augmented as well; pass `X_val` to judge by others.
        """
        with (
            current_ranks().together() as ranks,
            loaded(X, self._options) as samples,
            loaded(X_val, self._options, "X_val") as others,
            exclusive(resolve_device(self.device, samples)) as device,
        ):
            self._check_parameters(X, ranks)
            pairs_alone = y is None and isinstance(self.relation, GivenPairs)
            targets = targets_of_fit(samples, y, self.relation)
            data = self._read(samples, targets, ranks=ranks, device=device, streams=False)
            given = self._read_validation(others, y_val, data)
            seed, checkpoint = self._begin(data, given)
            unit = self.hold_out if given or self.early_stopping else None
            options = {"unit": unit, "fraction": self.validation_fraction, "seed": seed}
            chosen = split(data, given, self.relation, **options)
            encoder, width, example = self._start(data, seed)
            trainer = self._trainer(encoder, width, chosen, data.targets, seed, pairs_alone)
            criterion = None if chosen.validation is None else partial(chosen.validation.error, encoder)
            callbacks = EpochCallbacks(self, self.max_epochs, X, y)
            fitted = partial(self._fitted, encoder, example, data)
            self._train(trainer, self._new_optimizer(trainer), criterion, checkpoint, callbacks, fitted)
            callbacks.fit_ended(fitted)
            self.encoder_, self._example = fitted().values()
        return self

    @property
    def _architecture(self) -> Architecture:
        return Architecture(**{name: getattr(self, name) for name in Architecture._fields})

    def _check_parameters(self, X: Any, ranks: Ranks) -> None:
        if isinstance(X, Chunks) or is_dask(X):
            raise ValueError(
                f"Batches are drawn among all samples, but X comes in {type(X).__name__}. Pass an array, which may be "
                "a memory map: X.compute() of a Dask array."
            )
        self._architecture.check()
        self._check_start(X, ranks)
        if self.samples_per_class is not None and 2 * self.samples_per_class > self.batch_size:
            raise ValueError(
                f"samples_per_class={self.samples_per_class} leaves no room for two classes in "
                f"batch_size={self.batch_size}. Pass {self.batch_size // 2} at most, or larger batches."
            )
        for name in ("loss", "embedding_loss"):
            if isinstance(getattr(self, name), type):
                raise ValueError(f"{name}={getattr(self, name).__name__} is a class. Pass an object.")

    def _start(self, data: Data, seed: int) -> tuple[Encoder, int, Tensor]:
        """Encoder to begin with, the same in every process, the width of its trunk, and samples of zeros."""
        samples, generator = landmarks(data, seed, most=2)[0], torch.Generator().manual_seed(seed)
        example, ranks = samples.example(), data.partitions.ranks
        if self.warm_start and hasattr(self, "encoder_"):
            self._check_same_samples(example)
            encoder, width = self._architecture.rebuild(self.encoder_, samples)
            return agreed(encoder, ranks, data.device), width, example
        encoder, width = self._architecture.build(samples, generator)
        encoder = agreed(encoder, ranks, data.device)
        if self.init == "pca":
            places = landmark_places(data, torch.Generator().manual_seed(seed)).to(data.device)
            features = Chosen(data.partitions, places).features(encoder.trunk, width, dtype_of(encoder.head))
            encoder.head.start_at_principal_components(features)
            _warn_of_lost_directions(features, encoder.head.embed(features, "nodes"))
            encoder.head = agreed(encoder.head, ranks, data.device)  # other machines round otherwise
        return encoder, width, example

    def _trainer(
        self, encoder: Encoder, width: int, chosen: Split, targets: Targets, seed: int, pairs_alone: bool
    ) -> Training:
        """Training of the encoder on some of the samples, given the targets of all."""
        places = chosen.training.places
        supervision = Supervision(
            targets[places], chosen.relation, self.pair_thresholds, places.device, pairs_alone=pairs_alone
        )
        weights = Weights(self.ensemble_weight, self.reconstruction_weight, self.embedding_weight)
        losses, generator = (self.loss, self.embedding_loss), torch.Generator().manual_seed(seed + 1)
        objective = objective_of(encoder.head, *losses, supervision, weights, self.assignment, generator)
        batches = self._batches(len(places), supervision, chosen.relation)
        return Training(encoder, objective, chosen.training, width, batches, self.mixed_precision, seed)

    def _batches(
        self, n_samples: int, supervision: Supervision, relation: Any
    ) -> Callable[[np.random.Generator], Iterator]:
        if isinstance(relation, GivenPairs):
            if self.samples_per_class is not None:
                raise ValueError("samples_per_class draws classes, but batches hold given pairs. Pass None.")
            return partial(of_pairs, np.concatenate([relation.similar, relation.dissimilar]), self.batch_size)
        if self.samples_per_class is None:
            return partial(shuffled, n_samples, self.batch_size)
        if supervision.classes is None:
            raise ValueError("samples_per_class needs one class a sample. Pass None for other targets.")
        return partial(per_class, supervision.classes.cpu().numpy(), self.batch_size, self.samples_per_class)

    def _new_optimizer(self, trainer: Training) -> Optimizer:
        rates = {
            "trunk": self.trunk_learning_rate or self.learning_rate,
            "head": self.learning_rate,
            "loss": self.loss_learning_rate or 10 * self.learning_rate,
        }
        groups = [{"params": group, "lr": rates[name]} for name, group in trainer.groups().items() if group]
        options = {"lr": self.learning_rate, "weight_decay": self.weight_decay, "fused": True}
        return new_optimizer(self.optimizer, groups, **options)

    def _fitted(self, encoder: Encoder, example: Tensor, data: Data) -> dict[str, Any]:
        """Attributes that `transform` needs, as if training ended here."""
        return {"encoder_": encoder.eval(), "_example": like(example, data.given)}

    @property
    def _n_features_out(self) -> int:
        return self.encoder_.n_components


def _warn_of_lost_directions(features: Tensor, nodes: Tensor) -> None:
    """Warn of trunk features that differ, but so little that their nodes count as 0, of which nothing is learned."""
    if (features != features[0]).any() and not (nodes.norm(dim=1) > TINY).any():
        deviation = float((features - features.mean(0)).abs().max())
        warn_caller(
            f"Trunk features differ by {deviation:.1e} at most, too little for directions, so that the embedding is 0. "
            "Scale the samples, for example by StandardScaler.",
            UserWarning,
        )
