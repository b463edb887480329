"""Objective of DRML: discriminative losses of each branch and of the embedding, and the decoders' error."""

from collections.abc import Callable, Collection
from copy import deepcopy
from typing import Any, NamedTuple

from torch import Generator, Tensor, nn

from skrelmetric._drml.ensemble import ASSIGNMENTS, PlainHead, RelationalEnsemble
from skrelmetric._drml.supervision import Supervision
from skrelmetric._interop.notes import noted
from skrelmetric._interop.randomness import drawing
from skrelmetric.losses import LOSSES, Batch

__all__ = ["Discrimination", "Losses", "OwnLoss", "PlainDiscrimination", "Weights", "objective_of"]

_FIELDS = {"pairs", "labels", "targets"}  # of a batch


class Weights(NamedTuple):
    """Weights of the losses in the objective (DRML, Eq. 10).

    Attributes
    ----------
    ensemble : float
        Weight of J_ensem, the sum over branches of their losses.
    reconstruction : float
        Weight lambda_1 of J_recon.
    embedding : float
        Weight lambda_2 of J_emb.
    """

    ensemble: float = 1.0
    reconstruction: float = 0.1
    embedding: float = 10.0


class Losses(NamedTuple):
    """Losses of a batch.

    Attributes
    ----------
    total : Tensor
        Weighted sum J of the others.
    ensemble : Tensor
        Sum over branches of the loss of the samples that each was assigned (DRML, Eq. 4).
    reconstruction : Tensor
        Mean error of the decoders over samples and branches (DRML, Eq. 2); it reaches the decoders alone.
    embedding : Tensor
        Loss of the relation-aware embedding.
    assigned : Tensor of bool of shape (B, K)
        Which branches each sample trained (DRML, Eq. 3).
    """

    total: Tensor
    ensemble: Tensor
    reconstruction: Tensor
    embedding: Tensor
    assigned: Tensor


class Discrimination(nn.Module):
    """The objective of DRML over batches of trunk features (DRML, Eq. 10).

    Parameters
    ----------
    ensemble : RelationalEnsemble
        Branches, decoders and relations.
    branch_loss : nn.Module
        Loss J_m of the nodes, for as many groups as there are branches; ``branch_loss(Z, batch, generator)``.
    embedding_loss : nn.Module
        The same for the embedding, and one group.
    supervision : Supervision
        Targets of the training samples.
    weights : Weights, default=Weights()
        Weights of the losses.
    assignment : {"argmin", "balanced", "all"}, default="argmin"
        How samples are given to branches: to the one that decodes best, the same with equally many for all, or to all.
    uses : collection of str, default=("pairs", "labels")
        What of the targets the losses need.
    """

    def __init__(
        self,
        ensemble: RelationalEnsemble,
        branch_loss: nn.Module,
        embedding_loss: nn.Module,
        supervision: Supervision,
        weights: Weights = Weights(),  # noqa: B008  # immutable
        assignment: str = "argmin",
        uses: Collection[str] = ("pairs", "labels"),
    ):
        super().__init__()
        self.ensemble, self.branch_loss, self.embedding_loss = ensemble, branch_loss, embedding_loss
        self.supervision, self.weights, self.assignment, self.uses = supervision, weights, assignment, uses

    def forward(self, y: Tensor, rows: Tensor, generator: Generator) -> Losses:
        """Losses of trunk features of shape (B, D) of some training samples.

        Parameters
        ----------
        y : Tensor of shape (B, D)
            Trunk features.
        rows : Tensor of int64 of shape (B,)
            Which samples they are of.
        generator : torch.Generator
            Source of what the losses draw.

        Returns
        -------
        Losses
        """
        nodes, _, _, embedding = self.ensemble(y)
        errors = self.ensemble.errors(y, nodes)
        assigned = ASSIGNMENTS[self.assignment](errors.detach())
        batch = self.supervision.batch(rows, uses=self.uses)
        # Where a sample trains one branch, these are B nodes for all branches together, in the order of the samples.
        samples, branches = assigned.nonzero(as_tuple=True)
        n_branches = self.ensemble.n_branches
        own = (batch if len(samples) == len(y) else batch.of(samples)).divided(branches, n_branches)
        chosen = nodes.flatten(0, 1).index_select(0, samples * n_branches + branches)
        of_branches = _checked(self.branch_loss(chosen, own, generator), chosen)
        of_embedding = _checked(self.embedding_loss(embedding, batch, generator), embedding)
        reconstruction = errors.mean() if len(y) else errors.sum()
        total = (
            self.weights.ensemble * of_branches
            + self.weights.reconstruction * reconstruction
            + self.weights.embedding * of_embedding
        )
        return Losses(total, of_branches, reconstruction, of_embedding, assigned)

    def total(self, y: Tensor, rows: Tensor, generator: Generator) -> Tensor:
        """Loss that is minimised."""
        return self(y, rows, generator).total


class PlainDiscrimination(nn.Module):
    """The loss that DRML is compared with: that of one embedding, without branches and relations.

    Parameters
    ----------
    head : PlainHead
        Map of trunk features to the embedding.
    embedding_loss, supervision, uses
        As :class:`Discrimination` has them.
    """

    def __init__(
        self,
        head: PlainHead,
        embedding_loss: nn.Module,
        supervision: Supervision,
        uses: Collection[str] = ("pairs", "labels"),
    ):
        super().__init__()
        self.head, self.embedding_loss = head, embedding_loss
        self.supervision, self.uses = supervision, uses

    def total(self, y: Tensor, rows: Tensor, generator: Generator) -> Tensor:
        """Loss of trunk features of shape (B, D) of some training samples."""
        batch = self.supervision.batch(rows, uses=self.uses)
        embedded = self.head.embed(y, "nodes")
        return _checked(self.embedding_loss(embedded, batch, generator), embedded)


class OwnLoss(nn.Module):
    """A callable of embeddings and targets, such as a loss of pytorch-metric-learning, for each group in turn.

    Parameters
    ----------
    losses : list of callable
        ``loss(Z, y)`` for each group: embeddings of shape (n, width) and, where the target is one class a sample, codes
        of shape (n,), or otherwise targets of shape (n, n_outputs), to a scalar. Groups without samples are left out.
    """

    def __init__(self, losses: list[Callable[[Tensor, Tensor], Tensor]]):
        super().__init__()
        self.losses = losses
        # No list of modules is steady for `drawing`: what others wrote may draw from torch's own generators.
        self.modules_of_losses = nn.ModuleList(loss for loss in losses if isinstance(loss, nn.Module))

    def forward(self, Z: Tensor, batch: Batch, generator: Generator) -> Tensor:
        """Sum of the losses of the groups."""
        if batch.targets is None:
            raise ValueError("A callable loss takes targets, but the batch has none.")
        total = 0 * Z.sum()
        for group in batch.groups.unique().tolist():
            own = batch.groups == group
            embedded, y = Z[own], batch.targets[own]
            with noted(f"The loss got Z of shape {tuple(embedded.shape)}, and y of shape {tuple(y.shape)}, {y.dtype}."):
                loss = self.losses[group](embedded, y)
            total = total + _checked(loss, Z)
        return total


def _checked(loss: Any, Z: Tensor) -> Tensor:
    """Loss of embeddings as one number.

    Raises
    ------
    ValueError
        If it is none, or would train nothing. A 0 without a gradient is that of a batch that has nothing to compare.
    """
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        what = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
        raise ValueError(f"The loss returned {what}. It must return one number, as a tensor.")
    if Z.requires_grad and not loss.requires_grad and loss != 0:
        raise ValueError(
            "The loss has no gradient, so that nothing would be learned. Compute it from Z by functions of torch, "
            "without detach(), item() or numpy."
        )
    return loss.squeeze()


def objective_of(
    head: Any,
    loss: Any,
    embedding_loss: Any,
    supervision: Supervision,
    weights: Weights,
    assignment: str,
    generator: Generator,
) -> Discrimination | PlainDiscrimination:
    """Objective of a head, with losses that are built for it: names, objects with ``build``, or callables.

    None for a loss of the embedding is that of the branches. The generator draws what the losses learn.
    """
    dtype = head.nodes.bias.dtype
    of_branches, of_embedding = (
        LOSSES[each] if isinstance(each, str) else each
        for each in (loss, loss if embedding_loss is None else embedding_loss)
    )

    def build(spec: Any, width: int, n_groups: int) -> nn.Module:
        if hasattr(spec, "build"):
            with drawing(spec, generator.initial_seed(), generator.device):  # layers of torch know no generator
                return spec.build(supervision.n_labels, width, n_groups, generator, dtype)
        return OwnLoss([deepcopy(spec) for _ in range(n_groups)]).to(dtype)

    relational, _, n_branches, width = head.layout
    uses = {use for each in ((of_branches, of_embedding) if relational else (of_embedding,)) for use in _uses(each)}
    supervision.check(uses)
    built = build(of_embedding, n_branches * width, 1)
    if not relational:
        return PlainDiscrimination(head, built, supervision, uses)
    return Discrimination(head, build(of_branches, width, n_branches), built, supervision, weights, assignment, uses)


def _uses(spec: Any) -> Collection[str]:
    """Fields of a batch that a loss reads.

    Raises
    ------
    ValueError
        If an object with ``build`` does not say so.
    """
    if not hasattr(spec, "build"):
        return {"targets"}
    uses = getattr(spec, "uses", None)
    if not isinstance(uses, set | frozenset) or not uses <= _FIELDS:
        raise ValueError(
            f"{type(spec).__name__}.uses is {uses!r}, but it must say what the loss reads of a batch: "
            "frozenset({'pairs'}), frozenset({'labels'}) or frozenset({'pairs', 'labels'})."
        )
    return uses
