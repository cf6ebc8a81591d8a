"""Write what a model serves as directories that plain `peft` loads. Loads torch.

    live version ─▶ its chains, opened and held against the manifest's digests ─▶ a directory beside the wanted one
    ─▶ under the model's lock: is that version still live? ─▶ the log's entry ─▶ the directory gets its name

Only the live version is exported: every node in it is clean. A deletion that comes in between makes the export fail, and
nothing is left of it. What was exported lies where no deletion reaches; the log remembers it, and so does `lethe trace`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Row

from core.audit.entry import Action, Actor, ActorKind
from core.datasets.image_schema import ImageSchema
from core.datasets.schema import LanguageSchema, Schema, TextSchema, schema_from_json
from core.domain.checkpoint import Mode
from core.domain.errors import (
    BadInput,
    Impossible,
    KeyDestroyed,
    ModelNotFound,
    ModelNotServed,
    ObjectMissing,
    OvertakenByDeletion,
    SealBroken,
    WrongMode,
)
from core.domain.manifest import Manifest
from core.domain.model import NodeRecipe, Recipe
from core.persistence import audit, datasets, models, nodes, versions
from core.use_cases.doors import Doors

if TYPE_CHECKING:
    from core.modelling.backbone import Backbone
    from core.modelling.ensemble import NodeChain

BACKBONE = "backbone"
ABOUT = "lethe.json"
README = """# {name}, version {number}

Exported by Lethe. Manifest {digest}, guarantee {guarantee}.

**Replace this copy after every deletion.** It holds what the model had learned when it was exported. Lethe cannot reach it:
whoever is deleted from the model later is still in here. `lethe trace` tells which exports saw somebody.

| directory | is |
|---|---|
| `backbone` | the frozen base model, with its public head where it has one, as `transformers` loads it |
| `shard-…` | one adapter for each served chain, with a head of its own where nodes have one, as `peft` loads it |
| `lethe.json` | what an input is, labels where there are any, and the weight of each chain's vote |

Needs `transformers` 5 and `peft`. `answer` returns what the predictor computes before its softmax:

```python
{code}```
"""
CODE = '''import json

import numpy
import torch
from peft import PeftModel
from transformers import ViTForImageClassification


def prepared(pixels, wanted):
    """Return images as an encoder from elsewhere wants them: whole levels, resized, normalised."""
    height, width, mode = wanted["height"], wanted["width"], wanted["resampling"]
    levels = ((pixels + 1) * 127.5).round()
    for size in ((levels.shape[2], width), (height, width)):
        if levels.shape[2:] != size:
            levels = torch.nn.functional.interpolate(levels, size, mode=mode, align_corners=False, antialias=True)
            levels = (levels + 0.5).floor().clamp(0, 255)
    mean, deviation = (torch.tensor(wanted[name])[:, None, None] for name in ("mean", "deviation"))
    return (levels.expand(-1, wanted["channels"], -1, -1) * wanted["scale"] - mean) / deviation


def answer(directory, images):
    """Return (n, classes) logits of (n, height, width) or (n, height, width, channels) images in the data set's range."""
    with open(f"{directory}/lethe.json") as file:
        about = json.load(file)
    pixels = torch.tensor(numpy.asarray(images, dtype="float32"))
    pixels = pixels[:, None] if pixels.ndim == 3 else pixels.permute(0, 3, 1, 2)
    low, high = about["pixel_minimum"], about["pixel_maximum"]
    pixels = (pixels - low) * (2 / (high - low)) - 1
    if about["preprocessing"]:
        pixels = prepared(pixels, about["preprocessing"])
    logits = 0
    for chain in about["chains"]:
        model = ViTForImageClassification.from_pretrained(f"{directory}/backbone")
        if chain["directory"] != "backbone":
            model = PeftModel.from_pretrained(model, f"{directory}/{chain['directory']}")
        with torch.no_grad():
            logits = logits + chain["weight"] * model.eval()(pixel_values=pixels).logits
    return logits
'''


@dataclass(frozen=True)
class Exported:
    """What was written."""

    model: str
    version: str
    number: int
    manifest_digest: str
    guarantee: str
    directory: str
    chains: list[dict[str, Any]]


def export_model(
    doors: Doors, model: str, directory: Path, *, progress: Callable[[float, str], None] = lambda *_: None
) -> Exported:
    """Write the live version of a model into a fresh directory.

    Args:
        doors: the outside.
        model: id or name.
        directory: where to; it must not be there yet, or be empty.
        progress: called with the share that is done and what happens now.

    Raises:
        ModelNotFound: there is none such.
        ModelNotServed: it has no version yet.
        BadInput: the directory is in use, or cannot be written.
        Impossible: its data set is of tables, or it is a ridge model.
        SealBroken: stored tensors are not those that the manifest names.
        OvertakenByDeletion: another version went live meanwhile; export again.
    """
    with doors.database.transaction() as session:
        found = models.find_anywhere(session, model)
        if found is None:
            raise ModelNotFound
        if found.mode != Mode.EXACT:
            raise WrongMode(
                "only models that were trained here in slices are exported; a checkpoint is its owner's already"
            )
        version = versions.live_version(session, found.id)
        if version is None:
            raise ModelNotServed
        dataset = datasets.find_dataset(session, found.tenant_id, found.dataset_id)
        known = nodes.nodes_by_key(session, found.id, [one["key"] for one in version.manifest["nodes"]])
    schema = schema_from_json(dataset.schema if dataset is not None else {})
    if not isinstance(schema, ImageSchema | TextSchema | LanguageSchema):
        raise Impossible("a model of tables cannot be exported: peft knows no transformer over columns")
    if Recipe.from_json(found.recipe).ridge is not None:
        raise Impossible("a ridge model is not exported: it has no adapters, and its head is solved where it is served")
    beside = _beside(directory)
    try:
        chains = _write(doors, found, version, known, schema, beside, progress)
        with doors.database.transaction(Actor(ActorKind.OPERATOR, "cli")) as session:
            models.lock_model(session, found.id)
            live = versions.live_version(session, found.id)
            if live is None or live.id != version.id:
                raise OvertakenByDeletion("another version went live while this one was written; export again")
            audit.note(
                session,
                Action.MODEL_EXPORTED,
                tenant=found.tenant_id,
                object=found.id,
                version=version.id,
                manifest=version.manifest_digest,
            )
        beside.replace(directory)
    except OSError as error:
        raise BadInput(f"the directory cannot be written: {error.strerror}") from None
    except (KeyDestroyed, ObjectMissing):
        raise OvertakenByDeletion("a deletion came in between; export again") from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return Exported(
        found.id, version.id, version.number, version.manifest_digest, version.guarantee, str(directory), chains
    )


def _beside(directory: Path) -> Path:
    try:
        if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
            raise BadInput("the directory is in use; name one that is not there yet")
        beside = directory.with_name(f".{directory.name}.part")
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
    except OSError as error:
        raise BadInput(f"the directory cannot be written: {error.strerror}") from None
    return beside


def _write(  # noqa: PLR0913, PLR0917
    doors: Doors,
    model: Row[Any],
    version: Row[Any],
    known: dict[str, Row[Any]],
    schema: Schema,
    directory: Path,
    progress: Callable[[float, str], None],
) -> list[dict[str, Any]]:
    from core.modelling.tensors import NamedTensors, from_bytes, tensor_digest
    from core.use_cases.open_shard import open_backbone

    recipe, manifest = Recipe.from_json(model.recipe), Manifest.from_json(version.manifest)
    backbone = open_backbone(doors, model, recipe, schema)
    if tensor_digest(backbone.tensors) != manifest.backbone:
        raise SealBroken("the stored backbone is not the one that the manifest names")
    layout = _layout(schema, backbone)
    _put(directory / BACKBONE, layout.base)
    opened: dict[str, NamedTensors] = {}
    for done, node in enumerate(manifest.nodes):
        progress(done / len(manifest.nodes), f"node {done + 1} of {len(manifest.nodes)}")
        row = known[node.key]
        opened[node.key] = from_bytes(doors.get_sealed(row.data_key_id, row.object_digest))
        if tensor_digest(opened[node.key]) != node.tensor_digest:
            raise SealBroken("stored tensors are not those that the manifest names")
    parents = {node.key: node.parent for node in manifest.nodes}
    slices = {node.key: list(node.slices) for node in manifest.nodes}
    chains: list[dict[str, Any]] = []
    for shard, (keys, depth) in enumerate(zip(manifest.served, manifest.depths(), strict=True)):
        for number, key in enumerate(keys):
            name = f"shard-{shard}" if len(keys) == 1 else f"shard-{shard}-{number}"
            line: list[str] = []
            current: str | None = key
            while current is not None:
                line.insert(0, current)
                current = parents[current]
            _put(directory / name, layout.adapter([opened[link] for link in line], recipe.node, f"../{BACKBONE}"))
            weight = depth / sum(manifest.depths()) / len(keys)
            chains.append({"directory": name, "weight": weight, "node": key, "slices": slices[key]})
    if not chains:
        # Every shard is dead: the public head answers, as the predictor does.
        chains.append({"directory": BACKBONE, "weight": 1.0, "node": None, "slices": []})
    about = {
        "model": model.id,
        "name": model.name,
        "version": version.id,
        "number": version.number,
        "manifest_digest": version.manifest_digest,
        "guarantee": version.guarantee,
        "degraded": manifest.degraded,
        **layout.about,
        "chains": chains,
    }
    readme = README.format(
        name=model.name,
        number=version.number,
        digest=version.manifest_digest,
        guarantee=version.guarantee,
        code=layout.code,
    )
    _put(directory, {ABOUT: json.dumps(about, indent=2, ensure_ascii=False).encode(), "README.md": readme.encode()})
    return chains


@dataclass(frozen=True)
class _Layout:
    """How models of one kind are written."""

    base: dict[str, bytes]
    adapter: Callable[[NodeChain, NodeRecipe, str], dict[str, bytes]]
    about: dict[str, Any]
    code: str


def _layout(schema: Schema, backbone: Backbone) -> _Layout:
    from core.modelling import peft_export, peft_language, peft_texts
    from core.modelling.language_transformer import LanguageTransformer
    from core.modelling.text_transformer import TextTransformer
    from core.modelling.vision_encoder import VisionEncoder
    from core.modelling.vision_transformer import VisionTransformer

    tokens = {"tokens": backbone.shape.tokens}
    if isinstance(schema, ImageSchema) and isinstance(backbone, VisionTransformer):
        about = {
            "labels": list(schema.labels),
            "image_shape": list(schema.image_shape),
            "pixel_minimum": schema.pixel_minimum,
            "pixel_maximum": schema.pixel_maximum,
            "preprocessing": asdict(backbone.shape.preprocessing) if isinstance(backbone, VisionEncoder) else None,
        }
        base = peft_export.vit_directory(backbone, schema.labels)
        return _Layout(base, peft_export.adapter_directory, about, CODE)
    if isinstance(schema, TextSchema) and isinstance(backbone, TextTransformer):
        about = {"labels": list(schema.labels), **tokens}
        return _Layout(peft_texts.bert_directory(backbone), peft_texts.bert_adapter, about, peft_texts.TEXT_CODE)
    if isinstance(schema, LanguageSchema) and isinstance(backbone, LanguageTransformer):
        about = {"first_token": backbone.config["first"], "last_token": backbone.config["last"], **tokens}
        written, adapter = peft_language.writers(backbone)
        return _Layout(written(backbone), adapter, about, peft_language.LANGUAGE_CODE)
    raise Impossible("no directory that peft loads is known for such a backbone")


def _put(directory: Path, files: dict[str, bytes]) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (directory / name).write_bytes(content)
