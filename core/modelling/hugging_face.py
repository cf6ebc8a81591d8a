"""Networks from a Hugging Face config: built by the transformers library, filled from safetensors, offline, no code of their own.

A checkpoint with low-rank factors gets them through peft, and only they ask for gradients: masks and gradients then reach the
weights that matter, and the frozen ones under them stay as they are, bit for bit.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from core.domain.checkpoint import Architecture
from core.domain.errors import CheckpointRefused
from core.domain.task import Modality
from core.modelling.losses import UNTRAINED
from core.modelling.tensors import NamedTensors

INNER = "inner."
IMAGES = frozenset({"vit"})
MODEL_FIELDS = frozenset(
    {"model_type", "architectures", "torch_dtype", "dtype", "transformers_version", "_name_or_path"}
)
"""Of a config: not handed on, as they say where it came from and not what it is."""


class Network(nn.Module):
    """A library's model that is asked with one tensor, and answers with one."""

    def __init__(self, inner: nn.Module, asked: str, padding: int | None) -> None:
        """Keep the model, the name of what it reads, and the token that is no word; None where every token counts."""
        super().__init__()
        self.inner, self.asked, self.padding = inner, asked, padding

    def forward(self, inputs: Tensor) -> Tensor:
        given = {self.asked: inputs}
        if self.padding is not None:
            given["attention_mask"] = (inputs != self.padding).long()
        logits: Tensor = self.inner(**given).logits
        return logits


def build(architecture: Architecture, modality: Modality) -> Network:
    """Return an untrained network, drawn by torch's own stream.

    Raises:
        CheckpointRefused: the library builds none from such a config, or is not installed here.
    """
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    try:
        import transformers
    except ImportError:
        raise CheckpointRefused("a Hugging Face directory needs the extra hugging-face where methods run") from None
    config = dict(architecture.config)
    kind = config["model_type"]
    known = {name: value for name, value in config.items() if name not in MODEL_FIELDS}
    causal = modality is Modality.CAUSAL_LANGUAGE_MODEL
    maker: Any = (
        transformers.AutoModelForCausalLM
        if causal
        else transformers.AutoModelForImageClassification
        if kind in IMAGES
        else transformers.AutoModelForSequenceClassification
    )
    try:
        if not causal:
            known.pop("id2label", None)
            known.pop("label2id", None)
            known["num_labels"] = architecture.outputs
        made = maker.from_config(
            transformers.AutoConfig.for_model(kind, **known), trust_remote_code=False, attn_implementation="eager"
        ).float()
        inner = made if architecture.adapter is None else _with_factors(made, architecture.adapter)
    except (ValueError, TypeError, KeyError, AttributeError, ImportError):
        raise CheckpointRefused("the library builds no such network from its config") from None
    if kind in IMAGES:
        return Network(inner, "pixel_values", None)
    # Right of the last word a causal model's answers do not depend on what is there.
    return Network(inner, "input_ids", None if causal else padding_of(config))


def _with_factors(made: nn.Module, adapter: Mapping[str, Any]) -> nn.Module:
    import peft

    wanted = (
        "r",
        "lora_alpha",
        "target_modules",
        "use_rslora",
        "bias",
        "modules_to_save",
        "task_type",
        "fan_in_fan_out",
    )
    chosen = {name: adapter[name] for name in wanted if adapter.get(name) is not None}
    if adapter.get("peft_type") != "LORA":
        raise CheckpointRefused("only low-rank adapters (peft_type LORA) are known")
    found: nn.Module = peft.get_peft_model(made, peft.LoraConfig(**chosen, lora_dropout=0.0))
    return found


def load(
    architecture: Architecture, modality: Modality, tensors: NamedTensors, adapter: NamedTensors | None
) -> Network:
    """Return the network that a directory's files are, or that a version of it is.

    Raises:
        CheckpointRefused: they are those of another network, or not finite.
    """
    with torch.random.fork_rng([]):
        network = build(architecture, modality)
    if not all(one.isfinite().all() for one in [*tensors.values(), *(adapter or {}).values()]):
        raise CheckpointRefused("a tensor holds numbers that are not finite")
    if any(name.startswith(INNER) for name in tensors):
        network.load_state_dict(tensors)
        return network.eval()
    base = network.inner if architecture.adapter is None else network.inner.get_base_model()  # type: ignore[operator]
    _fill(base, tensors)
    if architecture.adapter is not None:
        _fill_factors(network.inner, adapter or {})
    return network.eval()


def _fill(base: nn.Module, tensors: NamedTensors) -> None:
    """Fill a library's model from its own file; under peft, a wrapped layer's weights lie one name deeper."""
    inside = dict(base.state_dict())
    names = {name.replace(".base_layer", ""): name for name in inside if "lora_" not in name}
    unknown = tensors.keys() - names.keys()
    missing = {plain for plain in names if plain not in tensors}
    tied = {plain for plain in missing if _is_tied(base, names[plain])}
    if unknown or missing - tied:
        raise CheckpointRefused("the tensors are not those of the config's architecture")
    try:
        base.load_state_dict({names[name]: one for name, one in tensors.items()}, strict=False)
    except RuntimeError:
        raise CheckpointRefused("a tensor has another shape than the config says") from None


def _is_tied(base: nn.Module, name: str) -> bool:
    """Whether a tensor that a file leaves out is another one of it under a second name, or is computed."""
    parameters = dict(base.named_parameters(remove_duplicate=False))
    if name not in parameters:
        return True  # a buffer that is computed when the network is built
    return sum(one is parameters[name] for one in parameters.values()) > 1


def _fill_factors(inner: nn.Module, factors: NamedTensors) -> None:
    import peft

    wanted = set(peft.get_peft_model_state_dict(inner))
    if factors.keys() != wanted:
        raise CheckpointRefused("the adapter's tensors are not those of its config")
    peft.set_peft_model_state_dict(inner, factors)


def padding_of(config: Mapping[str, Any]) -> int:
    """Return the token that fills a text up."""
    found = config.get("pad_token_id")
    if found is None:
        found = config.get("eos_token_id")
    return int(found[0] if isinstance(found, list) else found or 0)


def token_ids(tokenizer: bytes, texts: Sequence[str], tokens: int, config: Mapping[str, Any]) -> Tensor:
    """Return (n, tokens) int64, cut and filled up on the right."""
    from tokenizers import Tokenizer

    splitter = Tokenizer.from_buffer(tokenizer)
    splitter.no_padding()
    splitter.enable_truncation(tokens)
    ids = torch.full((len(texts), tokens), padding_of(config), dtype=torch.int64)
    for row, found in enumerate(splitter.encode_batch(list(texts)) if texts else ()):
        ids[row, : len(found.ids)] = torch.tensor(found.ids, dtype=torch.int64)
    return ids


def next_tokens(inputs: Tensor, config: Mapping[str, Any]) -> Tensor:
    """Return (n, tokens) what each text says, -100 where it is filled up."""
    return inputs.masked_fill(inputs == padding_of(config), UNTRAINED)


def continuations(tokenizer: bytes, inputs: Tensor, logits: Tensor, config: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return for (n, tokens) texts the likeliest next token and its probability."""
    from tokenizers import Tokenizer

    splitter = Tokenizer.from_buffer(tokenizer)
    last = (inputs != padding_of(config)).sum(-1).clamp(min=1) - 1
    chances = logits[torch.arange(len(inputs)), last].softmax(-1)
    return [
        {"label": splitter.decode([int(row.argmax())]), "probability": round(float(row.max()), 6)} for row in chances
    ]
