"""Every method against its formula, written once more by hand on a case small enough to see through.

Steps hold whole streams, so that order does not matter; the references use torch's AdamW and nothing of the kitchen.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, kl_div, log_softmax, logsigmoid, softmax

from benchmarks.approximate.worlds import TinyLanguageModel
from core.methods.card import Modality
from core.unlearning.approximate.datamodels import from_subsets, linearised
from core.unlearning.approximate.kitchen import Task
from core.unlearning.approximate.methods.blindspot import attention
from core.unlearning.approximate.methods.negative_preference import negative_preference_losses
from core.unlearning.approximate.methods.negmerge import agreed, rates
from core.unlearning.approximate.methods.representation_misdirection import layer_of, mean_square
from core.unlearning.approximate.methods.salun import saliency
from core.unlearning.approximate.methods.selective_synaptic_dampening import dampened
from core.unlearning.approximate.methods.simple_negative_preference import simple_negative_preference_losses
from core.unlearning.approximate.registry import RECIPES
from core.unlearning.approximate.reinitialise import fresh_copy
from core.unlearning.approximate.relabelling import LABELS, draw_labels
from core.unlearning.approximate.samples import Samples
from core.unlearning.approximate.unlearn import order_for, unlearn
from tests.unit.unlearning.approximate.tiny import drawn, kitchen, linear, rows, task

RATE = 0.02
Losses = Sequence[Callable[[nn.Module], Tensor]]


def whole(method: str, task_: Task | None = None, **settings: Any) -> dict[str, Tensor]:
    """Return what a method makes of the tiny task, each step holding whole streams."""
    found = unlearn(order_for(method, {"batch_size": 4096, "learning_rate": RATE, **settings}), task_ or task())
    return found.tensors


def by_hand(losses: Losses, epochs: int, model: nn.Module | None = None) -> nn.Module:
    """Descend once per epoch on each loss in turn, from a copy of the tiny model."""
    student = copy.deepcopy(linear() if model is None else model)
    optimiser = torch.optim.AdamW(student.parameters(), lr=RATE, weight_decay=0.0)
    for _ in range(epochs):
        for loss in losses:
            optimiser.zero_grad()
            loss(student).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    return student


def assert_same(found: dict[str, Tensor], model: nn.Module, tolerance: float = 1e-5) -> None:
    for name, tensor in model.state_dict().items():
        assert torch.allclose(found[name], tensor, atol=tolerance), name


F = task().forget
R = rows(20, seed=2, name="retain")
HALF = replace(task(), forget=rows(20, seed=1, name="forget"))
"""As many rows to forget as stay, so that zipped steps hold both whole."""
F20 = HALF.forget


def loss(rows_: Samples, targets: Tensor | None = None) -> Callable[[nn.Module], Tensor]:
    return lambda model: cross_entropy(model(rows_.inputs), rows_.targets if targets is None else targets)


def divergence(rows_: Samples, teacher: nn.Module, temperature: float = 1.0) -> Callable[[nn.Module], Tensor]:
    def found(model: nn.Module) -> Tensor:
        wanted = softmax(teacher(rows_.inputs).detach() / temperature, -1)
        said = log_softmax(model(rows_.inputs) / temperature, -1)
        return temperature**2 * kl_div(said, wanted, reduction="batchmean")

    return found


def test_fine_tune_descends_on_what_stays() -> None:
    assert_same(whole("fine_tune", epochs=4), by_hand([loss(R)], 4))


def test_retrain_is_training_from_a_fresh_start_with_a_falling_rate() -> None:
    order = order_for("retrain", {"batch_size": 4096, "learning_rate": RATE, "epochs": 4})
    found = unlearn(order, task())
    stove = kitchen(task())
    fresh = fresh_copy(linear(), stove.derived_seed("reinitialise", 0), None)
    optimiser = torch.optim.AdamW(fresh.parameters(), lr=RATE, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 4)
    for _ in range(4):
        optimiser.zero_grad()
        loss(R)(fresh).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
    assert_same(found.tensors, fresh)


def test_gradient_ascent_climbs_with_shortened_gradients() -> None:
    found = whole("gradient_ascent", epochs=3, largest_gradient=1e6)
    assert_same(found, by_hand([lambda model: -loss(F)(model)], 3))
    model = linear()
    loss(F)(model).backward()  # type: ignore[no-untyped-call]
    length = float(nn.utils.clip_grad_norm_(model.parameters(), 1e-3))
    assert length > 1e-3
    assert not torch.equal(whole("gradient_ascent", epochs=3, largest_gradient=1e-9)["weight"], found["weight"])


@pytest.mark.parametrize("retain_by", ["loss", "divergence"])
def test_gradient_difference_climbs_on_some_and_descends_on_others(retain_by: str) -> None:
    keep = loss(R) if retain_by == "loss" else divergence(R, linear())
    found = whole("gradient_difference", HALF, epochs=3, forget_weight=0.3, retain_by=retain_by, largest_gradient=1e6)
    assert_same(found, by_hand([lambda model: -0.3 * loss(F20)(model) + keep(model)], 3))


def test_random_label_alternates_between_drawn_and_true_targets() -> None:
    labels = draw_labels(kitchen(task()))[LABELS]
    assert not (labels == F.targets).any(), "never the true one"
    assert_same(whole("random_label", epochs=3), by_hand([loss(F, labels), loss(R)], 3))


def test_random_labels_are_drawn_evenly_from_the_other_classes() -> None:
    many = replace(task(), forget=rows(3000, seed=1, name="forget"))
    shift = (draw_labels(kitchen(many))[LABELS] - many.forget.targets) % 3
    assert shift.bincount(minlength=3).tolist() == pytest.approx([0, 1500, 1500], abs=150)


def test_salun_masks_the_smaller_half_of_the_forget_gradient() -> None:
    model = linear()
    loss(F)(model).backward()  # type: ignore[no-untyped-call]
    sizes = torch.cat([one.grad.abs().flatten() for one in model.parameters() if one.grad is not None])
    expected = sizes > sizes.sort().values[len(sizes) // 2 - 1]
    found = saliency(kitchen(task()), share=0.5)
    assert torch.equal(torch.cat([one.flatten() for one in found.values()]), expected)
    free = whole("salun", epochs=3, mask_share=1.0)
    assert_same(free, by_hand([loss(F, draw_labels(kitchen(task()))[LABELS]), loss(R)], 3))


def test_l1_sparse_adds_a_norm_that_fades() -> None:
    epochs = 4
    factors = iter([1 - step / epochs for step in range(epochs)])

    def penalised(model: nn.Module) -> Tensor:
        norm = torch.stack([one.abs().sum() for one in model.parameters()]).sum()
        return loss(R)(model) + 0.05 * next(factors) * norm

    assert_same(whole("l1_sparse", epochs=epochs, sparsity=0.05), by_hand([penalised], epochs))


def test_scrub_keeps_first_and_pushes_then() -> None:
    teacher = linear()
    keep: Callable[[nn.Module], Tensor] = lambda model: 0.1 * divergence(R, teacher, 2.0)(model) + loss(R)(model)  # noqa: E731
    push: Callable[[nn.Module], Tensor] = lambda model: -divergence(F, teacher, 2.0)(model)  # noqa: E731
    both = whole("scrub", epochs=3, forget_epochs=3)
    assert_same(both, by_hand([keep, push], 3), 1e-4)
    more = whole("scrub", epochs=5, forget_epochs=3)
    assert_same(more, by_hand([keep], 2, by_hand([keep, push], 3)), 1e-4)


def test_bad_teacher_distils_two_teachers_in_one_mean() -> None:
    stove = kitchen(task())
    random = fresh_copy(linear(), stove.derived_seed("teacher"), None)

    def mixed(model: nn.Module) -> Tensor:
        both = len(F) * divergence(F, random)(model) + len(R) * divergence(R, linear())(model)
        return torch.as_tensor(both / (len(F) + len(R)))

    assert_same(whole("bad_teacher", epochs=4, retain_share=1.0), by_hand([mixed], 4), 1e-4)


def test_dampening_shrinks_what_matters_mostly_here() -> None:
    weights = {"w": torch.tensor([1.0, 2.0, 4.0, 8.0])}
    here = {"w": torch.tensor([1.0, 30.0, 5.0, 0.0])}
    everywhere = {"w": torch.tensor([1.0, 1.0, 1.0, 1.0])}
    found = dampened(weights, here, everywhere, selection=2.0, dampening=10.0)["w"]
    assert found.tolist() == pytest.approx([1.0, 2.0 / 3, 4.0, 8.0]), "by min(10/30, 1); 10/5 does not enlarge"


@pytest.mark.parametrize("labels", [True, False])
def test_synaptic_dampening_of_a_linear_model(*, labels: bool) -> None:
    def squares(rows_: Samples) -> Tensor:
        total = torch.zeros(3, 3)
        for inputs, target in zip(rows_.inputs, rows_.targets, strict=True):
            logits = linear()(inputs[None])[0].detach()
            slope = logits.softmax(-1) - torch.eye(3)[target] if labels else 2 * logits
            total += torch.outer(slope, inputs).square()
        return total

    here, overall = squares(F) / len(F), (squares(F) + squares(R)) / (len(F) + len(R))
    before = linear().get_parameter("weight").detach()
    expected = torch.where(here > 1.2 * overall, before * (overall / here).clamp(max=1), before)
    name = "selective_synaptic_dampening" if labels else "label_free_synaptic_dampening"
    found = unlearn(order_for(name, {"selection": 1.2}), task())
    assert torch.allclose(found.tensors["weight"], expected, atol=1e-6)
    assert not torch.equal(expected, before)


def test_importance_kept_from_training_time_is_used() -> None:
    artefacts = {"importance/weight": torch.zeros(3, 3), "importance/bias": torch.zeros(3)}
    found = unlearn(order_for("ssd"), replace(task(), artefacts=artefacts)).tensors
    assert torch.equal(found["weight"], torch.zeros(3, 3)), "what matters to none but these rows is gone"


def regression() -> tuple[Task, Tensor]:
    """Return least squares at its optimum over all rows, and its optimum over those that stay."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(40, 4, generator=generator)
    targets = inputs @ torch.tensor([1.0, -2.0, 0.5, 0.0]) + 0.3 * torch.randn(40, generator=generator)
    model = nn.Linear(4, 1, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.linalg.lstsq(inputs, targets[:, None]).solution.T)
    names = tuple(map(str, range(40)))
    found = Task(
        model=model,
        modality=Modality.REGRESSOR,
        forget=Samples(names[:8], inputs[:8], targets[:8]),
        retain=Samples(names[8:], inputs[8:], targets[8:]),
    )
    return found, torch.linalg.lstsq(inputs[8:], targets[8:, None]).solution.T


def test_influence_is_retraining_for_least_squares() -> None:
    least, wanted = regression()
    found = unlearn(order_for("influence", {"damping": 1e-8, "iterations": 20}), least).tensors["weight"]
    assert torch.allclose(found, wanted, atol=1e-4)
    assert not torch.allclose(least.model.get_parameter("weight"), wanted, atol=1e-2)


def test_influence_nears_retraining_of_a_logistic_model_with_every_step() -> None:
    def fitted(rows_: Sequence[Samples]) -> nn.Module:
        model = linear()
        optimiser = torch.optim.LBFGS(
            model.parameters(), max_iter=500, tolerance_grad=1e-9, line_search_fn="strong_wolfe"
        )
        inputs, targets = (torch.cat([getattr(one, part) for one in rows_]) for part in ("inputs", "targets"))

        def closure() -> Tensor:
            optimiser.zero_grad()
            value = cross_entropy(model(inputs), targets)
            value.backward()  # type: ignore[no-untyped-call]
            return value

        optimiser.step(closure)  # type: ignore[no-untyped-call]
        return model

    original, oracle = fitted([F, R]), fitted([R])

    def gap(tensors: dict[str, Tensor]) -> float:
        return float(
            (
                torch.log_softmax(R.inputs @ tensors["weight"].T + tensors["bias"], -1)
                - log_softmax(oracle(R.inputs).detach(), -1)
            )
            .abs()
            .max()
        )

    gaps = [gap({name: one.detach() for name, one in original.state_dict().items()})]
    for steps in (1, 3):
        order = order_for("influence", {"damping": 1e-6, "steps": steps, "iterations": 100})
        gaps.append(gap(unlearn(order, task(original)).tensors))
    assert gaps[1] < 0.5 * gaps[0]
    assert gaps[2] < 0.1 * gaps[1]


def test_task_arithmetic_goes_the_opposite_way() -> None:
    learned = by_hand([loss(F)], 3).state_dict()
    found = whole("task_arithmetic", epochs=3, scale=2.0)
    for name, before in linear().state_dict().items():
        assert torch.allclose(found[name], before - 2 * (learned[name] - before), atol=1e-5)


def test_negmerge_keeps_what_all_agree_on() -> None:
    pool = [torch.tensor([1.0, -1.0, 2.0, 0.0]), torch.tensor([3.0, 1.0, 4.0, 1.0])]
    assert agreed(pool).tolist() == [2.0, 0.0, 3.0, 0.0]
    order = order_for("negmerge", {"pool": 3, "learning_rate": RATE, "spread": 4.0, "epochs": 2, "batch_size": 4096})
    assert rates(order.settings) == pytest.approx([RATE / 2, RATE, RATE * 2])  # type: ignore[arg-type]
    found = unlearn(order, task()).tensors
    single = [
        whole("fine_tune", replace(task(), retain=F, forget=R), epochs=2, learning_rate=rate)["weight"]
        for rate in (RATE / 2, RATE, RATE * 2)
    ]
    before = linear().get_parameter("weight").detach()
    assert torch.allclose(found["weight"], before - agreed([one - before for one in single]), atol=1e-5)


def test_negative_preference_by_hand() -> None:
    before = cross_entropy(linear()(F20.inputs), F20.targets, reduction="none").detach()

    def objective(model: nn.Module) -> Tensor:
        now = cross_entropy(model(F20.inputs), F20.targets, reduction="none")
        return -2 / 0.5 * logsigmoid(0.5 * (now - before)).mean() + loss(R)(model)

    assert_same(whole("negative_preference", HALF, epochs=3, beta=0.5), by_hand([objective], 3))


def test_a_small_beta_recovers_gradient_ascent() -> None:
    losses = torch.tensor([0.5, 2.0], requires_grad=True)
    negative_preference_losses(losses, torch.tensor([1.0, 1.0]), beta=1e-4).sum().backward()  # type: ignore[no-untyped-call]
    assert losses.grad is not None
    assert losses.grad.tolist() == pytest.approx([-1.0, -1.0], abs=1e-3)


def test_negative_preference_refuses_to_broadcast() -> None:
    with pytest.raises(ValueError, match="shape"):
        negative_preference_losses(torch.zeros(3), torch.zeros(3, 1), beta=1.0)


def test_simple_negative_preference_by_hand() -> None:
    def objective(model: nn.Module) -> Tensor:
        now = cross_entropy(model(F20.inputs), F20.targets, reduction="none")
        return 0.7 * (-2 / 1.5 * logsigmoid(1.5 * (now - 0.2)).mean()) + loss(R)(model)

    found = whole("simple_negative_preference", HALF, epochs=3, beta=1.5, delta=0.2, forget_weight=0.7)
    assert_same(found, by_hand([objective], 3))
    value = simple_negative_preference_losses(torch.tensor([0.0]), beta=2.0, delta=0.0)
    assert value.tolist() == pytest.approx([0.6931472])


def test_preference_divides_by_tokens_only_in_the_simple_form() -> None:
    """An answer of four tokens at one nat each: four nats as a whole, one per token."""
    summed = negative_preference_losses(torch.tensor([4.0]), torch.tensor([0.0]), beta=1.0)
    each = simple_negative_preference_losses(torch.tensor([4.0 / 4]), beta=1.0, delta=0.0)
    assert summed.tolist() == pytest.approx([2 * float(torch.log1p(torch.exp(torch.tensor(-4.0))))])
    assert each.tolist() == pytest.approx([2 * float(torch.log1p(torch.exp(torch.tensor(-1.0))))])


def language_task() -> Task:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(24, (12, 8), generator=generator)
    labels = tokens.clone()
    labels[:, :3] = -100
    names = tuple(map(str, range(12)))
    return Task(
        model=drawn(lambda: TinyLanguageModel(16, 5)),
        modality=Modality.CAUSAL_LANGUAGE_MODEL,
        forget=Samples(names[:6], tokens[:6], labels[:6]),
        retain=Samples(names[6:], tokens[6:], labels[6:]),
    )


def test_misdirection_changes_only_the_blocks_up_to_its_layer() -> None:
    language = language_task()
    order = order_for("rmu", {"trained_layers": 2, "epochs": 3, "learning_rate": RATE, "batch_size": 4096})
    assert layer_of(language.model, order.settings) == "blocks.2"  # type: ignore[arg-type]
    found = unlearn(order, language).tensors
    before = language.model.state_dict()
    changed = {
        name.split(".")[1] if name.startswith("blocks") else name
        for name in before
        if not torch.equal(before[name], found[name])
    }
    assert changed == {"1", "2"}


def test_misdirection_by_hand() -> None:
    language = language_task()
    settings = {
        "trained_layers": 1,
        "steering": 5.0,
        "retain_weight": 3.0,
        "epochs": 3,
        "learning_rate": RATE,
        "batch_size": 4096,
    }
    order = order_for("rmu", settings)
    found = unlearn(order, language).tensors
    direction = torch.rand(16, generator=kitchen(language).generator("direction"))
    target = 5.0 * direction / direction.norm()

    def hidden(model: nn.Module, tokens: Tensor) -> Tensor:
        assert isinstance(model, TinyLanguageModel)
        value: Tensor = model.tokens(tokens) + model.places.weight
        for block in list(model.blocks)[:3]:
            value = block(value)
        return value[:, 3:]

    original = hidden(language.model, language.retain.inputs).detach()  # type: ignore[union-attr]

    def objective(model: nn.Module) -> Tensor:
        away: Tensor = (hidden(model, language.forget.inputs) - target).square().mean()
        kept: Tensor = 3.0 * (hidden(model, language.retain.inputs) - original).square().mean()  # type: ignore[union-attr]
        return away + kept

    student = copy.deepcopy(language.model)
    for name, parameter in student.named_parameters():
        parameter.requires_grad_(name.startswith("blocks.2"))
    student = by_hand([objective], 3, student)
    assert isinstance(student, TinyLanguageModel)
    bias = student.get_parameter("blocks.2.mixed.bias")
    with torch.no_grad():
        # Attention does not depend on the keys' bias: its gradient is rounding, and AdamW's steps follow rounding's sign.
        bias[16:32] = found["blocks.2.mixed.bias"][16:32]
    assert_same(found, student, 1e-4)


def test_the_distance_of_activations_is_a_mean_over_answer_tokens_and_channels() -> None:
    difference = torch.tensor([[[3.0, 1.0], [1.0, 1.0]], [[2.0, 2.0], [9.0, 9.0]]])
    targets = torch.tensor([[5, 5], [5, -100]])
    assert mean_square(difference, targets).tolist() == pytest.approx([(5 + 1) / 2, 4.0])


def test_gaussian_values_have_the_targets_mean_and_spread() -> None:
    least, _ = regression()
    many = replace(least, forget=Samples(tuple(f"f{n}" for n in range(4000)), torch.zeros(4000, 4), torch.zeros(4000)))
    order = order_for("gaussian_amnesiac", {})
    prepare = RECIPES["gaussian_amnesiac"](order.settings).prepare
    assert prepare is not None
    values = prepare(kitchen(many))["drawn_values"]
    every = torch.cat([many.forget.targets, least.retain.targets])  # type: ignore[union-attr]
    assert float(values.mean()) == pytest.approx(float(every.mean()), abs=0.05)
    assert float(values.std()) == pytest.approx(float(every.std()), rel=0.05)


def test_gaussian_amnesiac_by_hand() -> None:
    least, _ = regression()
    order = order_for("gaussian_amnesiac", {"epochs": 3, "learning_rate": RATE, "batch_size": 4096})
    prepare = RECIPES["gaussian_amnesiac"](order.settings).prepare
    assert prepare is not None
    drawn_values = prepare(kitchen(least))["drawn_values"]
    inputs = torch.cat([least.forget.inputs, least.retain.inputs])  # type: ignore[union-attr]
    targets = torch.cat([drawn_values, least.retain.targets])  # type: ignore[union-attr]
    found = unlearn(order, least).tensors
    assert_same(found, by_hand([lambda model: (model(inputs)[:, 0] - targets).square().mean() / 2], 3, least.model))


def test_attention_is_the_share_of_each_place() -> None:
    found = attention(torch.tensor([[[3.0, 0.0], [3.0, 4.0]]]))
    assert torch.allclose(found, torch.tensor([[9.0, 8.0]]) / torch.tensor([9.0, 8.0]).norm())
    assert torch.allclose(attention(torch.tensor([[2.0, 0.0]])), torch.tensor([[1.0, 0.0]]))


def test_blindspot_by_hand() -> None:
    least, _ = regression()
    assert least.retain is not None
    retain, forget = least.retain, least.forget
    settings = {"epochs": 3, "proxy_epochs": 2, "learning_rate": RATE, "batch_size": 4096}
    found = unlearn(order_for("blindspot", settings), least).tensors
    fresh = fresh_copy(least.model, kitchen(least).derived_seed("reinitialise", 0), None)
    proxy = by_hand([lambda model: (model(retain.inputs)[:, 0] - retain.targets).square().mean() / 2], 2, fresh)
    wanted = proxy(forget.inputs).detach()

    def objective(model: nn.Module) -> Tensor:
        taught = (model(forget.inputs) - wanted).abs().sum()
        kept = (model(retain.inputs)[:, 0] - retain.targets).abs().sum()
        mean: Tensor = (taught + kept) / (len(forget) + len(retain))
        return mean

    assert_same(found, by_hand([objective], 3, least.model))


def test_a_datamodel_finds_planted_attributions() -> None:
    generator = torch.Generator().manual_seed(0)
    planted = torch.randn(6, 5, 2, generator=generator, dtype=torch.float64)
    included = (torch.rand(60, 6, generator=generator) > 0.5).double()
    answers = torch.einsum("mg,gro->mro", included, planted) + 3.0
    found = from_subsets(included, answers, ridge=1e-9)
    assert torch.allclose(found.attributions, planted, atol=1e-6)
    everything = planted.sum(0) + 3.0
    assert torch.allclose(found.without(everything, 2), everything - planted[2], atol=1e-6)


def test_the_linearised_prediction_is_retraining_for_least_squares_and_matching_reaches_it() -> None:
    least, wanted = regression()
    artefacts = linearised(least, damping=1e-8)
    assert torch.allclose(artefacts["datamodel/forget"], least.forget.inputs @ wanted.T, atol=1e-3)
    settings = {"epochs": 80, "learning_rate": 0.1, "batch_size": 16}
    found = unlearn(order_for("dmm", settings), replace(least, artefacts=artefacts)).tensors["weight"]
    assert torch.allclose(found, wanted, atol=5e-3)


def test_predictions_of_another_shape_are_refused() -> None:
    least, _ = regression()
    artefacts = {name: one[:, 0] for name, one in linearised(least, damping=1e-3).items()}
    with pytest.raises(ValueError, match="predicted answers"):
        unlearn(order_for("dmm"), replace(least, artefacts=artefacts))
