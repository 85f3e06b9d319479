"""The pairwise sigmoid loss of a batch that is spread over several processes.

Every pair is a decision of its own, so the loss is a sum over blocks of (own images, another process's texts). Each
process keeps its images; the texts travel round a ring, one shard at a time, and each process adds up the blocks of its
own images (Zhai et al., 2023, "Sigmoid Loss for Language Image Pre-Training", section 3.3). No process ever holds more
than three shards of texts or more than one block of logits.

Letters in shapes: I images of one process (and as many texts), D dimension, W processes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from torch.autograd.function import once_differentiable

from siglip_ingest.errors import InvalidInputError
from siglip_ingest.siglip.training.loss import sigmoid_loss

_GRADIENT_TAG = 2  # texts have 0 and their ids 1


def ring_sigmoid_loss(
    image_embeds: Tensor,
    text_embeds: Tensor,
    logit_scale: Tensor,
    logit_bias: Tensor,
    match_ids: Tensor | None = None,
    *,
    group: dist.ProcessGroup | None = None,
) -> Tensor:
    """Sum -log sigmoid(z_ij * (t * x_i . y_j + b)) over own images i and everybody's texts j, divided by I.

    All processes must call it together, and `backward` together too. What to make of the result:

    - the mean over processes is `sigmoid_loss` of the whole batch;
    - `backward` gives every process the gradient of the *sum* over processes with regard to its own embeddings, other
      processes' blocks included. Averaged over processes, as DistributedDataParallel and FSDP average them, gradients
      of parameters are those of `sigmoid_loss` of the whole batch; nothing has to be rescaled.

    Args:
        image_embeds: x, this process's unit vectors (I, D); I is the same in all processes.
        text_embeds: y, unit vectors (I, D).
        logit_scale: t', the logarithm of t; one number, the same in all processes.
        logit_bias: b; one number, the same in all processes.
        match_ids: (I,) int64, an id of each pair: z_ij = +1 where image i and text j have the same, be it in different
            processes. Without it, a text belongs to its own image alone, as in the paper.
        group: The processes; by default all of them.

    Raises:
        InvalidInputError: If the shapes don't fit, or processes have different numbers of images.
    """
    count = len(image_embeds)
    if count != len(text_embeds):
        raise InvalidInputError(f"{count} images and {len(text_embeds)} texts are no pairs.")
    if match_ids is not None and tuple(match_ids.shape) != (count,):
        raise InvalidInputError(f"match_ids has the shape {tuple(match_ids.shape)}, expected ({count},).")
    ring = _Ring(group)
    if ring.size == 1:
        is_match = None if match_ids is None else match_ids[:, None] == match_ids
        return sigmoid_loss(image_embeds, text_embeds, logit_scale, logit_bias, is_match)
    _check_equal_counts(count, image_embeds.device, ring)
    if match_ids is None:
        match_ids = torch.arange(ring.rank * count, (ring.rank + 1) * count, device=image_embeds.device)
    inputs = (image_embeds, text_embeds, logit_scale, logit_bias, match_ids, ring)
    return _RingLoss.apply(*inputs)  # type: ignore[no-any-return,no-untyped-call]


class _Parcel(NamedTuple):
    """Tensors on their way from the previous process; `sent` are kept until they have left."""

    received: list[Tensor]
    sent: list[Tensor]
    works: list[Any]

    def wait(self) -> list[Tensor]:
        for work in self.works:
            work.wait()
        return self.received


class _Ring:
    """A process's place in a ring: it sends to the next one and receives from the previous one."""

    def __init__(self, group: dist.ProcessGroup | None) -> None:
        self.group = group
        is_alone = not dist.is_available() or not dist.is_initialized()
        self.rank = 0 if is_alone else dist.get_rank(group)
        self.size = 1 if is_alone else dist.get_world_size(group)

    def pass_on(self, *tensors: Tensor, first_tag: int = 0) -> _Parcel:
        """Start to send tensors to the next process, and to receive as many of the same shapes.

        Tags keep what is on its way at the same time apart, one for each tensor.
        """
        sent = [tensor.contiguous() for tensor in tensors]
        received = [torch.empty_like(tensor) for tensor in sent]
        following, previous = self._find((self.rank + 1) % self.size), self._find((self.rank - 1) % self.size)
        moves = [
            move
            for tag, (out, into) in enumerate(zip(sent, received, strict=True), first_tag)
            for move in (
                dist.P2POp(dist.isend, out, following, self.group, tag),
                dist.P2POp(dist.irecv, into, previous, self.group, tag),
            )
        ]
        return _Parcel(received, sent, dist.batch_isend_irecv(moves))

    def travel(self, *tensors: Tensor) -> Iterator[list[Tensor]]:
        """Yield every process's tensors once, one's own first; the next ones are on their way meanwhile."""
        current = list(tensors)
        for _ in range(self.size - 1):
            parcel = self.pass_on(*current)
            yield current
            current = parcel.wait()
        yield current

    def _find(self, rank: int) -> int:
        return rank if self.group is None else dist.get_global_rank(self.group, rank)


class _RingLoss(torch.autograd.Function):
    """The sum of a process's blocks. Blocks are computed anew for the gradient, so that none has to be kept."""

    @staticmethod
    def forward(
        ctx: Any, images: Tensor, texts: Tensor, logit_scale: Tensor, logit_bias: Tensor, ids: Tensor, ring: _Ring
    ) -> Tensor:
        ctx.save_for_backward(images, texts, logit_scale, logit_bias, ids)
        ctx.ring = ring
        total = images.new_zeros(())
        for other_texts, other_ids in ring.travel(texts, ids):
            products = images @ other_texts.T
            logits = _signs(ids, other_ids) * (products * logit_scale.exp() + logit_bias)
            total -= F.logsigmoid(logits).sum()
        return total / len(images)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, loss_grad: Tensor) -> tuple[Tensor | None, ...]:
        """Send the texts round again, each shard followed by its gradient, which arrives at home after W steps."""
        images, texts, logit_scale, logit_bias, ids = ctx.saved_tensors
        ring: _Ring = ctx.ring
        needs_images, needs_texts = ctx.needs_input_grad[:2]
        image_grad = torch.zeros_like(images)
        scale_grad, bias_grad = torch.zeros_like(logit_scale), torch.zeros_like(logit_bias)
        scale = logit_scale.exp()
        parcel: _Parcel | None = None
        for other_texts, other_ids in ring.travel(texts, ids):
            products = images @ other_texts.T
            signs = _signs(ids, other_ids)
            # d(-log sigmoid(s)) / ds = -sigmoid(-s), and s = sign * logit
            logit_grad = signs * torch.sigmoid(-signs * (products * scale + logit_bias)) * (-loss_grad / len(images))
            bias_grad += logit_grad.sum()
            scale_grad += (logit_grad * products).sum() * scale
            logit_grad *= scale
            if needs_images:
                image_grad += logit_grad @ other_texts
            if needs_texts:
                text_grad = logit_grad.T @ images
                if parcel is not None:
                    text_grad += parcel.wait()[0]
                parcel = ring.pass_on(text_grad, first_tag=_GRADIENT_TAG)
        own_text_grad = parcel.wait()[0] if parcel is not None else None
        return image_grad if needs_images else None, own_text_grad, scale_grad, bias_grad, None, None


def _signs(ids: Tensor, other_ids: Tensor) -> Tensor:
    """Return z, (I, I): +1 for pairs of the same id, else -1."""
    return torch.where(ids[:, None] == other_ids, 1.0, -1.0)


def _check_equal_counts(count: int, device: torch.device, ring: _Ring) -> None:
    """Refuse shards of different sizes in all processes alike: they would wait for each other for ever."""
    extremes = torch.tensor([count, -count], device=device)
    dist.all_reduce(extremes, dist.ReduceOp.MAX, group=ring.group)
    most, least = extremes.tolist()
    if most != -least:
        raise InvalidInputError(f"Every process must have as many images; they have from {-least} to {most}.")
