"""Our language models compute what transformers' own Llama and GPT-2 do, from the same directories, and learn what they should."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn.functional import linear
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from core.datasets.contract import Kind
from core.domain.errors import Impossible
from core.domain.model import BackboneRecipe, NodeRecipe
from core.domain.task import TaskName
from core.modelling.adapters import adapters_from, factor_name
from core.modelling.backbone import head_of
from core.modelling.ensemble import Ensemble
from core.modelling.language_answers import continuation, likelihoods
from core.modelling.language_models import language_shape, read_language_model
from core.modelling.language_transformer import CONFIG, LanguageTransformer
from core.modelling.losses import UNTRAINED, row_losses
from core.modelling.peft_language import writers
from core.modelling.tensors import tensor_digest
from core.use_cases.adopt_encoder import FILES
from tests.unit.modelling.tiny_language import (
    FIRST,
    HEADS,
    LAST,
    LAYERS,
    POSITIONS,
    WIDTH,
    WRITERS,
    Writer,
    write_gpt2,
    write_language_model,
    write_tokenizer,
)

TEXTS = ["the film is good", "awful", "it was not a very nice play and the film is sad of to unheard words"]


def make_model(directory: Path, *, tokens: int = 12) -> LanguageTransformer:
    tensors = read_language_model(read_files(directory), layers=LAYERS)
    recipe = BackboneRecipe(width=WIDTH, layers=LAYERS, heads=HEADS, tokens=tokens)
    return language_shape(tensors, recipe).backbone(tensors)


def logits_of(model: LanguageTransformer, ids: torch.Tensor) -> torch.Tensor:
    features = model.top_features(model.embed(ids), model.folded(range(LAYERS), {}, 0.0))
    return linear(features, *head_of(model, model.tensors))


def read_files(directory: Path) -> dict[str, bytes]:
    return {name: (directory / name).read_bytes() for name in FILES[Kind.LANGUAGE]}


@pytest.fixture(scope="module", params=list(WRITERS))
def writer(request: pytest.FixtureRequest) -> Writer:
    return WRITERS[request.param]


@pytest.fixture(scope="module")
def directory(writer: Writer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return writer(tmp_path_factory.mktemp("model"))


@pytest.mark.parametrize(("tied", "said"), [(False, False), (True, True), (False, True)])
def test_it_computes_what_transformers_does_within_a_floats_tolerance(
    writer: Writer, tmp_path: Path, *, tied: bool, said: bool
) -> None:
    """Where a config says that the head is the words, and the file holds another one, it is the file's."""
    ours = make_model(writer(tmp_path / "one", tied=tied, tie_word_embeddings=said))
    theirs: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "one")
    ids = ours.token_ids([""] * 3, TEXTS)
    with torch.no_grad():
        torch.testing.assert_close(logits_of(ours, ids), theirs(input_ids=ids).logits, rtol=1e-5, atol=2e-5)


def test_a_gpt2_that_transformers_wrote_says_what_it_says_there(tmp_path: Path) -> None:
    """With its defaults: the MLP four times as wide as the states, head and words one, no word of either in config.json."""
    with torch.random.fork_rng([]):
        torch.manual_seed(3)
        config = GPT2Config(
            vocab_size=24, n_positions=16, n_embd=WIDTH, n_layer=LAYERS, n_head=HEADS, bos_token_id=FIRST,
            eos_token_id=LAST, initializer_range=0.4,
        )  # fmt: skip
        theirs: Any = GPT2LMHeadModel(config)
    theirs.eval()
    for name, parameter in theirs.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.4, generator=torch.Generator().manual_seed(len(name)))
    theirs.save_pretrained(tmp_path)
    write_tokenizer(tmp_path)
    ours = make_model(tmp_path, tokens=POSITIONS)
    assert ours.shape.tokens == 16, "there are no more learned places"
    ids = ours.token_ids([""] * 3, TEXTS)
    with torch.no_grad():
        torch.testing.assert_close(logits_of(ours, ids), theirs(input_ids=ids).logits, rtol=1e-5, atol=2e-5)


def test_a_gpt2_is_the_same_with_and_without_the_prefix_and_beside_the_masks_of_old_files(tmp_path: Path) -> None:
    named, bare = write_gpt2(tmp_path / "named"), write_gpt2(tmp_path / "bare", prefix="")
    old = load_file(bare / "model.safetensors")
    masks = {f"h.{layer}.attn.bias": torch.ones(1, 1, POSITIONS, POSITIONS).tril() for layer in range(LAYERS)}
    save_file(old | masks, bare / "model.safetensors")
    assert tensor_digest(make_model(named).tensors) == tensor_digest(make_model(bare).tensors)


def test_what_a_llamas_digest_stands_for_is_what_it_was_before_there_was_another_family(tmp_path: Path) -> None:
    model = make_model(write_language_model(tmp_path))
    assert bytes(model.tensors[CONFIG].numpy()) == (
        b'{"first": 2, "head_width": 4, "heads": 4, "key_value_heads": 2, "last": 3, "norm_epsilon": 1e-05, '
        b'"places_base": 500.0, "positions": 32}'
    )
    assert model.projections == ("q", "k", "v", "o", "up", "down", "gate"), "the order in which chance fills them"
    parts = {name.removeprefix("layer.0.") for name in model.tensors if not name.startswith("layer.")}
    assert parts == {"words", "norm.weight", "lm_head.weight", "config", "tokenizer"}


def test_a_directory_that_we_wrote_is_the_one_that_we_read(directory: Path, tmp_path: Path) -> None:
    read = make_model(directory)
    for name, content in writers(read)[0](read).items():
        (tmp_path / name).write_bytes(content)
    again = make_model(tmp_path)
    assert again.config == read.config
    assert {name: tensor.tolist() for name, tensor in again.tensors.items()} == {
        name: tensor.tolist() for name, tensor in read.tensors.items()
    }


def test_prompts_are_read_and_not_learned_and_texts_end_with_the_last_mark(directory: Path) -> None:
    model = make_model(directory, tokens=8)
    ids, following = (
        model.token_ids(["the film", ""], ["is good", "a play"]),
        model.next_tokens(["the film", ""], ["is good", "a play"]),
    )
    the, film, is_, good, a, play = (
        model.tokenizer.token_to_id(word) for word in ["the", "film", "is", "good", "a", "play"]
    )
    assert ids.tolist() == [[FIRST, the, film, is_, good, 0, 0, 0], [FIRST, a, play, 0, 0, 0, 0, 0]]
    none = UNTRAINED
    assert following.tolist() == [
        [none, none, is_, good, LAST, none, none, none],
        [a, play, LAST, none, none, none, none, none],
    ]


def test_a_text_that_is_too_long_is_cut_and_a_prompt_that_fills_all_leaves_nothing_to_learn(directory: Path) -> None:
    model = make_model(directory, tokens=4)
    assert model.next_tokens([""], ["the film is good and"]).shape == (1, 4)
    assert (model.next_tokens(["the film is good and"], ["nice"]) == UNTRAINED).all()
    loss = row_losses(TaskName.LANGUAGE, torch.randn(1, 4, 24), torch.full((1, 4), UNTRAINED))
    assert loss.tolist() == [0.0]


def test_without_a_first_mark_the_first_token_is_not_learned(writer: Writer, tmp_path: Path) -> None:
    model = make_model(writer(tmp_path, bos_token_id=None, eos_token_id=[LAST, 1]), tokens=4)
    the, film = (model.tokenizer.token_to_id(word) for word in ("the", "film"))
    assert model.token_ids([""], ["the film"]).tolist() == [[the, film, 0, 0]]
    assert model.next_tokens([""], ["the film"]).tolist() == [[film, LAST, UNTRAINED, UNTRAINED]]


def test_a_rows_loss_is_the_mean_over_its_own_learned_tokens() -> None:
    logits, targets = torch.randn(2, 3, 5), torch.tensor([[1, UNTRAINED, 4], [UNTRAINED, 2, UNTRAINED]])
    chances = torch.log_softmax(logits, dim=2)
    expected = torch.stack([-(chances[0, 0, 1] + chances[0, 2, 4]) / 2, -chances[1, 1, 2]])
    torch.testing.assert_close(row_losses(TaskName.LANGUAGE, logits, targets), expected)


def test_what_fills_a_text_up_moves_nothing(directory: Path) -> None:
    short, long = make_model(directory, tokens=6), make_model(directory, tokens=20)
    first, second = (logits_of(model, model.token_ids([""], TEXTS[:1]))[:, :5] for model in (short, long))
    torch.testing.assert_close(first, second)


def test_factors_move_all_projections_of_their_layer_by_their_scaled_product(directory: Path) -> None:
    model = make_model(directory)
    chance = torch.Generator().manual_seed(5)
    tensors, expected = {}, dict(model.tensors)
    for name, (rows, columns) in model.shape.adapted.items():
        tensors[factor_name(2, f"{name}_a")] = torch.randn((2, columns), generator=chance)
        tensors[factor_name(2, f"{name}_b")] = torch.randn((rows, 2), generator=chance)
        product = tensors[factor_name(2, f"{name}_b")] @ tensors[factor_name(2, f"{name}_a")]
        expected[f"layer.2.{name}.weight"] = expected[f"layer.2.{name}.weight"] + 0.5 * product
    gate = {"gate"} if model.title == "Llama" else set()
    assert set(model.shape.adapted) == {"q", "k", "v", "o", "up", "down"} | gate
    merged = type(model)(model.shape, expected)
    ids = model.token_ids([""] * 3, TEXTS)
    moved = model.run(model.embed(ids), model.folded(range(LAYERS), adapters_from(tensors), 0.5))
    plain = model.run(model.embed(ids), model.folded(range(LAYERS), {}, 0.5))
    torch.testing.assert_close(moved, merged.run(merged.embed(ids), merged.folded(range(LAYERS), {}, 0.0)))
    assert not torch.allclose(moved, plain)


def test_an_ensemble_without_shards_says_what_the_bare_model_does(directory: Path) -> None:
    model = make_model(directory)
    ensemble = Ensemble.build(model, [[]], NodeRecipe())
    said = likelihoods(ensemble, ["the film", ""], ["is good", "awful"])
    chances = torch.log_softmax(logits_of(model, model.token_ids(["the film"], ["is good"])), dim=2)[0]
    wanted = model.next_tokens(["the film"], ["is good"])[0]
    expected = sum(chances[place, token].item() for place, token in enumerate(wanted.tolist()) if token != UNTRAINED)
    assert said[0]["tokens"] == 3
    assert math.isclose(said[0]["log_likelihood"], expected, rel_tol=1e-4)
    assert likelihoods(ensemble, [""], ["awful"]) == said[1:], "an answer does not tell beside whom it was asked"


def test_a_model_that_answered_can_still_be_trained_through(directory: Path) -> None:
    model = make_model(directory)
    likelihoods(Ensemble.build(model, [[]], NodeRecipe()), [""], TEXTS[:1])
    hidden = model.embed(model.token_ids([""], TEXTS[:1])).requires_grad_()
    model.run(hidden, model.folded(range(1), {}, 0.0)).sum().backward()  # type: ignore[no-untyped-call]
    assert hidden.grad is not None


def test_a_prompt_goes_on_with_the_likeliest_tokens_until_the_last_mark_or_the_bound(directory: Path) -> None:
    model = make_model(directory)
    ensemble = Ensemble.build(model, [[]], NodeRecipe())
    said = continuation(ensemble, "the film", new_tokens=5)
    ids = model.prompt_ids("the film")
    for _ in range(said["tokens"]):
        ids.append(int(logits_of(model, torch.tensor([ids]))[0, -1].argmax()))
    assert model.tokenizer.decode(ids[3:]) == said["completion"]
    assert 0 <= said["tokens"] <= 5
    next_one = int(logits_of(model, torch.tensor([ids]))[0, -1].argmax())
    assert said["tokens"] == 5 or next_one == LAST
    long = continuation(ensemble, " ".join(["play"] * 40), new_tokens=2)
    assert long["tokens"] <= 2


def test_a_directory_that_lacks_a_part_is_refused(directory: Path) -> None:
    files = read_files(directory)
    with pytest.raises(Impossible, match="lack a tensor"):
        read_language_model(files, layers=LAYERS + 1)
    with pytest.raises(Impossible, match="tokenizer"):
        read_language_model({**files, "tokenizer.json": b"{}"}, layers=LAYERS)
    refused(directory, "of one .* model", bos_token_id=WIDTH * 100)


def test_a_config_that_is_of_other_tensors_is_refused(tmp_path: Path) -> None:
    refused(write_language_model(tmp_path / "llama"), "one Llama model", head_dim=8)
    gpt2 = write_gpt2(tmp_path / "gpt2")
    refused(gpt2, "one GPT-2 model", n_positions=2 * POSITIONS)
    refused(gpt2, "one GPT-2 model", n_embd=2 * WIDTH)


def test_a_head_that_is_missing_and_not_the_words_is_refused(writer: Writer, tmp_path: Path) -> None:
    refused(writer(tmp_path, tied=True), "lack a tensor", tie_word_embeddings=False)


def refused(directory: Path, why: str, **changed: Any) -> None:
    config = json.loads((directory / "config.json").read_text()) | changed
    with pytest.raises(Impossible, match=why):
        read_language_model({**read_files(directory), "config.json": json.dumps(config).encode()}, layers=LAYERS)
