"""Methods on the wire: the cards of the menu."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from api.schemas.common import Shown
from core.methods.card import Modality, Need, RequestKind
from core.methods.describe import CostClass


class ShownSetting(Shown):
    """One thing that may be set, and its bounds."""

    name: str
    type: Literal["integer", "number", "string"]
    default: float | str
    meaning: str
    must: str = Field(description="The bounds as words.", examples=["be above 0 and be at most 10"])
    minimum: float | None
    exclusive_minimum: float | None
    maximum: float | None
    choices: list[str] = Field(description="Empty where there is nothing to choose from.")


class ShownMethod(Shown):
    """One method: what it does, what it needs, what it costs, how it is known to fail."""

    object: Literal["method"]
    name: str
    title: str
    aliases: list[str] = Field(description="Accepted wherever a method is named.")
    summary: str
    kind: RequestKind = Field(description="What sort of request it answers; the two are never mixed.")
    promise: str
    modalities: list[Modality]
    needs: list[Need] = Field(
        description="What the model must offer; a request that lacks some is refused when it is made."
    )
    artefacts: list[str] = Field(description="What must have been computed before.")
    optional_artefacts: list[str] = Field(description="What saves work where it is there.")
    cost: str = Field(description="In passes over the rows to forget (F) and to retain (R).")
    cost_class: CostClass | None = Field(description="By the largest measured share: 0.1, 0.5 and 1 are the borders.")
    retrain_share: dict[str, float] = Field(
        description="Operations as a share of a retrain's, by world of the benchmark `approximate.gate`."
    )
    paper: str
    formula: str
    known_weakness: str
    settings: list[ShownSetting]
