"""The small models that the demo's texts stand on: trained from scratch on public texts, in seconds, with a fixed seed.

They become directories as Hugging Face writes them, which the service adopts as it would adopt any other.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from core.modelling.tensors import NamedTensors

MARKS = ("[PAD]", "[UNK]", "[BOS]", "[EOS]", "[CLS]", "[SEP]")
WIDTH, LAYERS, HEADS, INNER = 64, 4, 4, 128
SEED = 20261121
LANGUAGE_RATE, ENCODER_RATE = 3e-3, 1e-3
"""Norms that come last bear less (arXiv:2002.04745)."""
Files = dict[str, bytes]


def words_tokenizer(words: Sequence[str], *, marked: bool) -> bytes:
    """Return a tokenizer of whole words; the list is closed and declared, it does not follow from any row."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from tokenizers.processors import TemplateProcessing

    known = {word: number for number, word in enumerate([*MARKS, *words])}
    tokenizer = Tokenizer(WordLevel(known, unk_token="[UNK]"))  # noqa: S106
    tokenizer.pre_tokenizer = WhitespaceSplit()
    if marked:
        marks = [(mark, known[mark]) for mark in ("[CLS]", "[SEP]")]
        tokenizer.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=marks)
    return str(tokenizer.to_str()).encode()


def pairs_tokenizer(texts: Sequence[str], *, marked: bool, words: int = 2000) -> bytes:
    """Return a tokenizer of byte pairs that are frequent in public texts; what they lack is cut finer, never unknown."""
    from tokenizers import Tokenizer
    from tokenizers.decoders import ByteLevel as Decoder
    from tokenizers.models import BPE
    from tokenizers.pre_tokenizers import ByteLevel
    from tokenizers.processors import TemplateProcessing
    from tokenizers.trainers import BpeTrainer

    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=True)
    tokenizer.decoder = Decoder()
    alphabet = ByteLevel.alphabet()
    trainer = BpeTrainer(vocab_size=words, special_tokens=list(MARKS), initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    if marked:
        marks = [(mark, tokenizer.token_to_id(mark)) for mark in ("[CLS]", "[SEP]")]
        tokenizer.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=marks)
    return str(tokenizer.to_str()).encode()


def language_model(
    prompts: Sequence[str], texts: Sequence[str], tokenizer: bytes, *, tokens: int, epochs: int
) -> Files:
    """Return a tiny Llama's directory, trained on public prompts and what follows them; prompts are learned as well."""
    import torch

    from core.domain.model import BackboneRecipe
    from core.domain.task import TaskName
    from core.modelling.backbone import head_of
    from core.modelling.language_transformer import LanguageTransformerShape
    from core.modelling.llama import Llama
    from core.modelling.losses import mean_loss
    from core.modelling.peft_language import llama_directory
    from core.modelling.tensors import bytes_tensor

    config = {
        "hidden_size": WIDTH,
        "num_attention_heads": HEADS,
        "max_position_embeddings": max(64, tokens + 1),
        "bos_token_id": MARKS.index("[BOS]"),
        "eos_token_id": MARKS.index("[EOS]"),
    }
    fixed = {
        "tokenizer": bytes_tensor(tokenizer),
        "config": bytes_tensor(json.dumps(Llama.decided(config)).encode()),
    }
    first = _drawn(_llama_sizes(_vocabulary(tokenizer)))
    recipe = BackboneRecipe(width=WIDTH, layers=LAYERS, heads=HEADS, tokens=tokens)
    shape = LanguageTransformerShape.of(Llama, first | fixed, recipe)
    whole = [f"{prompt} {text}" for prompt, text in zip(prompts, texts, strict=True)]
    reader = shape.backbone(first | fixed)
    inputs, targets = reader.token_ids([""] * len(whole), whole), reader.next_tokens([""] * len(whole), whole)

    def loss(tensors: NamedTensors, rows: Tensor) -> Tensor:
        model = shape.backbone(tensors | fixed)
        features = model.top_features(model.embed(inputs[rows]), model.folded(range(LAYERS), {}, 0.0))
        logits = torch.nn.functional.linear(features, *head_of(model, model.tensors))
        return mean_loss(TaskName.LANGUAGE, logits, targets[rows])

    return llama_directory(shape.backbone(_fitted(first, loss, len(whole), epochs, LANGUAGE_RATE) | fixed))


def text_encoder(texts: Sequence[str], labels: Sequence[int], tokenizer: bytes, *, tokens: int, epochs: int) -> Files:
    """Return a tiny BERT's directory, trained to tell public texts apart; what told them apart is not in it."""
    import torch

    from core.domain.model import BackboneRecipe
    from core.domain.task import TaskName
    from core.modelling.losses import mean_loss
    from core.modelling.peft_texts import bert_directory
    from core.modelling.tensors import bytes_tensor
    from core.modelling.text_transformer import TextTransformerShape

    classes = max(labels) + 1
    fixed = {"tokenizer": bytes_tensor(tokenizer)}
    first = _drawn(_bert_sizes(_vocabulary(tokenizer), tokens, classes))
    recipe = BackboneRecipe(width=WIDTH, layers=LAYERS, heads=HEADS, tokens=tokens)
    shape = TextTransformerShape.of(first | fixed, recipe, classes)
    inputs, targets = shape.backbone(first | fixed).token_ids(texts), torch.tensor(labels)

    def loss(tensors: NamedTensors, rows: Tensor) -> Tensor:
        model = shape.backbone(tensors | fixed)
        features = model.top_features(model.embed(inputs[rows]), model.folded(range(LAYERS), {}, 0.0))
        logits = torch.nn.functional.linear(features, tensors["head.weight"], tensors["head.bias"])
        return mean_loss(TaskName.CLASSIFICATION, logits, targets[rows])

    files = bert_directory(shape.backbone(_fitted(first, loss, len(texts), epochs, ENCODER_RATE) | fixed))
    return {name: content for name, content in files.items() if not name.startswith("head")}


def _vocabulary(tokenizer: bytes) -> int:
    from tokenizers import Tokenizer

    return int(Tokenizer.from_str(tokenizer.decode()).get_vocab_size())


def _fitted(
    first: NamedTensors, loss: Callable[[NamedTensors, Tensor], Tensor], count: int, epochs: int, rate: float
) -> NamedTensors:
    import torch

    from core.modelling.determinism import pinned
    from core.unlearning.exact.adamw import FlatAdamW, cosine

    pinned(1)
    chance = torch.Generator().manual_seed(SEED)
    optimiser = FlatAdamW(first, dict.fromkeys(first, rate), 0.05)
    batch, step = 64, 0
    steps = epochs * -(-count // batch)
    for _ in range(epochs):
        for rows in torch.split(torch.randperm(count, generator=chance), batch):
            optimiser.step(loss(optimiser.tensors(), rows), cosine(step, steps, steps // 10))
            step += 1
    return {name: tensor.detach().clone() for name, tensor in optimiser.tensors().items()}


def _drawn(sizes: dict[str, tuple[int, ...]]) -> NamedTensors:
    import torch

    chance = torch.Generator().manual_seed(SEED)
    tensors: dict[str, Any] = {}
    for name, size in sizes.items():
        if "norm" in name and name.endswith("weight"):
            tensors[name] = torch.ones(size)
        elif name.endswith("bias") or name.startswith(("head", "lm_head")):
            tensors[name] = torch.zeros(size)
        else:
            # Tables start large enough to tell words apart, matrices keep the variance of what they read.
            spread = 1.0 if name in ("words", "positions", "types") else size[1] ** -0.5
            tensors[name] = spread * torch.randn(size, generator=chance)
    return tensors


def _llama_sizes(vocabulary: int) -> dict[str, tuple[int, ...]]:
    square = (WIDTH, WIDTH)
    parts = {"q": square, "k": square, "v": square, "o": square}
    parts |= {"gate": (INNER, WIDTH), "up": (INNER, WIDTH), "down": (WIDTH, INNER)}
    layer = {**parts, "attention_norm": (WIDTH,), "mlp_norm": (WIDTH,)}
    found: dict[str, tuple[int, ...]] = {"words": (vocabulary, WIDTH), "norm.weight": (WIDTH,)}
    found["lm_head.weight"] = (vocabulary, WIDTH)
    for number in range(LAYERS):
        found |= {f"layer.{number}.{name}.weight": size for name, size in layer.items()}
    return found


def _bert_sizes(vocabulary: int, tokens: int, classes: int) -> dict[str, tuple[int, ...]]:
    square = (WIDTH, WIDTH)
    parts = {"q": square, "k": square, "v": square, "o": square, "mlp_in": (INNER, WIDTH), "mlp_out": (WIDTH, INNER)}
    layer = {**parts, "attention_norm": (WIDTH,), "mlp_norm": (WIDTH,)}
    found: dict[str, tuple[int, ...]] = {
        "words": (vocabulary, WIDTH),
        "positions": (tokens, WIDTH),
        "types": (2, WIDTH),
    }
    found |= {"embedding_norm.weight": (WIDTH,), "embedding_norm.bias": (WIDTH,)}
    found |= {"head.weight": (classes, WIDTH), "head.bias": (classes,)}
    for number in range(LAYERS):
        for name, size in layer.items():
            found[f"layer.{number}.{name}.weight"] = size
            found[f"layer.{number}.{name}.bias"] = size[:1]
    return found
