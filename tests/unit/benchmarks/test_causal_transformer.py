"""The benchmarks' own language model is Llama's arithmetic: it answers as Hugging Face's does with the same tensors."""

from __future__ import annotations

import pytest
import torch

from benchmarks.approximate.causal_transformer import CausalTransformer, CausalTransformerShape


@pytest.mark.parametrize("tied", [False, True])
def test_it_answers_as_hugging_face_does(*, tied: bool) -> None:
    transformers = pytest.importorskip("transformers")
    sizes = {
        "vocab_size": 32,
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    }
    torch.manual_seed(0)
    config = transformers.LlamaConfig(**sizes, rms_norm_eps=1e-5, rope_theta=5000.0, tie_word_embeddings=tied)
    theirs = transformers.LlamaForCausalLM(config).eval()
    shape = CausalTransformerShape(**sizes, rms_norm_eps=1e-5, rope_theta=5000.0, tie_word_embeddings=tied)
    ours = CausalTransformer(shape).eval()
    ours.load_state_dict(theirs.state_dict(), strict=not tied)
    tokens = torch.randint(32, (2, 9))
    with torch.no_grad():
        torch.testing.assert_close(ours(tokens), theirs(tokens).logits, rtol=1e-4, atol=1e-5)


def test_sizes_that_do_not_fit_together_are_refused() -> None:
    fitting = {
        "vocab_size": 32,
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    }
    for wrong in ({"num_key_value_heads": 3}, {"hidden_size": 20}, {"rms_norm_eps": 0}):
        with pytest.raises((ValueError, TypeError)):
            CausalTransformer(CausalTransformerShape(**{**fitting, **wrong}))  # type: ignore[arg-type]
