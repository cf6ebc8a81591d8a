"""Families: which sets of slices get a trained node, and on top of which smaller set each is trained.

A node has learned a *set* of slices; in which order they came does not matter to what survives a deletion. A node of
k slices is trained on top of its parent, the same set less one slice, and costs k slices of work.

    chain        {0} {0,1} {0,1,2} …                              L nodes          as SISA (arXiv:1912.03817)
    cyclic       the prefixes of B rotations, equal sets merged   ≤ B(L-1)+1       S3T (arXiv:2406.16257)
    prior        the prefixes of B sequences with the slices that are likely to be hit late in them
    subset_trie  every non-empty set, parent = drop the largest   2^L - 1          L - hits remain, whatever is hit
    greedy_trie  the sets worth most for their cost, up to a budget of slice-epochs
"""

from __future__ import annotations

from functools import lru_cache
from types import MappingProxyType

from core.domain.model import FamilyChoice, FamilyName, Recipe
from core.lattice.families.cyclic import cyclic_sequences
from core.lattice.families.family import Family, SliceSet
from core.lattice.families.greedy_trie import greedy_trie
from core.lattice.families.prior import prior_sequences
from core.lattice.families.sequences import Sequence, merged_prefixes
from core.lattice.families.subset_trie import subset_trie

__all__ = ["Family", "SliceSet", "build_family", "family_of", "sequences_of"]


def build_family(name: FamilyName, slices: int, *, budget: int | None = None) -> Family:
    """Return the family of that name over slices 0..slices-1, every slice as likely to be hit as any other.

    Args:
        name: which family.
        slices: how many slices a shard has, 1..64.
        budget: see `FamilyChoice`; None: the family's own.

    Raises:
        ValueError: there is no slice, or the budget does not fit the family.
    """
    return choose_family(FamilyChoice(name=name, slices=slices, budget=budget))


def family_of(recipe: Recipe) -> Family:
    """Return the family that a model is registered with. The same recipe gives the same sets, on every machine."""
    return choose_family(recipe.family_choice)


@lru_cache(maxsize=256)
def choose_family(choice: FamilyChoice) -> Family:
    """Return the family that was chosen; the dearer ones take up to a second, so it is remembered."""
    if choice.name is FamilyName.SUBSET_TRIE:
        parents = subset_trie(choice.slices)
    elif choice.name is FamilyName.GREEDY_TRIE:
        parents = greedy_trie(choice.slices, choice.budget, choice.prior)
    else:
        parents = merged_prefixes(sequences_of(choice))
    return Family(choice.name, choice.slices, MappingProxyType(parents), choice.prior)


def sequences_of(choice: FamilyChoice) -> list[Sequence]:
    """Return the orders whose prefixes make up a family; none for the tries, which have no sequences."""
    budget = choice.slices if choice.budget is None else choice.budget
    match choice.name:
        case FamilyName.CHAIN:
            return [tuple(range(choice.slices))]
        case FamilyName.CYCLIC:
            return cyclic_sequences(choice.slices, budget)
        case FamilyName.PRIOR:
            return prior_sequences(choice, budget)
        case _:
            return []
