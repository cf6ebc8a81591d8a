"""The arithmetic of one encoder layer, whatever its tokens stand for (arXiv:2010.11929): norms come first.

Exact GELU, norms with epsilon 1e-12, as in Hugging Face's ViT, so its weights load by renaming. Query, key and value are
one matrix product: low-rank factors are folded into a copy of the weights first, which at these widths is cheaper than
following them.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor
from torch.nn.functional import gelu, layer_norm, linear, scaled_dot_product_attention

NORM_EPSILON = 1e-12


class LayerWeights(NamedTuple):
    """What one layer multiplies by, factors folded in; qkv is (3 * width, width)."""

    attention_norm: tuple[Tensor, Tensor]
    qkv: tuple[Tensor, Tensor]
    o: tuple[Tensor, Tensor]
    mlp_norm: tuple[Tensor, Tensor]
    mlp_in: tuple[Tensor, Tensor]
    mlp_out: tuple[Tensor, Tensor]


def run_layer(hidden: Tensor, weights: LayerWeights, heads: int, *, only_class_token: bool = False) -> Tensor:
    """Return one layer's output for (n, tokens, width); (n, 1, width) when only the class token is wanted."""
    width = hidden.shape[2]
    normed = norm(hidden, weights.attention_norm)
    if only_class_token:
        query = linear(normed[:, :1], weights.qkv[0][:width], weights.qkv[1][:width])
        key, value = linear(normed, weights.qkv[0][width:], weights.qkv[1][width:]).chunk(2, dim=2)
        hidden = hidden[:, :1]
    else:
        query, key, value = linear(normed, *weights.qkv).chunk(3, dim=2)
    hidden = hidden + linear(attend(query, key, value, heads), *weights.o)
    inner = gelu(linear(norm(hidden, weights.mlp_norm), *weights.mlp_in))
    return hidden + linear(inner, *weights.mlp_out)


def attend(query: Tensor, key: Tensor, value: Tensor, heads: int, *, mask: Tensor | None = None) -> Tensor:
    """Return (n, tokens, width) what each query finds among the values; a mask is true where it may look."""
    query, key, value = (_split_heads(part, heads) for part in (query, key, value))
    return scaled_dot_product_attention(query, key, value, attn_mask=mask).transpose(1, 2).flatten(2)


def norm(states: Tensor, pair: tuple[Tensor, Tensor]) -> Tensor:
    """Return the layer norm of (…, width) states, with a weight and a bias."""
    return layer_norm(states, states.shape[-1:], *pair, eps=NORM_EPSILON)


def _split_heads(states: Tensor, heads: int) -> Tensor:
    count, tokens, width = states.shape
    return states.view(count, tokens, heads, width // heads).transpose(1, 2)  # (n, heads, tokens, width / heads)
