"""Building a shard's lattice: ours, against a per-stage loop of `peft` and `transformers`' Trainer, at equal accuracy.

Both train the same set-trie over the same four slices, with the same backbone, layer groups, rank, scale, rates, batch size and
epochs, and give every node a head of its own. The rival is what a careful engineer writes: for each node the parent's merged
model, a fresh low-rank adapter on the stage's layers with targets named in full, `Trainer.train()`, merge. It has no gradient
clipping, no evaluation, no checkpoints, no data loader processes, and its tensors are in memory. Rounds alternate. Seconds are
processor seconds of this process, on one thread: others on the machine are not in them.

Fashion-MNIST where it lies beside the repository (`../shared/data/fashion-mnist`), scikit-learn's digits where not.
"""

from __future__ import annotations

import copy
import gzip
import hashlib
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.service.report import HOUSE, arguments, finish, table, verdict, warn_if_busy
from core.domain.model import BackboneRecipe, FamilyName, NodeRecipe, Recipe
from core.lattice.families import Family, SliceSet, family_of
from core.modelling.determinism import pinned
from core.modelling.ensemble import Ensemble
from core.modelling.peft_export import PROJECTIONS, vit_directory
from core.modelling.tensors import NamedTensors
from core.modelling.vision_transformer import VisionTransformer, VisionTransformerShape
from core.unlearning.exact.activations import SliceActivations
from core.unlearning.exact.backbone import pretrain
from core.unlearning.exact.layer_groups import layer_group
from core.unlearning.exact.node_spec import ShardGround
from core.unlearning.exact.repair import canonical_nodes
from core.unlearning.exact.slice_records import SliceRecords
from core.unlearning.exact.training import train_node

SLICES = 4
GOAL = 1.5
EQUAL = 0.02
"""How far apart the accuracies of the deepest nodes may be, the mean over rounds."""


INSIDE: list[float] = []
"""Seconds of each of the rival's `train()` calls, without what surrounds them."""


@dataclass(frozen=True)
class World:
    """What both sides are given."""

    recipe: Recipe
    backbone: VisionTransformer
    slices: Mapping[int, SliceRecords]
    test: tuple[Tensor, Tensor]

    @property
    def family(self) -> Family:
        return family_of(self.recipe)

    @property
    def labels(self) -> list[str]:
        return [str(number) for number in range(self.backbone.shape.outputs)]


def main() -> None:
    """Build the shard with both, in turn, and print the ratio of records fed per processor second."""
    run = arguments("throughput", "building a shard's lattice, against peft and Trainer", room="exact")
    warn_if_busy()
    pinned(1)
    world = _world(records=run.pick(800, 160), epochs=run.pick(3, 1), pretraining=run.pick(6, 1))
    sides = {"ours": _ours, "peft + Trainer": _rival}
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    accuracies: dict[str, list[float]] = {name: [] for name in sides}
    with _quiet():
        for seed in range(run.pick(2, 1)):
            for name, build in sides.items():
                began = time.process_time()
                answer = build(world, seed)
                seconds[name].append(time.process_time() - began)
                accuracies[name].append(_accuracy(answer, world))
    fed = world.recipe.node.epochs * sum(
        len(world.slices[number]) for slices in world.family.parents for number in slices
    )
    inside = sum(INSIDE) / len(seconds["peft + Trainer"])
    rows: list[dict[str, Any]] = [
        {
            "": name,
            "cpu seconds": round(statistics.median(seconds[name]), 2),
            "records fed/cpu s": round(fed / statistics.median(seconds[name]), 1),
            "accuracy of the deepest node": round(statistics.mean(accuracies[name]), 4),
        }
        for name in sides
    ]
    table(rows)
    print()
    print(f"Inside Trainer.train() alone: {inside:.1f} s, {inside / rows[0]['cpu seconds']:.2f} times ours.")
    ratio = rows[0]["records fed/cpu s"] / rows[1]["records fed/cpu s"]
    apart = abs(rows[0]["accuracy of the deepest node"] - rows[1]["accuracy of the deepest node"])
    goals = [
        verdict(f"at least {GOAL} times as fast on a CPU ({ratio:.2f})", met=ratio >= GOAL),
        verdict(f"equal accuracy: no more than {EQUAL} apart ({apart:.4f})", met=apart <= EQUAL),
    ]
    finish(
        run,
        {
            "nodes": len(world.family.parents),
            "records": sum(map(len, world.slices.values())),
            "records_fed": fed,
            "recipe": world.recipe.as_json(),
            "ratio": round(ratio, 2),
            "ratio_inside_train_alone": round(inside / rows[0]["cpu seconds"], 2),
            "rows": rows,
            "seconds": {name: [round(value, 2) for value in values] for name, values in seconds.items()},
            "accuracies": accuracies,
            "goals": goals,
        },
    )


def _ours(world: World, seed: int) -> Tensor:
    """Return the deepest node's logits on the test rows."""
    chains: dict[SliceSet, list[NamedTensors]] = {(): []}
    # The seed stands where a slice's commitment does, so that it is in every key.
    ground = ShardGround(
        backbone="0" * 64,
        recipe=world.recipe.digest(),
        shard=0,
        slice_roots=[hashlib.sha256(bytes([seed, number])).hexdigest() for number in range(SLICES)],
    )
    activations = SliceActivations(world.backbone, world.slices)
    for spec in canonical_nodes(world.family, ground):
        parents = chains[world.family.parents[spec.slices]]
        trained = train_node(spec, activations=activations, parents=parents, recipe=world.recipe)
        chains[spec.slices] = [*parents, trained.tensors]
    return Ensemble.build(world.backbone, [[chains[tuple(range(SLICES))]]], world.recipe.node).logits(world.test[0])


def _rival(world: World, seed: int) -> Tensor:
    """Return the deepest node's logits on the test rows."""
    from transformers import ViTForImageClassification

    with tempfile.TemporaryDirectory() as directory:
        for name, content in vit_directory(world.backbone, world.labels).items():
            (Path(directory) / name).write_bytes(content)
        base = ViTForImageClassification.from_pretrained(directory)
        merged: dict[SliceSet, Any] = {(): base}
        for number, slices in enumerate(world.family.by_depth()):
            parent = copy.deepcopy(merged[world.family.parents[slices]])
            merged[slices] = _stage(world, parent, slices, seed * 1000 + number, directory)
        with torch.no_grad():
            deepest = merged[tuple(range(SLICES))].eval()
            return torch.as_tensor(deepest(pixel_values=world.test[0]).logits)


def _stage(world: World, parent: Any, slices: SliceSet, seed: int, directory: str) -> Any:
    from peft import LoraConfig, get_peft_model
    from transformers import Trainer, TrainingArguments

    node = world.recipe.node
    group = layer_group(world.backbone.shape.layers, SLICES, len(slices))
    torch.manual_seed(seed)
    config = LoraConfig(
        r=node.rank,
        lora_alpha=int(node.alpha),
        use_rslora=True,
        target_modules=[f"vit.layers.{layer}.{PROJECTIONS[part]}" for layer in group for part in "qv"],
        modules_to_save=["classifier"],
    )
    model = get_peft_model(parent, config)
    settings = TrainingArguments(
        output_dir=directory,
        num_train_epochs=node.epochs,
        per_device_train_batch_size=node.batch_size,
        learning_rate=node.learning_rate,
        weight_decay=node.weight_decay,
        lr_scheduler_type="cosine",
        max_grad_norm=0.0,
        seed=seed,
        use_cpu=True,
        save_strategy="no",
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
        log_level="error",
        dataloader_pin_memory=False,
    )
    rows = [
        {"pixel_values": pixels, "labels": label}
        for number in slices
        for pixels, label in zip(world.slices[number].inputs, world.slices[number].targets, strict=True)
    ]
    trainer = Trainer(model=model, args=settings, train_dataset=rows)
    began = time.process_time()
    trainer.train()
    INSIDE.append(time.process_time() - began)
    return model.merge_and_unload()


def _accuracy(logits: Tensor, world: World) -> float:
    return float((logits.argmax(dim=1) == world.test[1]).float().mean())


def _world(*, records: int, epochs: int, pretraining: int) -> World:
    images, labels = _rows()
    order = np.random.default_rng(0).permutation(len(images))
    inputs = torch.tensor(images[order], dtype=torch.float32)[:, None] / 127.5 - 1
    targets = torch.tensor(labels[order], dtype=torch.int64)
    public, private, test = (slice(0, 500), slice(500, 500 + records), slice(500 + records, 1500 + records))
    recipe = Recipe(
        shards=1,
        slices=SLICES,
        family=FamilyName.SUBSET_TRIE,
        backbone=BackboneRecipe(epochs=pretraining),
        node=NodeRecipe(epochs=epochs),
    )
    shape = VisionTransformerShape.from_recipe(recipe.backbone, (1, *images.shape[1:]), 10)
    backbone = shape.backbone(pretrain(inputs[public], targets[public], shape, recipe.backbone, seed=1))
    assert isinstance(backbone, VisionTransformer)
    slices = {
        number: _slice(number, inputs[private][number::SLICES], targets[private][number::SLICES])
        for number in range(SLICES)
    }
    return World(recipe, backbone, slices, (inputs[test], targets[test]))


def _slice(number: int, inputs: Tensor, targets: Tensor) -> SliceRecords:
    references = np.random.default_rng(number).integers(256, size=(len(inputs), 32), dtype=np.uint8)
    return SliceRecords.sorted_by_reference(number, references, references, inputs=inputs, targets=targets)


def _rows() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return (n, height, width) pictures and their labels."""
    folder = HOUSE.parent / "shared" / "data" / "fashion-mnist"
    if folder.is_dir():
        images = gzip.decompress((folder / "train20k-images-idx3-ubyte.gz").read_bytes())
        labels = gzip.decompress((folder / "train20k-labels-idx1-ubyte.gz").read_bytes())
        return np.frombuffer(images, np.uint8, offset=16).reshape(-1, 28, 28), np.frombuffer(labels, np.uint8, offset=8)
    from sklearn.datasets import load_digits

    pixels, digits = load_digits(return_X_y=True)
    return (pixels.reshape(-1, 8, 8) * 15.9).astype(np.uint8), digits.astype(np.uint8)


@contextmanager
def _quiet() -> Iterator[None]:
    import transformers

    transformers.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    # Their optimiser and data loader have steps without a deterministic version; ours were pinned in `main`.
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(True)


if __name__ == "__main__":
    main()
