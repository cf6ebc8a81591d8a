"""`lethe replay`: train a version's nodes again from the retained rows, and see whether they are what it serves.

Exit status 0: all that was replayed is what the manifest names. 1: something is not. 2: the input is unusable.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cli.options import Data, open_data
from cli.output import FAILED, Json, details, progress, say, show, table, told

COLUMNS = {
    "shard": "shard",
    "slices": "slices",
    "compared": "compared",
    "largest difference": "largest_difference",
    "wrong": "flaws",
    "node": "key",
}


def replay(
    version: Annotated[
        str, typer.Argument(help="Id of a version; or a model, for what it serves; or both, as in `digits/3`.")
    ],
    sample: Annotated[
        int | None, typer.Option(min=1, help="How many nodes, chosen at random. All, unless said.")
    ] = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Train nodes of a version again from the retained rows and compare them. May run beside the service; loads torch."""
    with told(as_json), open_data(data) as doors:
        from core.logging import configure_logging
        from core.use_cases.replay_version import replay_version

        configure_logging("error")
        with progress("Replaying") as bar:
            body = replay_version(doors, version, sample=sample, progress=bar).as_json()
        show(body, as_json, lambda: _draw(body))
        if not body["holds"]:
            raise typer.Exit(FAILED)


def _draw(body: dict[str, Any]) -> None:
    details({name: body[name] for name in ("model", "version", "number", "manifest_digest", "environment")})
    rows = [
        one
        | {"compared": "bit for bit" if one["bit_for_bit"] else "within tolerance"}
        | {name: list(one[name]) for name in ("slices", "flaws")}
        for one in body["replayed"]
    ]
    table(rows, COLUMNS, empty="No node was replayed.")
    for one in body["flaws"]:
        say(f"The {one} is not the one that the manifest names.")
    made = body["backbone"]
    if made is not None and made["why_not"]:
        say(f"The backbone was not trained again: {made['why_not']}")
    if body["gone"]:
        say(f"{len(body['gone'])} nodes were switched off by deletions since and cannot be replayed.")
    differs = sorted({part for one in [*body["replayed"], *([made] if made else [])] for part in one["differs"]})
    if differs:
        say(
            f"This is another environment than the one they were trained in ({', '.join(differs)}): tensors were compared "
            f"within {body['tolerance']:g} of their norm, and not bit for bit."
        )
    verdict = "HOLDS" if body["holds"] else "DOES NOT HOLD"
    say(f"{verdict}: {len(body['replayed'])} of {body['nodes']} nodes of the manifest were trained again.")
