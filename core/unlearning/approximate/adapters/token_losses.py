"""The one masked, shifted token loss that all language-model objectives share.

A token is predicted from those before it. Positions marked -100 are neither predicted nor gathered: -100 would index the
vocabulary from its end.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import log_softmax

IGNORED = -100


def shifted(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return logits (b, t-1, v), the labels they predict with 0 where ignored, and which count (b, t-1)."""
    if logits.shape[:2] != labels.shape:
        raise ValueError(f"logits are {tuple(logits.shape)}, labels {tuple(labels.shape)}")
    wanted = labels[:, 1:]
    counted = wanted != IGNORED
    return logits[:, :-1], wanted.masked_fill(~counted, 0), counted


def token_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Return (b, t-1) negative log-likelihood of each next token in nats, 0 where it does not count."""
    said, wanted, counted = shifted(logits, labels)
    likelihood = log_softmax(said, -1).gather(-1, wanted[..., None])[..., 0]
    return -likelihood * counted
