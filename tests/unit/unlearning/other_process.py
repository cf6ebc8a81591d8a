"""Run as a script: build a shard without one record, in another order, and print each node's digest."""

from __future__ import annotations

import json
import sys

from core.domain.model import FamilyName
from core.modelling.determinism import pinned
from tests.unit.unlearning.tiny import build_shard, make_recipe, make_slices


def main(number: int, position: int) -> None:
    pinned(1)
    slices = make_slices(without=(number, position))
    built = {
        family: {
            json.dumps(chosen): node.tensor_digest
            for chosen, node in build_shard(slices, make_recipe(family=family), backwards=True).items()
        }
        for family in FamilyName
    }
    sys.stdout.write(json.dumps(built))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
