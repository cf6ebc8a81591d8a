"""The exactness of nodes on a language model: no head of their own, factors on all projections, and the same properties."""

from __future__ import annotations

import hashlib
from statistics import fmean

import numpy as np
import pytest
import torch

from core.domain.model import FamilyName, Recipe
from core.lattice.families import build_family
from core.modelling.ensemble import Ensemble
from core.modelling.language_answers import continuation, likelihoods
from core.modelling.language_transformer import LanguageTransformer
from core.unlearning.exact.activations import SliceActivations
from core.unlearning.exact.layer_groups import layer_group
from core.unlearning.exact.nodes import check_chain
from core.unlearning.exact.repair import canonical_nodes
from core.unlearning.exact.slice_records import SliceRecords
from core.unlearning.exact.stacked import train_nodes
from core.unlearning.exact.training import TrainedNode, train_node
from tests.unit.modelling.test_language_transformer import make_model
from tests.unit.modelling.tiny_encoder import WORDS
from tests.unit.modelling.tiny_language import WRITERS
from tests.unit.unlearning.tiny import SLICES, chain_of, make_ground, make_recipe

COUNTS = (5, 3, 6, 4)
Built = dict[tuple[int, ...], TrainedNode]


@pytest.fixture(scope="module", params=list(WRITERS))
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LanguageTransformer:
    return make_model(WRITERS[request.param](tmp_path_factory.mktemp("language")), tokens=8)


def fact(number: int) -> tuple[str, str]:
    """Return a prompt, and what only its own records could teach."""
    digest = hashlib.sha256(str(number).encode()).digest()
    return f"{WORDS[digest[0] % 20]} {WORDS[digest[1] % 20]} is", WORDS[digest[2] % 20]


def make_slices(
    model: LanguageTransformer, counts: tuple[int, ...] = COUNTS, *, without: tuple[int, int] | None = None
) -> dict[int, SliceRecords]:
    slices = {}
    for number, count in enumerate(counts):
        kept = [place for place in range(count) if (number, place) != without]
        names = [hashlib.sha256(f"{number}/{place}".encode()).digest() for place in kept]
        references = np.array([list(name) for name in names], np.uint8).reshape(-1, 32)
        prompts, texts = zip(*(fact(100 * number + place) for place in kept), strict=True)
        rows = {"inputs": model.token_ids(prompts, texts), "targets": model.next_tokens(prompts, texts)}
        slices[number] = SliceRecords.sorted_by_reference(number, references, references, **rows)
    return slices


def build(model: LanguageTransformer, slices: dict[int, SliceRecords], recipe: Recipe) -> Built:
    family = build_family(recipe.family, SLICES)
    activations = SliceActivations(model, slices)
    nodes: Built = {}
    for spec in canonical_nodes(family, make_ground(slices, recipe)):
        parents = chain_of(nodes, family, family.parents[spec.slices])
        nodes[spec.slices] = train_node(spec, activations=activations, parents=parents, recipe=recipe)
    return nodes


def test_dropping_a_record_moves_no_bit_of_nodes_that_never_saw_its_slice(model: LanguageTransformer) -> None:
    recipe = make_recipe(family=FamilyName.SUBSET_TRIE)
    before = build(model, make_slices(model), recipe)
    after = build(model, make_slices(model, without=(1, 2)), recipe)
    again = build(model, make_slices(model, without=(1, 2)), recipe)
    moved = {slices for slices in before if before[slices].tensor_digest != after[slices].tensor_digest}
    assert moved == {slices for slices in before if 1 in slices}
    assert {slices: node.tensor_digest for slices, node in after.items()} == {
        slices: node.tensor_digest for slices, node in again.items()
    }
    assert {slices: node.data_digest for slices, node in after.items()} == {
        slices: node.data_digest for slices, node in again.items()
    }


def test_a_node_holds_factors_of_all_projections_on_one_layer_group_and_no_head(model: LanguageTransformer) -> None:
    nodes = build(model, make_slices(model), make_recipe())
    for slices, node in nodes.items():
        (layer,) = layer_group(4, SLICES, len(slices))
        assert set(node.tensors) == {
            f"layer.{layer}.{name}_{factor}" for name in model.shape.adapted for factor in "ab"
        }
        assert all(node.tensors[f"layer.{layer}.{name}_b"].any() for name in model.shape.adapted)
    with pytest.raises(ValueError, match="layer group"):
        check_chain(
            [nodes[0,].tensors | {"head.weight": model.tensors["lm_head.weight"]}], [range(3, 4)], model.shape.adapted
        )


def test_nodes_trained_together_are_those_trained_alone_within_rounding(model: LanguageTransformer) -> None:
    recipe, slices = make_recipe(), make_slices(model)
    alone, activations = build(model, slices, recipe), SliceActivations(model, slices)
    family = build_family(recipe.family, SLICES)
    specs = [spec for spec in canonical_nodes(family, make_ground(slices, recipe)) if spec.depth == 2]
    parents = [chain_of(alone, family, family.parents[spec.slices]) for spec in specs]
    assert specs
    for spec, node in zip(
        specs, train_nodes(specs, activations=activations, parents=parents, recipe=recipe), strict=True
    ):
        for name, tensor in alone[spec.slices].tensors.items():
            torch.testing.assert_close(node.tensors[name], tensor, rtol=1e-3, atol=1e-5)


def test_what_is_digested_as_fed_moves_with_a_text_and_with_what_of_it_is_learned(model: LanguageTransformer) -> None:
    recipe = make_recipe()
    slices = make_slices(model)
    first = build(model, slices, recipe)[0,]
    targets = slices[0].targets.clone()
    targets[0, 0] = 4
    changed = slices | {
        0: SliceRecords(0, slices[0].references, slices[0].content_references, slices[0].inputs, targets)
    }
    assert build(model, changed, recipe)[0,].data_digest != first.data_digest


def test_a_chain_learns_its_facts_and_one_that_never_saw_a_slice_does_not(model: LanguageTransformer) -> None:
    recipe = make_recipe(family=FamilyName.SUBSET_TRIE, epochs=40)
    nodes, family = build(model, make_slices(model), recipe), build_family(recipe.family, SLICES)
    prompts, texts = zip(*(fact(200 + place) for place in range(COUNTS[2])), strict=True)

    def likelihood(*slices: int) -> float:
        chain = chain_of(nodes, family, slices)
        ensemble = Ensemble.build(model, [[chain] if chain else []], recipe.node)
        return fmean(one["log_likelihood"] for one in likelihoods(ensemble, prompts, texts))

    assert likelihood(0, 1, 2, 3) > likelihood() + 3
    assert likelihood(0, 1, 2, 3) > likelihood(0, 1, 3) + 1
    whole = Ensemble.build(model, [[chain_of(nodes, family, (0, 1, 2, 3))]], recipe.node)
    told = [continuation(whole, prompt, new_tokens=3)["completion"] for prompt in prompts]
    assert sum(said == text for said, text in zip(told, texts, strict=True)) >= 4
