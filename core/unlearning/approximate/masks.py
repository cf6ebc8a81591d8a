"""Hard weight masks: an entry that is masked out has the same bits afterwards, whatever the optimiser did.

Zeroing its gradient is not enough, since weight decay and momentum move it all the same. So its value is put back after
every step, and parameters that are masked out whole never meet the optimiser.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import Parameter

Mask = Mapping[str, Tensor]
"""By parameter name: True where it may change; a scalar stands for all entries. Unnamed parameters may change."""

FROZEN = torch.tensor(False)


def trained_parameters(model: nn.Module) -> dict[str, Parameter]:
    """Return what training may touch, tied weights once, under their first name.

    Raises:
        ValueError: nothing is trained.
    """
    found = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    if not found:
        raise ValueError("no parameter of this model asks for a gradient")
    return found


class HardMask:
    """Holds the entries that may not change."""

    def __init__(self, model: nn.Module, mask: Mask) -> None:
        """Take the present values of the model as those to keep.

        A tied weight has several names; an entry may change only when every name that the mask knows allows it.

        Raises:
            ValueError: a name or a shape of the mask is not the model's.
        """
        every = dict(model.named_parameters(remove_duplicate=False))
        first = {id(parameter): name for name, parameter in model.named_parameters()}
        unknown = sorted(set(mask) - set(every))
        if unknown:
            raise ValueError(f"the mask names {', '.join(unknown)}, which the model does not have")
        trained = trained_parameters(model)
        self._allowed: dict[str, Tensor] = {}
        for name, allowed in mask.items():
            parameter = every[name]
            own = first[id(parameter)]
            if own in trained:
                before = self._allowed.get(own, torch.tensor(True))
                self._allowed[own] = (before.to(parameter.device) & allowed.to(parameter.device)).expand_as(parameter)
        self.parameters = {name: one for name, one in trained.items() if self._any(name)}
        if not self.parameters:
            raise ValueError("the mask freezes everything")
        self._kept = {name: trained[name].detach().clone() for name in self._allowed}
        self._trained = trained

    def silence(self, gradients: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the gradients, zero where nothing may change."""
        return {name: self.chosen(name, one, torch.zeros_like(one)) for name, one in gradients.items()}

    @torch.no_grad()
    def restore(self) -> None:
        """Put back every entry that may not change."""
        for name, kept in self._kept.items():
            self._trained[name].copy_(self.chosen(name, self._trained[name], kept))

    def chosen(self, name: str, new: Tensor, old: Tensor) -> Tensor:
        """Return the new entries where they may change, else the old ones."""
        return torch.where(self._allowed[name], new, old) if name in self._allowed else new

    def holds(self) -> bool:
        """Tell whether every entry that may not change has its old bits."""
        return all(torch.equal(self.chosen(name, kept, self._trained[name]), kept) for name, kept in self._kept.items())

    def counts(self) -> dict[str, int]:
        """Return how many entries there are and how many may change."""
        free = {name: int(self._allowed[name].sum()) for name in self._allowed}
        return {
            "trained": sum(one.numel() for one in self._trained.values()),
            "changeable": sum(free.get(name, one.numel()) for name, one in self._trained.items()),
        }

    def _any(self, name: str) -> bool:
        return name not in self._allowed or bool(self._allowed[name].any())


def top_share(scores: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """Return the mask of the largest scores, a share of all entries together; ties go to the earlier entry."""
    flat = torch.cat([score.flatten() for score in scores.values()])
    count = max(1, round(share * len(flat)))
    chosen = torch.zeros_like(flat, dtype=torch.bool)
    chosen[flat.argsort(descending=True, stable=True)[:count]] = True
    parts = torch.split(chosen, [score.numel() for score in scores.values()])
    return {name: part.view(score.shape) for (name, score), part in zip(scores.items(), parts, strict=True)}
