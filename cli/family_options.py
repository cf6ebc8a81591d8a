"""The options that say which family of slice sets a lattice has, alike wherever a lattice is described."""

from __future__ import annotations

from typing import Annotated

import typer

Family = Annotated[str | None, typer.Option(help="chain, cyclic, prior, subset_trie or greedy_trie.")]
FamilyBudget = Annotated[
    int | None, typer.Option(help="cyclic, prior: sequences. greedy_trie: slice-epochs per shard.")
]
FamilyPrior = Annotated[
    str | None, typer.Option(help="prior, greedy_trie: how likely each slice is to be hit, such as 5,2,1,1.")
]
FamilyRule = Annotated[str | None, typer.Option(help="prior: matching or cold_first.")]
FamilyHorizon = Annotated[int | None, typer.Option(help="prior, matching: deletions ahead that are scored.")]
