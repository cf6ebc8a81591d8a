"""What the operator's pages, alerts and dashboard name exists, and what exists is on the pages."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from core import metrics
from core.use_cases.measure_service import GAUGES, _Counted

HOUSE = Path(__file__).resolve().parents[2]
PAGES = HOUSE / "docs" / "operations"
SUFFIX = re.compile(r"_(total|bucket|count|sum)$")


def existing() -> set[str]:
    counted = [*metrics.REGISTRY.collect(), *_Counted().registry.collect()]
    named = {family.name for family in counted if family.name.startswith("lethe_")}
    return named | {gauge.name for gauge in GAUGES} | {"lethe_database_up"}


def named_in(text: str) -> set[str]:
    return {SUFFIX.sub("", name) for name in re.findall(r"\blethe_[a-z_]+\b", text)} - {"lethe_"}


@pytest.mark.parametrize("page", ["alerts.yml", "dashboard.json", "monitoring.md"])
def test_a_page_names_no_metric_that_does_not_exist(page: str) -> None:
    found = named_in((PAGES / page).read_text())
    assert found
    assert found <= existing()


def test_every_metric_is_explained() -> None:
    assert existing() <= named_in((PAGES / "monitoring.md").read_text())


def test_every_alert_says_what_it_is_about_and_how_urgent() -> None:
    rules = yaml.safe_load((PAGES / "alerts.yml").read_text())["groups"][0]["rules"]
    assert len({rule["alert"] for rule in rules}) == len(rules)
    for rule in rules:
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert rule["annotations"]["summary"].endswith((".", "?"))
        assert rule["expr"].count("(") == rule["expr"].count(")")


def test_the_dashboard_and_the_scrape_configuration_can_be_read() -> None:
    board = json.loads((PAGES / "dashboard.json").read_text())
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    assert all(target["expr"] for panel in board["panels"] for target in panel["targets"])
    scraped = yaml.safe_load((PAGES / "prometheus.yml").read_text())
    assert {job["job_name"] for job in scraped["scrape_configs"]} == {
        "lethe-api",
        "lethe-predictor",
        "lethe-workers",
    }
