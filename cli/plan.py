"""`lethe plan`: what a lattice would bear and cost, before anybody registers a model on it. It needs no service.

lethe plan --shards 5 --slices 4                                     one lattice, as a table
lethe plan --shards 5 --slices 4 --compare --plot plan.png           every family beside it, and pictures
lethe plan --shards 5 --slices 4 --hits skewed --skew 1 --json       another hit model, for a script
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.family_options import Family, FamilyBudget, FamilyHorizon, FamilyPrior, FamilyRule
from cli.options import read_numbers
from cli.output import Json, details, say, show, table, told, unusable

if TYPE_CHECKING:
    from core.lattice.planner.question import HitModel, PlanQuestion

CURVE_COLUMNS = {
    "deletions": "deletions",
    "active share": "active_share",
    "worst shard": "worst_shard_share",
    "some shard dead": "some_shard_dead",
}
FAMILY_COLUMNS = {
    "family": "name",
    "nodes": "nodes",
    "slice-epochs": "slice_epochs",
    "as sequences": "slice_epochs_as_sequences",
    "per hit": "slice_epochs_per_hit",
    "first shard dead": "deletions_to_first_dead",
    "all dead": "deletions_to_all_dead",
    "depth after 1, 2, … hits": "depths_after_hits",
}
CURVE_ROWS = 8


def plan(
    shards: Annotated[int, typer.Option(help="Independent ensembles that vote, m.")],
    slices: Annotated[int, typer.Option(help="Parts of a shard, each switched off on its own, L.")],
    family: Family = None,
    family_budget: FamilyBudget = None,
    family_prior: FamilyPrior = None,
    family_rule: FamilyRule = None,
    family_horizon: FamilyHorizon = None,
    hits: Annotated[str, typer.Option(help="How deletions fall: uniform, skewed or owner.")] = "uniform",
    weights: Annotated[
        str | None, typer.Option(help="skewed: how likely each slice is to be hit, such as 5,2,1,1.")
    ] = None,
    skew: Annotated[
        float | None, typer.Option(help="skewed, instead: Zipf's exponent; slice 0 is the hottest.")
    ] = None,
    records_per_owner: Annotated[
        int, typer.Option(help="owner: records that a deletion removes, if they were placed one by one.")
    ] = 1,
    deletions: Annotated[int | None, typer.Option(help="How far the curve without repair reaches.")] = None,
    repair_every: Annotated[int | None, typer.Option(help="Repair everything after so many deletions.")] = None,
    repair_budget: Annotated[float | None, typer.Option(help="Slice-epochs of repair per deletion.")] = None,
    layers: Annotated[int | None, typer.Option(help="Layers of the backbone.", show_default="24")] = None,
    compare: Annotated[bool, typer.Option("--compare", help="Show the other families beside it.")] = False,
    plot: Annotated[Path | None, typer.Option(help="Draw the curves into this PNG file.")] = None,
    as_json: Json = False,
) -> None:
    """Say what a lattice would bear and cost: deletions to dead shards, active share, training."""
    from core.lattice.planner import plan as planner
    from core.lattice.planner.question import PlanQuestion

    with told(as_json):
        try:
            question = PlanQuestion(
                shards=shards,
                family=_family(
                    family,
                    slices=slices,
                    budget=family_budget,
                    prior=read_numbers(family_prior, "--family-prior"),
                    rule=family_rule,
                    horizon=family_horizon,
                ),
                hits=_hits(hits, slices, read_numbers(weights, "--weights"), skew, records_per_owner),
                deletions=deletions,
                repair_every=repair_every,
                repair_budget=repair_budget,
                layers=layers or max(24, slices),
            )
        except ValueError as error:
            raise unusable(str(error)) from None
        found = planner.plan(question).as_json()
        others = _compared(question) if compare else []
        if plot is not None:
            _draw(plot, question, compare=compare)
        show(found | ({"families": others} if compare else {}), as_json, lambda: _print_plan(found, others))


def _family(
    name: str | None, *, slices: int, rule: str | None, prior: list[float] | None, **numbers: int | None
) -> Any:
    from core.domain.model import FamilyChoice, FamilyName, PriorRule, default_family

    if name is not None and name not in set(FamilyName):
        raise unusable(f"--family must be one of {', '.join(FamilyName)}")
    if rule is not None and rule not in set(PriorRule):
        raise unusable(f"--family-rule must be one of {', '.join(PriorRule)}")
    return FamilyChoice(
        name=default_family(slices) if name is None else FamilyName(name),
        slices=slices,
        prior=None if prior is None else tuple(prior),
        rule=None if rule is None else PriorRule(rule),
        **numbers,
    )


def _hits(kind: str, slices: int, weights: list[float] | None, skew: float | None, records_per_owner: int) -> HitModel:
    from core.lattice.planner.question import HitKind, HitModel, zipf_weights

    if kind not in set(HitKind):
        raise unusable(f"--hits must be one of {', '.join(HitKind)}")
    if weights is not None and skew is not None:
        raise unusable("give --weights or --skew, not both")
    chosen = None if weights is None else tuple(weights)
    if skew is not None:
        chosen = zipf_weights(slices, skew)
    return HitModel(kind=HitKind(kind), weights=chosen, records_per_owner=records_per_owner)


def _compared(question: PlanQuestion) -> list[dict[str, Any]]:
    from core.lattice.planner.plan import Plan, plan_without_curves

    plans: list[Plan] = [plan_without_curves(one) for one in question.with_other_families()]
    return [{"name": one.question.name, **one.as_json()} for one in plans]


def _draw(path: Path, question: PlanQuestion, *, compare: bool) -> None:
    from cli.extras import require_extra

    require_extra("demo", "lethe plan --plot")
    from cli.plan_plots import draw_plan

    try:
        path.write_bytes(draw_plan(question, question.with_other_families() if compare else [question]))
    except OSError as error:
        raise unusable(f"{path} cannot be written: {error.strerror}") from None
    say(f"drew {path}")


def _print_plan(found: dict[str, Any], others: list[dict[str, Any]]) -> None:
    curve = found["curve"]
    details({name: value for name, value in found.items() if name != "curve" and value is not None})
    table(curve[:: max(1, len(curve) // CURVE_ROWS)], CURVE_COLUMNS, empty="There is no curve.")
    if others:
        table(others, FAMILY_COLUMNS, empty="There is no other family.")
