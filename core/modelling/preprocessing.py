"""What a vision transformer from elsewhere wants done to pixels, as its `preprocessor_config.json` says. No torch.

It becomes part of the backbone, among its tensors, so that the backbone's digest stands for it too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from core.domain.errors import Impossible

RESAMPLING = {2: "bilinear", 3: "bicubic"}
"""Filters by the numbers that Pillow gives them."""
PREPROCESSORS = frozenset({"ViTImageProcessor", "ViTImageProcessorFast", "ViTImageProcessorPil", "ViTFeatureExtractor"})


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """Resize to (height, width) in whole levels 0..255, multiply by `scale`, subtract `mean`, divide by `deviation`."""

    channels: int
    height: int
    width: int
    resampling: str
    scale: float
    mean: tuple[float, ...]
    """One number per channel."""
    deviation: tuple[float, ...]

    def as_bytes(self) -> bytes:
        return json.dumps(asdict(self), sort_keys=True).encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> Preprocessing:
        value = json.loads(content)
        return cls(**value | {name: tuple(value[name]) for name in ("mean", "deviation")})

    def as_config(self) -> dict[str, Any]:
        """Return it as `transformers` reads it."""
        return {
            "image_processor_type": "ViTImageProcessor",
            "do_resize": True,
            "size": {"height": self.height, "width": self.width},
            "resample": next(number for number, name in RESAMPLING.items() if name == self.resampling),
            "do_rescale": True,
            "rescale_factor": self.scale,
            "do_normalize": True,
            "image_mean": list(self.mean),
            "image_std": list(self.deviation),
        }


def read_preprocessing(config: Mapping[str, Any], said: Mapping[str, Any]) -> Preprocessing:
    """Return what a directory's two configurations say; what they leave open is as `transformers` has it.

    Args:
        config: of the model.
        said: of its preprocessor.

    Raises:
        Impossible: it wants something that is not done here, or the two do not fit together.
    """
    kind = said.get("image_processor_type", said.get("feature_extractor_type", "ViTImageProcessor"))
    if kind not in PREPROCESSORS:
        raise Impossible("only preprocessors of the kind ViTImageProcessor are known here")
    if said.get("do_center_crop") or said.get("do_pad"):
        raise Impossible("a preprocessor that crops or pads is not known here")
    try:
        channels = int(config.get("num_channels", 3))
        height, width = _edges(config.get("image_size", 224))
        if said.get("do_resize", True) and _edges(said.get("size", 224)) != (height, width):
            raise Impossible("the preprocessor's size is not the image_size of the model")
        normalises = said.get("do_normalize", True)
        return Preprocessing(
            channels=channels,
            height=height,
            width=width,
            resampling=RESAMPLING[said.get("resample", 2)],
            scale=float(said.get("rescale_factor", 1 / 255)) if said.get("do_rescale", True) else 1.0,
            mean=_each(said.get("image_mean", 0.5), channels) if normalises else (0.0,) * channels,
            deviation=_each(said.get("image_std", 0.5), channels) if normalises else (1.0,) * channels,
        )
    except (KeyError, TypeError, ValueError):
        raise Impossible("the directory's preprocessor_config.json does not say what a ViT's says") from None


def _edges(size: Any) -> tuple[int, int]:
    if isinstance(size, Mapping):
        return int(size["height"]), int(size["width"])
    height, width = size if isinstance(size, list | tuple) else (size, size)
    return int(height), int(width)


def _each(numbers: Any, channels: int) -> tuple[float, ...]:
    listed = tuple(map(float, numbers)) if isinstance(numbers, list | tuple) else (float(numbers),) * channels
    if len(listed) != channels:
        raise ValueError("there is one number for each channel")
    return listed
