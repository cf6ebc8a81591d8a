"""What an ensemble of language models says: how likely a text is after its prompt, and how a prompt goes on.

Shards vote at every token: logits are averaged by depth before anything is read off them (DESIGN §4.6).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from core.modelling.ensemble import Ensemble
from core.modelling.language_transformer import LanguageTransformer
from core.modelling.losses import UNTRAINED

ROWS_AT_ONCE = 16


def likelihoods(ensemble: Ensemble, prompts: Sequence[str], texts: Sequence[str]) -> list[dict[str, Any]]:
    """Return per text its log-likelihood in nats after its prompt, and the number of tokens that it was summed over."""
    model = _language(ensemble)
    inputs, targets = model.token_ids(prompts, texts), model.next_tokens(prompts, texts)
    found: list[dict[str, Any]] = []
    for start in range(0, len(inputs), ROWS_AT_ONCE):
        rows, wanted = inputs[start : start + ROWS_AT_ONCE], targets[start : start + ROWS_AT_ONCE]
        # Always as many rows: an answer's last bits must not tell beside whom it was asked.
        padded = torch.cat((rows, rows.new_zeros(ROWS_AT_ONCE - len(rows), rows.shape[1])))
        chances = torch.log_softmax(ensemble.logits(padded)[: len(rows)], dim=2)
        learned = wanted != UNTRAINED
        each = chances.gather(2, wanted.clamp(min=0)[:, :, None])[:, :, 0] * learned
        for total, count in zip(each.sum(dim=1).tolist(), learned.sum(dim=1).tolist(), strict=True):
            found.append({"log_likelihood": round(total, 6), "tokens": count})
    return found


def continuation(ensemble: Ensemble, prompt: str, *, new_tokens: int) -> dict[str, Any]:
    """Return how a prompt goes on, the likeliest token each time, up to the last mark or `new_tokens` tokens."""
    model = _language(ensemble)
    ids, written = model.prompt_ids(prompt), list[int]()
    while len(written) < new_tokens:
        seen = ids[-model.shape.tokens :]
        token = int(_next(ensemble, seen))
        if token == model.config["last"]:
            break
        written.append(token)
        ids = [*ids, token]
    return {"completion": model.tokenizer.decode(written), "tokens": len(written)}


def _next(ensemble: Ensemble, ids: list[int]) -> Tensor:
    return ensemble.logits(torch.tensor([ids], dtype=torch.int64))[0, -1].argmax()


def _language(ensemble: Ensemble) -> LanguageTransformer:
    if not isinstance(ensemble.backbone, LanguageTransformer):
        raise TypeError("only language models say how likely a text is")
    return ensemble.backbone
