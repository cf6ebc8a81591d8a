"""Running, stopping, resuming, and what it cost."""

from __future__ import annotations

from pkgutil import iter_modules
from typing import Any

import pytest
import torch
from torch import nn

from core.domain.errors import BadInput, Diverged, NoEffect
from core.methods.menu import MENU
from core.unlearning.approximate import engine, methods
from core.unlearning.approximate.engine import Hooks
from core.unlearning.approximate.kitchen import Kitchen, Live
from core.unlearning.approximate.masks import top_share
from core.unlearning.approximate.recipe import Pass, Phase, Term
from core.unlearning.approximate.registry import RECIPES
from core.unlearning.approximate.samples import Batch
from core.unlearning.approximate.selectors import Alone, Mixed, Zipped
from core.unlearning.approximate.state import State, from_file, to_file
from core.unlearning.approximate.terms import training
from core.unlearning.approximate.transforms import clipped
from core.unlearning.approximate.unlearn import order_for, unlearn
from tests.unit.unlearning.approximate.scores import Judged
from tests.unit.unlearning.approximate.tiny import ascent, drawn, edited, kitchen, order, recipe, rows, task

# State in, state out

RESUMED: list[tuple[str, str, dict[str, Any]]] = [
    ("retrain", "mixture", {"epochs": 4}),
    ("salun", "mixture", {"epochs": 3}),
    ("scrub", "mixture", {"epochs": 4, "forget_epochs": 2}),
    ("negmerge", "mixture", {"pool": 2, "epochs": 2}),
    ("bad_teacher", "mixture", {"epochs": 3}),
    ("blindspot", "curve", {"epochs": 2, "proxy_epochs": 2}),
    ("representation_misdirection", "facts", {"epochs": 3}),
    ("gradient_ascent", "mixture", {"epochs": 3, "largest_utility_loss": 0.9}),
]


class Killed(Exception):
    """The process is gone."""


@pytest.mark.parametrize(("method", "world", "settings"), RESUMED, ids=[one[0] for one in RESUMED])
def test_a_run_killed_at_any_border_resumes_to_the_same_bits(
    method: str, world: str, settings: dict[str, Any], worlds: dict[str, Judged]
) -> None:
    judged = worlds[world]
    wanted = order_for(method, settings, seed=5)
    states: list[bytes] = []
    whole = unlearn(wanted, judged.world.task, hooks=Hooks(save=states.append))
    for state in states[:-1]:
        resumed = unlearn(wanted, judged.world.task, resume=state)
        assert resumed.manifest == whole.manifest
        assert resumed.history == whole.history
        assert all(torch.equal(one, resumed.tensors[name]) for name, one in whole.tensors.items())


def test_a_killed_run_leaves_its_last_state() -> None:
    states: list[bytes] = []

    def die(live: Live) -> None:
        if live.epoch == 1:
            raise Killed

    with pytest.raises(Killed):
        engine.run(order(), ascent(), task(), hooks=Hooks(progress=die, save=states.append))
    assert len(states) == 1
    again = engine.run(order(), ascent(), task(), resume=states[0])
    assert again.manifest == engine.run(order(), ascent(), task()).manifest


def test_the_state_of_another_run_is_refused() -> None:
    states: list[bytes] = []
    engine.run(order(seed=1), ascent(), task(), hooks=Hooks(save=states.append))
    with pytest.raises(BadInput, match="another order"):
        engine.run(order(seed=2), ascent(), task(), resume=states[0])
    with pytest.raises(BadInput, match="another order"):
        engine.run(order(seed=1), ascent(), task(forget=11), resume=states[0])


def test_a_file_without_a_run_is_no_state() -> None:
    from safetensors.torch import save

    with pytest.raises(ValueError, match="no state"):
        from_file(save({"model/weight": torch.zeros(1)}))
    kept = from_file(to_file(State({"model/weight": torch.ones(2)}, {"phase": 1})))
    assert kept.facts == {"phase": 1}
    assert torch.equal(kept.group("model")["weight"], torch.ones(2))


# Progress and cost


def test_progress_tells_how_the_model_stands_after_every_epoch() -> None:
    told: list[Live] = []
    found = engine.run(order(), ascent(), task(holdout=rows(9, seed=3, name="held")), hooks=Hooks(progress=told.append))
    assert [live.epoch for live in told] == [0, 1, 2]
    assert [live.epochs_done for live in told] == [1, 2, 3]
    assert told[-1].forget_loss > told[0].forget_loss, "ascent is seen"
    assert None not in (told[0].retain_loss, told[0].holdout_score, told[0].objective)
    assert found.history == tuple(told)


def test_cost_counts_operations_and_compares_them_with_a_retrain() -> None:
    model = drawn(lambda: nn.Linear(3, 3))
    cost = engine.run(order(), ascent(), task(model, training_epochs=10)).cost
    per_row = 2 * 3 * 3
    epochs, looks = 3 * 12 * 3, 4 * (12 + 20)
    assert cost.flops == per_row * (epochs + looks + 2 * 12), "three epochs on F, four looks, and the seal's comparison"
    assert cost.retrain_share == pytest.approx(cost.flops / (per_row * 3 * 20 * 10))
    assert cost.seconds > 0
    assert cost.peak_memory_bytes > 1 << 20
    assert engine.run(order(), ascent(), task(model)).cost.retrain_share is None


def test_the_seconds_of_earlier_attempts_count() -> None:
    states: list[bytes] = []
    engine.run(order(), ascent(), task(), hooks=Hooks(save=states.append))
    state = from_file(states[0])
    state.facts["seconds"] = 1000.0
    assert engine.run(order(), ascent(), task(), resume=to_file(state)).cost.seconds > 1000


# Stop rules and transforms


def test_ascent_with_a_floor_stops_and_goes_back(worlds: dict[str, Judged]) -> None:
    judged = worlds["mixture"]
    wild = {"epochs": 60, "learning_rate": 5e-3}
    collapsed = unlearn(order_for("ga", wild), judged.world.task)
    stopped = unlearn(order_for("ga", {**wild, "largest_utility_loss": 0.05}), judged.world.task)
    assert judged.scores(collapsed.tensors).retain < 0.6, "without a floor it collapses"
    assert judged.scores(stopped.tensors).retain > 0.9
    assert stopped.ended == stopped.manifest["ended"] == "utility_floor"
    assert len(stopped.history) < 60


def test_ascent_that_never_stays_above_its_floor_is_refused(worlds: dict[str, Judged]) -> None:
    wild = {"epochs": 3, "learning_rate": 1.0, "largest_utility_loss": 0.01}
    with pytest.raises(NoEffect):
        unlearn(order_for("ga", wild), worlds["mixture"].world.task)


def test_scrub_can_rewind_to_the_epoch_that_looks_least_trained(worlds: dict[str, Judged]) -> None:
    judged = worlds["mixture"]
    found = unlearn(order_for("scrub", {"rewind": "yes", "epochs": 6}), judged.world.task)
    gaps = [abs(live.forget_score - live.holdout_score) for live in found.history if live.holdout_score is not None]
    best = min(range(6), key=gaps.__getitem__)
    held = judged.world.task.holdout
    assert held is not None
    assert found.ended == "rewound_to_holdout"
    assert judged.scores(found.tensors).forget == pytest.approx(found.history[best].forget_score, abs=1e-6)


def test_clipping_shortens_all_weights_together() -> None:
    gradients = {"a": torch.tensor([3.0]), "b": torch.tensor([4.0])}
    stove = kitchen(task())
    assert clipped(1.0)(stove, gradients)["b"].tolist() == pytest.approx([0.8])
    assert clipped(10.0)(stove, gradients)["b"].tolist() == [4.0]


def test_a_diverging_objective_ends_the_run() -> None:
    wild = recipe([Pass(selector=Alone("forget"), terms=[Term(stream="forget", values=boundless)])])
    with pytest.raises(Diverged, match="the objective is inf"):
        engine.run(order(), wild, task())


def boundless(kitchen: Kitchen, batch: Batch) -> torch.Tensor:
    return kitchen.losses(batch) * torch.inf


def test_an_edit_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"an edit of bias is \(1,\)"):
        engine.run(order(), edited(lambda _: {"bias": torch.zeros(1)}), task())


def test_a_phase_edits_or_descends() -> None:
    with pytest.raises(ValueError, match="either"):
        Phase()
    with pytest.raises(ValueError, match="either"):
        Phase(passes=[Pass(selector=Alone("forget"), terms=[training("forget")])])


# Selectors and masks

SIZES = {"forget": 5, "retain": 12}


def fed(selector: Any, stream: str, batch_size: int = 4) -> list[int]:
    steps = selector.steps(SIZES, batch_size, torch.Generator().manual_seed(0))
    return [row for step in steps if stream in step for row in step[stream].tolist()]


def test_every_selector_feeds_the_whole_forget_set_once() -> None:
    for selector in (Alone("forget"), Zipped(), Mixed(0.5)):
        assert sorted(fed(selector, "forget")) == list(range(5))
    assert sorted(fed(Zipped(anchor="retain", partner="forget"), "retain")) == list(range(12))
    assert len(fed(Zipped(anchor="retain", partner="forget"), "forget")) == 12, "the smaller goes round"
    assert len(fed(Mixed(0.5), "retain")) == len(set(fed(Mixed(0.5), "retain"))) == 6
    assert len(fed(Alone("retain", 0.25), "retain")) == 3


def test_the_top_share_of_all_entries_together_ties_to_the_earlier() -> None:
    found = top_share({"a": torch.tensor([1.0, 5.0]), "b": torch.tensor([[5.0, 0.0]])}, 0.5)
    assert found["a"].tolist() == [False, True]
    assert found["b"].tolist() == [[True, False]]
    ties = top_share({"a": torch.zeros(4)}, 0.25)
    assert ties["a"].tolist() == [True, False, False, False]


# LoRA, tied weights and models of other shapes


def test_a_model_that_answers_with_an_object_will_do() -> None:
    class Answer:
        def __init__(self, logits: torch.Tensor) -> None:
            self.logits = logits

    class Wrapped(nn.Linear):
        def forward(self, inputs: torch.Tensor) -> Any:
            return Answer(super().forward(inputs))

    wrapped = unlearn(order_for("ssd", {"selection": 1.2}), task(drawn(lambda: Wrapped(3, 3)))).tensors
    plain = unlearn(order_for("ssd", {"selection": 1.2}), task(drawn(lambda: nn.Linear(3, 3)))).tensors
    assert torch.equal(wrapped["weight"], plain["weight"])


def test_rows_at_once_change_the_result_by_rounding_only(worlds: dict[str, Judged]) -> None:
    judged = worlds["mixture"]
    for method in ("salun", "ssd", "influence", "npo"):
        settings = (
            {"selection": 5.0} if method == "ssd" else {"damping": 0.1} if method == "influence" else {"epochs": 1}
        )
        whole, split = (
            unlearn(order_for(method, settings, rows_at_once=size), judged.world.task).tensors for size in (256, 17)
        )
        far = max(float((one - split[name]).abs().max()) for name, one in whole.items())
        assert far < 1e-3, method


def test_the_menu_and_the_kitchen_know_the_same_methods() -> None:
    files = {module.name for module in iter_modules(methods.__path__)}
    assert files == set(MENU) == set(RECIPES)
    assert all(RECIPES[name].__module__.rpartition(".")[2] == name for name in MENU)
