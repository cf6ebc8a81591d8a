"""The nine invariants of the engine. Each has a test that it holds, and one that nothing else upholds it: without the guard it falls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from core.domain.errors import Diverged, ForgetSetShrunk, MethodFailed, NoEffect, NotReinitialised
from core.methods.card import Modality
from core.unlearning.approximate import engine, objective, per_sample, reinitialise, seal
from core.unlearning.approximate.adapters import causal_language_model, token_losses
from core.unlearning.approximate.adapters.causal_language_model import CausalLanguageModel
from core.unlearning.approximate.adapters.token_losses import IGNORED
from core.unlearning.approximate.kitchen import Kitchen, Task
from core.unlearning.approximate.masks import HardMask, Mask
from core.unlearning.approximate.objective import gradients
from core.unlearning.approximate.per_sample import importance
from core.unlearning.approximate.recipe import Pass, Term
from core.unlearning.approximate.samples import Batch, Samples
from core.unlearning.approximate.selectors import Alone, Coreset, Mixed, Selector, Zipped
from core.unlearning.approximate.terms import training
from tests.unit.unlearning.approximate.tiny import (
    LowRank,
    Tied,
    ascent,
    drawn,
    edited,
    kitchen,
    linear,
    order,
    recipe,
    rows,
    task,
)

# 1. What a mask keeps has its old bits, whatever the optimiser does.

HALF = {"weight": torch.tensor([[True], [False], [True]])}


def halved(_: Kitchen) -> Mask:
    return HALF


def test_masked_entries_keep_their_bits_under_momentum_and_decay() -> None:
    before = linear().state_dict()["weight"]
    after = engine.run(order(), ascent(mask=halved, weight_decay=0.1), task()).tensors["weight"]
    assert torch.equal(after[1], before[1])
    assert not torch.equal(after[0], before[0])


def test_silencing_gradients_alone_lets_decay_move_masked_entries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HardMask, "restore", lambda _: None)
    with pytest.raises(MethodFailed, match="the mask keeps"):
        engine.run(order(), ascent(mask=halved, weight_decay=0.1), task())
    monkeypatch.setattr(seal, "check_mask", lambda _: None)
    after = engine.run(order(), ascent(mask=halved, weight_decay=0.1), task()).tensors["weight"]
    assert not torch.equal(after[1], linear().state_dict()["weight"][1])


def test_a_tied_weight_is_kept_by_either_of_its_names() -> None:
    model = drawn(Tied)
    for name in ("first.weight", "second.weight"):
        mask = {name: torch.tensor([[True, True, False]])}
        after = engine.run(order(), ascent(mask=lambda _, mask=mask: mask, weight_decay=0.1), task(model)).tensors
        assert torch.equal(after["first.weight"], after["second.weight"])
        assert torch.equal(after["first.weight"][:, 2], model.first.weight[:, 2])
        assert not torch.equal(after["first.weight"][:, 0], model.first.weight[:, 0])


def test_the_factors_of_a_lora_checkpoint_are_masked_and_its_base_never_moves() -> None:
    model = drawn(lambda: LowRank(3, 3))
    mask = {"b": torch.tensor([[True], [True], [False]]), "a": torch.tensor([[True], [False]])}
    after = engine.run(order(), ascent(mask=lambda _: mask, weight_decay=0.1), task(model)).tensors
    assert torch.equal(after["base.weight"], model.base.weight)
    assert torch.equal(after["b"][2], model.b[2])
    assert torch.equal(after["a"][1], model.a[1])
    assert not torch.equal(after["b"][:2], model.b[:2])


def test_a_mask_that_names_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="does not have"):
        engine.run(order(), ascent(mask=lambda _: {"weights": torch.tensor(True)}), task())
    with pytest.raises(ValueError, match="freezes everything"):
        engine.run(order(), ascent(mask=lambda _: {n: torch.tensor(False) for n in ("weight", "bias")}), task())


# 2. A run that changes nothing fails.


def nothing(kitchen: Kitchen, batch: Batch) -> Tensor:
    return 0.0 * kitchen.losses(batch)


def test_an_objective_without_a_gradient_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    idle = recipe([Pass(selector=Alone("forget"), terms=[Term(stream="forget", values=nothing)])])
    with pytest.raises(NoEffect, match="gradient of exactly zero"):
        engine.run(order(), idle, task())
    monkeypatch.setattr(seal, "check_gradient", lambda *_: None)
    with pytest.raises(NoEffect, match="every weight is as it was"):
        engine.run(order(), idle, task())
    monkeypatch.setattr(seal, "check_delta", lambda _: None)
    with pytest.raises(NoEffect, match="answered as before"):
        engine.run(order(), idle, task())
    monkeypatch.setattr(seal, "check_answers", lambda _: None)
    after = engine.run(order(), idle, task()).tensors
    assert torch.equal(after["weight"], linear().state_dict()["weight"]), "nothing else would have noticed"


def test_weights_that_no_answer_depends_on_are_no_effect() -> None:
    class Idle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used = nn.Linear(3, 3)
            self.unused = nn.Parameter(torch.ones(2))

        def forward(self, inputs: Tensor) -> Tensor:
            found: Tensor = self.used(inputs)
            return found

    def edit(stove: Kitchen) -> dict[str, Tensor]:
        list(stove.through("forget"))
        return {"unused": torch.zeros(2)}

    with pytest.raises(NoEffect, match="answered as before"):
        engine.run(order(), edited(edit), task(drawn(Idle)))


def test_weights_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(Diverged):
        engine.run(order(), edited(lambda _: {"bias": torch.full((3,), torch.nan)}), task())


# 3. Retraining really begins afresh.


class Nested(nn.Module):
    """A model whose layers are grandchildren, with batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Sequential(nn.Linear(3, 64), nn.BatchNorm1d(64)), nn.Sequential(nn.Linear(64, 32)))
        self.head = nn.Linear(32, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        found: Tensor = self.head(self.body(inputs))
        return found


def test_every_depth_is_drawn_afresh_and_batch_norm_forgets() -> None:
    original: Nested = drawn(Nested)
    original(torch.randn(50, 3))
    fresh = reinitialise.fresh_copy(original, 1, None)
    for name, one in original.named_parameters():
        if one.dim() > 1:
            assert abs(reinitialise.correlation(one, fresh.get_parameter(name))) < 0.3
    assert torch.equal(fresh.get_buffer("body.0.1.running_mean"), torch.zeros(64))


def test_a_reset_that_misses_a_depth_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def only_the_head(model: nn.Module, trained: Mapping[str, nn.Parameter]) -> None:
        del trained
        for child in model.children():
            if isinstance(child, nn.Linear):
                child.reset_parameters()

    monkeypatch.setattr(reinitialise, "_reset", only_the_head)
    with pytest.raises(NotReinitialised, match="correlates"):
        reinitialise.fresh_copy(drawn(Nested), 1, None)
    monkeypatch.setattr(reinitialise, "check_fresh", lambda *_: None)
    left = reinitialise.fresh_copy(drawn(Nested), 1, None)
    assert torch.equal(left.get_parameter("body.1.0.weight"), drawn(Nested).get_parameter("body.1.0.weight"))


def test_a_weight_that_nothing_draws_is_named() -> None:
    with pytest.raises(NotReinitialised, match="nothing draws a, b afresh"):
        reinitialise.fresh_copy(drawn(lambda: LowRank(3, 3)), 1, None)


def test_a_builder_draws_what_modules_cannot_and_leaves_the_frozen_base() -> None:
    original = drawn(lambda: LowRank(40, 3, 4))
    fresh = reinitialise.fresh_copy(original, 1, lambda: LowRank(40, 3, 4))
    assert torch.equal(fresh.get_parameter("base.weight"), original.get_parameter("base.weight"))
    assert not torch.equal(fresh.get_parameter("a"), original.get_parameter("a"))


# 4. All language-model losses go through one masked, shifted kernel.

LOGITS = torch.tensor([[[2.0, 0.0, 0.0], [0.0, 3.0, 0.0], [0.0, 0.0, 4.0]]])
LABELS = torch.tensor([[IGNORED, 1, IGNORED]])


def test_only_what_counts_is_predicted_and_by_the_token_before() -> None:
    language = CausalLanguageModel()
    expected = torch.logsumexp(LOGITS[0, 0], 0) - LOGITS[0, 0, 1]
    assert language.losses(LOGITS, LABELS).tolist() == pytest.approx([float(expected)])
    assert language.units(LABELS).tolist() == [1.0]
    moved = LOGITS.clone()
    moved[:, 1:] += torch.randn(2, 3)
    for name in ("losses", "scores", "energies"):
        assert torch.equal(getattr(language, name)(LOGITS, LABELS), getattr(language, name)(moved, LABELS))
    teacher = LOGITS.flip(-1)
    assert torch.equal(language.divergences(LOGITS, teacher, LABELS), language.divergences(moved, teacher, LABELS))


def test_an_unmasked_kernel_would_index_the_vocabulary_from_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    right = CausalLanguageModel().losses(LOGITS, LABELS)

    def unmasked(logits: Tensor, labels: Tensor) -> Tensor:
        wanted = labels[:, 1:] % logits.shape[-1]
        return -logits[:, :-1].log_softmax(-1).gather(-1, wanted[..., None])[..., 0]

    monkeypatch.setattr(causal_language_model, "token_losses", unmasked)
    assert not torch.allclose(CausalLanguageModel().losses(LOGITS, LABELS), right)


def test_logits_are_not_mistaken_for_likelihoods() -> None:
    found = token_losses.token_losses(LOGITS, LABELS)
    assert torch.allclose(found, token_losses.token_losses(LOGITS + 7.0, LABELS), atol=1e-6)


# 5. A term gives one number per row.


def broadcast(kitchen: Kitchen, batch: Batch) -> Tensor:
    column = kitchen.losses(batch)[:, None]
    return (column - torch.zeros(len(batch))).square()


def test_a_term_that_broadcasts_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = recipe([Pass(selector=Alone("forget"), terms=[Term(stream="forget", values=broadcast)])])
    with pytest.raises(ValueError, match=r"\(3,\), and this one gave \(3, 3\)"):
        engine.run(order(), wrong, task(forget=3))
    monkeypatch.setattr(objective, "checked", lambda values, _: values)
    engine.run(order(), wrong, task(forget=3))


def test_a_regressor_never_subtracts_a_row_from_a_column() -> None:
    three = Samples(("a", "b", "c"), torch.randn(3, 2), torch.randn(3))
    values = task(drawn(lambda: nn.Linear(2, 1)))
    values = replace(values, forget=three, retain=None, modality=Modality.REGRESSOR)
    loss = kitchen(values).losses(kitchen(values).take("forget", torch.arange(3)))
    by_hand = (values.model(three.inputs)[:, 0] - three.targets).square() / 2
    assert loss.shape == (3,)
    assert torch.allclose(loss, by_hand)


# 6. How a step is split changes nothing.


def language_task() -> Task:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(7, 7)

        def forward(self, tokens: Tensor) -> Tensor:
            found: Tensor = self.table(tokens)
            return found

    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(7, (64, 9), generator=generator)
    lengths = torch.randint(1, 9, (64, 1), generator=generator)
    labels = tokens.masked_fill(torch.arange(9) > lengths, IGNORED)
    names = tuple(f"row {number}" for number in range(64))
    return Task(
        model=drawn(Model),
        modality=Modality.CAUSAL_LANGUAGE_MODEL,
        forget=Samples(names[:32], tokens[:32], labels[:32]),
        retain=Samples(names[32:], tokens[32:], labels[32:]),
    )


SELECTORS: list[Selector] = [Zipped(), Mixed()]


def split_gradient(size: int, together: int) -> dict[str, Tensor]:
    one = Pass(
        selector=SELECTORS[together], terms=[training("forget", -0.5), training("retain")], together=bool(together)
    )
    stove = kitchen(language_task(), size)
    [step] = one.selector.steps({"forget": 32, "retain": 32}, 32 * (1 + together), stove.generator("order"))
    found, _ = gradients(stove, one, step)
    return {name: tensor.clone() for name, tensor in found.items()}


@pytest.mark.parametrize("together", [0, 1])
@pytest.mark.parametrize("size", [8, 4, 3])
def test_one_by_32_four_by_8_and_eight_by_4_give_one_gradient(size: int, together: int) -> None:
    whole, split = split_gradient(64, together), split_gradient(size, together)
    assert all(torch.allclose(whole[name], split[name], atol=1e-7) for name in whole)


def test_averaging_each_part_by_itself_would_not(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = split_gradient(64, 0)
    before = objective._backward

    def by_parts(stove: Kitchen, one: Pass, part: Mapping[Any, Tensor], divisors: list[float]) -> float:
        del divisors
        return before(stove, one, part, [objective._divisor(stove, one, term, part) * 8 for term in one.terms])

    monkeypatch.setattr(objective, "_backward", by_parts)
    split = split_gradient(4, 0)
    assert not torch.allclose(whole["table.weight"], split["table.weight"], atol=1e-4)


def test_batch_norm_in_training_forbids_splitting() -> None:
    training_task = task(drawn(Nested))
    phase = replace(ascent().phases[0], training_mode=True)
    engine.run(order(), replace(ascent(), phases=[phase]), training_task)
    with pytest.raises(ValueError, match="ties a step's rows"):
        engine.run(order(rows_at_once=2), replace(ascent(), phases=[phase]), training_task)


# 7. Fisher information comes from gradients row by row.


def test_importance_is_the_mean_of_squares_whatever_the_batch_size() -> None:
    model = linear()
    found = [importance(kitchen(task(model), size), "forget") for size in (1, 5, 12)]
    rows_ = task(model).forget
    expected = torch.zeros(3, 3)
    for inputs, target in zip(rows_.inputs, rows_.targets, strict=True):
        probabilities = model(inputs[None]).softmax(-1)[0]
        slope = torch.outer(probabilities - torch.eye(3)[target], inputs)
        expected += slope.detach().square() / len(rows_)
    for one in found:
        assert torch.allclose(one["weight"], expected, atol=1e-6)


def test_squares_of_batch_means_would_depend_on_the_batch_size(monkeypatch: pytest.MonkeyPatch) -> None:
    rowwise = per_sample.per_sample_gradients

    def means(stove: Kitchen, batch: Batch, of: Any = "losses") -> dict[str, Tensor]:
        found = rowwise(stove, batch, of)
        return {name: one.mean(0, keepdim=True).expand_as(one) for name, one in found.items()}

    monkeypatch.setattr(per_sample, "per_sample_gradients", means)
    small, large = (importance(kitchen(task(), size), "forget")["weight"] for size in (1, 12))
    assert not torch.allclose(small, large, rtol=0.1)


# 8. The manifest and the bits are a function of order, rows and build.


def test_one_order_gives_one_manifest_and_other_seeds_others() -> None:
    first, second, other = (engine.run(order(seed), ascent(), task()) for seed in (1, 1, 2))
    assert first.manifest == second.manifest
    assert first.manifest["result"] != other.manifest["result"]
    assert first.manifest["rows"]["forget"]["count"] == 12
    assert {"environment", "model", "settings", "seed", "protocol", "weights", "run"} <= set(first.manifest)


def test_chance_from_torchs_own_stream_would_not_repeat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Kitchen, "generator", lambda *_: torch.Generator().manual_seed(torch.seed() % 2**60))
    first, second = (engine.run(order(1), ascent(), task()) for _ in range(2))
    assert first.manifest["result"] != second.manifest["result"]


def test_the_caller_keeps_its_model_and_its_random_numbers() -> None:
    model = linear()
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    engine.run(order(), ascent(), task(model))
    assert torch.equal(torch.rand(1), expected)
    assert torch.equal(model.get_parameter("weight"), linear().get_parameter("weight"))


# 9. Whoever spares rows of the forget set names them, and all are verified.


class Secret(Coreset):
    """Spares rows and does not say so."""

    @property
    def pruned(self) -> frozenset[int]:
        return frozenset()


def test_spared_rows_are_listed_and_still_to_be_verified() -> None:
    found = engine.run(order(), ascent(Coreset(Alone("forget"), frozenset({3, 5}))), task())
    assert found.pruned == ("forget 3", "forget 5")
    assert found.to_verify == task().forget.references


def test_rows_spared_in_silence_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    silent = ascent(Secret(Alone("forget"), frozenset({3, 5})))
    with pytest.raises(ForgetSetShrunk, match="2 of 12"):
        engine.run(order(), silent, task())
    monkeypatch.setattr(seal, "check_completeness", lambda *_: ())
    assert engine.run(order(), silent, task()).pruned == (), "nothing else would have noticed"


def test_the_kitchen_counts_only_rows_that_were_really_fed() -> None:
    stove = kitchen(task())
    assert not stove.fed["forget"].any()
    stove.look(0, 0, 0, None)
    assert not stove.fed["forget"].any(), "looking is not feeding"
    list(stove.through("forget"))
    assert stove.fed["forget"].all()
    assert rows(2).references == ("row 0", "row 1")
