"""Our text transformer computes what transformers' own BERT does, from the same directory, and reads no pickle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BertModel

from core.datasets.contract import Kind
from core.domain.errors import Impossible, PathNotAllowed
from core.domain.model import BackboneRecipe
from core.modelling.adapters import Adapter, adapters_from, factor_name
from core.modelling.text_transformer import TextTransformer, TextTransformerShape, read_encoder
from core.settings import Settings
from core.use_cases.adopt_encoder import FILES, read_encoder_files
from tests.unit.modelling.tiny_encoder import HEADS, LAYERS, WIDTH, write_encoder

TEXTS = ["the film is good", "awful", "it was not a very nice play and the film is sad of to unheard words", "a"]


def make_transformer(directory: Path, *, tokens: int = 12) -> TextTransformer:
    recipe = BackboneRecipe(width=WIDTH, layers=LAYERS, heads=HEADS, tokens=tokens)
    files = {name: (directory / name).read_bytes() for name in FILES[Kind.TEXT]}
    tensors = read_encoder(files, layers=LAYERS, outputs=2)
    return TextTransformerShape.of(tensors, recipe, outputs=2).backbone(tensors)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_encoder(tmp_path_factory.mktemp("encoder"))


def test_it_computes_what_transformers_does_within_a_floats_tolerance(directory: Path) -> None:
    ours = make_transformer(directory)
    theirs: Any = BertModel.from_pretrained(directory, add_pooling_layer=False)  # comes in evaluation mode
    ids = ours.token_ids(TEXTS)
    mask = (ids != 0).to(torch.int64)
    assert 0 < mask.sum() < mask.numel()
    with torch.no_grad():
        states = theirs(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states
        hidden = ours.embed(ids)
        weights = ours.folded(range(LAYERS), {}, 0.0)
        own = mask.bool()
        for layer in range(LAYERS + 1):
            torch.testing.assert_close(hidden[:, :, :-1][own], states[layer][own], rtol=1e-5, atol=1e-5)
            if layer < LAYERS:
                hidden = ours.run(hidden, weights[layer : layer + 1])
        mean = (states[-1] * mask[:, :, None]).sum(dim=1) / mask.sum(dim=1, keepdim=True)
        torch.testing.assert_close(ours.features(hidden), mean, rtol=1e-5, atol=1e-5)


def test_a_prefix_that_a_task_model_puts_before_names_changes_nothing(directory: Path, tmp_path: Path) -> None:
    prefixed = make_transformer(write_encoder(tmp_path / "prefixed", prefix="bert."))
    plain = make_transformer(directory)
    assert all(torch.equal(tensor, plain.tensors[name]) for name, tensor in prefixed.tensors.items())


def test_what_fills_a_text_up_moves_nothing(directory: Path) -> None:
    short, long = make_transformer(directory, tokens=8), make_transformer(directory, tokens=20)
    features = []
    for transformer in (short, long):
        weights = transformer.folded(range(LAYERS), {}, 0.0)
        features.append(transformer.top_features(transformer.embed(transformer.token_ids(TEXTS[:1])), weights))
    torch.testing.assert_close(features[0], features[1])


def test_a_text_alone_is_read_as_among_others_and_a_long_one_is_cut(directory: Path) -> None:
    transformer = make_transformer(directory)
    ids = transformer.token_ids(TEXTS)
    assert ids.shape == (4, 12)
    assert ids.dtype == torch.int64
    for row, text in enumerate(TEXTS):
        assert torch.equal(transformer.token_ids([text])[0], ids[row])
    assert ids[2, -1] == 3, "a text that is cut keeps its last mark"
    assert transformer.token_ids([]).shape == (0, 12)


def test_factors_move_query_and_value_by_their_scaled_product(directory: Path) -> None:
    transformer = make_transformer(directory)
    chance = torch.Generator().manual_seed(5)
    tensors = {
        factor_name(2, name): torch.randn((2, WIDTH) if name.endswith("a") else (WIDTH, 2), generator=chance)
        for name in Adapter._fields
    }
    adapters = adapters_from(tensors)
    moved, plain = (transformer.folded(range(2, 3), known, 0.5)[0].qkv[0] for known in (adapters, {}))
    q, k, v = (moved - plain).chunk(3)
    torch.testing.assert_close(q, 0.5 * adapters[2].q_b @ adapters[2].q_a)
    torch.testing.assert_close(v, 0.5 * adapters[2].v_b @ adapters[2].v_a)
    assert not k.any()


def test_files_come_from_the_allowed_directories_and_weights_as_safetensors_only(
    directory: Path, tmp_path: Path
) -> None:
    assert read_encoder_files(str(directory), Settings(data_roots=str(directory.parent)), Kind.TEXT).keys() == set(
        FILES[Kind.TEXT]
    )
    with pytest.raises(PathNotAllowed):
        read_encoder_files(str(directory), Settings(data_roots=str(tmp_path)), Kind.TEXT)
    with pytest.raises(PathNotAllowed):
        read_encoder_files(str(tmp_path / ".." / directory.name), Settings(data_roots=str(tmp_path)), Kind.TEXT)
    pickled = write_encoder(tmp_path / "pickled")
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    with pytest.raises(Impossible, match="safetensors only"):
        read_encoder_files(str(pickled), Settings(data_roots=str(tmp_path)), Kind.TEXT)


def test_an_encoder_that_lacks_a_tensor_or_has_no_tokenizer_is_refused(directory: Path) -> None:
    files = {name: (directory / name).read_bytes() for name in FILES[Kind.TEXT]}
    with pytest.raises(Impossible, match="lacks a tensor"):
        read_encoder(files, layers=LAYERS + 1, outputs=2)
    with pytest.raises(Impossible, match="tokenizer"):
        read_encoder({**files, "tokenizer.json": b"{}"}, layers=LAYERS, outputs=2)
