"""Show the judge what models answer: arrays alone. It computes its own losses, and sees no weight and no run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from core.domain.task import Modality
from core.modelling import checkpoint_networks as networks
from core.unlearning.approximate.samples import Samples
from core.verification.answers import (
    Answers,
    Evidence,
    answers_from_logits,
    answers_from_losses,
    answers_from_predictions,
)

IGNORED = -100


@dataclass(frozen=True)
class Questions:
    """What every model is asked about."""

    modality: Modality
    forget: Samples
    retain: Samples
    test: Samples
    holdout: Samples
    scale: float = 1.0
    """regressors: the error that counts as a loss of 1."""

    def evidence(self, network: nn.Module) -> Evidence:
        """Return one model's answers to all of them.

        Raises:
            NotComparable: an answer is not finite.
        """
        return Evidence(
            forget=self._answers(network, self.forget),
            retain=self._answers(network, self.retain),
            test=self._answers(network, self.test),
            holdout=self._answers(network, self.holdout),
        )

    def _answers(self, network: nn.Module, samples: Samples) -> Answers:
        outputs, features = networks.answers(network.eval(), samples.inputs)
        seen = None if features is None else features.numpy()
        if self.modality is Modality.CLASSIFIER:
            return answers_from_logits(outputs.numpy(), samples.targets.numpy(), seen)
        if self.modality is Modality.REGRESSOR:
            said, wanted = (one.reshape(len(samples), -1)[:, 0].numpy() for one in (outputs, samples.targets))
            return answers_from_predictions(said, wanted, scale=self.scale)
        return answers_from_losses(mean_token_losses(outputs, samples.targets).numpy())


def mean_token_losses(logits: Tensor, targets: Tensor) -> Tensor:
    """Return (n,) the mean negative log-likelihood of each text's tokens, in nats; the judge's own reading of them."""
    wanted = targets[:, 1:]
    counted = wanted != IGNORED
    logs = torch.log_softmax(logits[:, :-1].double(), dim=-1)
    picked = logs.gather(-1, wanted.clamp(min=0)[..., None])[..., 0]
    return -(picked * counted).sum(-1) / counted.sum(-1).clamp(min=1)


def typical_error(network: nn.Module, samples: Samples) -> float:
    """Return a regressor's root mean square error on rows, never 0: what its losses are counted in."""
    outputs, _ = networks.answers(network.eval(), samples.inputs)
    errors = outputs.reshape(len(samples), -1) - samples.targets.reshape(len(samples), -1)
    return max(float(errors.square().mean().sqrt()), 1e-6)


def drift(before: Evidence, after: Evidence) -> float:
    """Return how far answers on test rows moved: the mean change of the given answer's probability."""
    return float(np.abs(after.test.confidence - before.test.confidence).mean())
