from __future__ import annotations

import pytest

from core.domain.errors import TooFewLayers
from core.unlearning.exact.layer_groups import layer_group


@pytest.mark.parametrize(("layers", "slices"), [(4, 4), (12, 4), (7, 3), (13, 5), (1, 1)])
def test_groups_are_contiguous_from_the_top_and_leave_the_remainder_at_the_bottom(layers: int, slices: int) -> None:
    groups = [layer_group(layers, slices, stage) for stage in range(1, slices + 1)]
    trained = [layer for group in reversed(groups) for layer in group]
    assert trained == list(range(layers % slices, layers))
    assert {len(group) for group in groups} == {layers // slices}


def test_more_slices_than_layers_are_refused() -> None:
    with pytest.raises(TooFewLayers, match="5 slices need at least 5 layers, the backbone has 4"):
        layer_group(4, 5, 1)


@pytest.mark.parametrize("stage", [0, 5])
def test_a_stage_outside_the_lattice_is_refused(stage: int) -> None:
    with pytest.raises(ValueError, match=r"stage must lie in 1\.\.4"):
        layer_group(8, 4, stage)
