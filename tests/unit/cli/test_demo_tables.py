"""The demo's tables keep their own contracts, and a share means what it says."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cli.demo_data import check_size
from cli.demo_plots import accuracy_plot
from cli.demo_report import written_report
from cli.demo_score import score
from cli.demo_tables import OWNERS, TableData, diabetes, tumours
from core.datasets.kinds import read_questions
from core.datasets.readers import read_columns
from core.datasets.schema import schema_from_json
from core.datasets.validation import validate
from core.domain.task import TaskName
from tests.unit.cli.demo_story import make_result


@pytest.mark.parametrize(("make", "count"), [(tumours, 569), (diabetes, 442)])
def test_the_service_takes_a_table_as_it_is_and_every_question_about_it(
    make: Callable[[], TableData], count: int
) -> None:
    data = make()
    schema = schema_from_json(data.schema())
    rows = validate(read_columns({"file": data.file()}, schema=schema, limit_bytes=1 << 24), schema)
    assert len(rows.record_ids) + len(data.held_out_answers) == count
    assert len(read_questions(data.questions(0, count), schema)["numbers"]) == len(data.held_out_answers)
    assert data.private_owners == len(data.deletable) == OWNERS
    assert schema.task.name == data.task
    check_size(data, shards=3, slices=4, deletions=20)


def test_a_second_run_on_one_service_has_other_people() -> None:
    assert not set(tumours("a1").deletable) & set(tumours("b2").deletable)


def test_nothing_is_known_of_a_held_out_row_when_the_model_learns() -> None:
    data = tumours()
    assert not {str(cells) for cells in data.cells} & {str(cells) for cells in data.held_out_cells}


def test_labels_are_scored_by_their_accuracy_and_numbers_by_the_variance_explained() -> None:
    labels = [{"label": "a"}, {"label": "b"}, {"label": "b"}, {"label": "b"}]
    assert score(TaskName.CLASSIFICATION, labels, ["a", "b", "b", "a"]) == 0.75
    expected = [1.0, 2.0, 3.0]
    for values, share in (([1, 2, 3], 1.0), ([2, 2, 2], 0.0), ([3, 2, 1], -3.0), ([1, 2, 2], 0.5)):
        assert score(TaskName.REGRESSION, [{"value": value} for value in values], expected) == share
    with pytest.raises(ValueError, match="longer"):
        score(TaskName.REGRESSION, [{"value": 1}], expected)


def test_the_report_of_a_regression_speaks_of_the_variance_explained() -> None:
    result = make_result()
    page = written_report({**result, "data": {**result["data"], "task": "regression"}})
    assert "R² at E1" in page
    assert "accuracy at E1" not in page
    assert "accuracy at E1" in written_report(result)
    assert "held-out R²" in accuracy_plot({**result, "data": {"task": "regression"}})
