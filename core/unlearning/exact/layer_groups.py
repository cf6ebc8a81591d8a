"""Which layers a stage trains: contiguous groups counted from the top, layers // L each (DESIGN §4.2).

What is left over at the bottom stays frozen. Counting from the top is what makes a stage's input a frozen-backbone
activation, the same for every node of a depth.
"""

from __future__ import annotations

from core.domain.errors import TooFewLayers


def layer_group(layers: int, slices: int, stage: int) -> range:
    """Return the layers that stage `stage` trains; stage 1 is the top.

    Args:
        layers: how many layers the backbone has; layer 0 reads the embedding.
        slices: slices per shard, hence stages, L.
        stage: 1..L, the depth of the node.

    Raises:
        TooFewLayers: the backbone has fewer layers than there are stages.
        ValueError: there is no such stage.
    """
    if layers < slices:
        raise TooFewLayers(f"{slices} slices need at least {slices} layers, the backbone has {layers}")
    if not 1 <= stage <= slices:
        raise ValueError(f"stage must lie in 1..{slices}, got {stage}")
    size = layers // slices
    stop = layers - (stage - 1) * size
    return range(stop - size, stop)
