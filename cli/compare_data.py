"""What `lethe compare` compares on: the digits that come with scikit-learn, or an NPZ and a checkpoint of one's own.

    inputs    (n, …) floats, or (n, t) token ids       targets   (n,) classes or numbers, or (n, t) token ids
    owners    (n,) whose rows they are, if anybody's    split     (n,) train, test or holdout; without it, chance divides

Of the digits, one owner called `canary` has rows with flipped labels: no model that never saw them can know those, so
forgetting them shows. All other owners are invented too.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from cli.output import unusable
from core.domain.architecture_file import SCHEMA, architecture_from
from core.domain.checkpoint import Architecture, Training
from core.domain.errors import UnreadableFile, UnsafeFile
from core.methods.card import Modality
from core.modelling import checkpoint_networks as networks
from core.modelling.plain_training import Lesson, taught
from core.unlearning.approximate.kitchen import Task
from core.unlearning.approximate.samples import Samples
from core.use_cases.compare_methods import Subject
from core.use_cases.open_directory import open_directory

DIGITS, CANARY = "digits", "canary"
CANARIES, LEARNED, HELD_OUT, PER_OWNER = 60, 600, 200, 20
TRAIN, TEST, HOLDOUT = "train", "test", "holdout"
DIGITS_NETWORK = {
    "schema": SCHEMA,
    "kind": "convolutional",
    "modality": "classifier",
    "inputs": [1, 8, 8],
    "channels": [16, 16],
    "hidden": [64],
    "outputs": 10,
}


@dataclass(frozen=True, eq=False)
class Rows:
    """All rows there are, and which of them a model learned."""

    name: str
    inputs: NDArray[Any]
    targets: NDArray[Any]
    owners: NDArray[Any] | None
    split: NDArray[Any]
    """(n,) train, test or holdout."""

    @property
    def modality(self) -> Modality:
        """What a model of these rows is, where no description says it."""
        if self.targets.dtype.kind == "f":
            return Modality.REGRESSOR
        return Modality.CLASSIFIER if self.targets.ndim == 1 else Modality.CAUSAL_LANGUAGE_MODEL


def digits() -> Rows:
    """Return 1,797 digits, 600 of them learned, and 60 of those with flipped labels."""
    from sklearn.datasets import load_digits

    found = load_digits()
    order = np.random.default_rng(0).permutation(len(found.target))
    inputs, targets = (found.images[order, None] / 8 - 1).astype(np.float32), found.target[order].astype(np.int64)
    shift = np.random.default_rng(1).integers(1, 10, CANARIES)
    targets[:CANARIES] = (targets[:CANARIES] + shift) % 10
    owners = np.array([CANARY if row < CANARIES else f"owner-{row // PER_OWNER:02}" for row in range(len(targets))])
    split = np.array([TRAIN] * LEARNED + [HOLDOUT] * HELD_OUT + [TEST] * (len(targets) - LEARNED - HELD_OUT))
    return Rows(DIGITS, inputs, targets, owners, split)


def read_rows(path: Path, *, split_needed: bool) -> Rows:
    """Read rows from an NPZ.

    Raises:
        UnsafeFile: an array holds pickled objects.
        UnreadableFile: it is no NPZ.
        CommandFailed: an array is missing or does not fit.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in ("inputs", "targets", "owners", "split") if name in file.files}
    except ValueError as error:
        if "allow_pickle" in str(error):
            raise UnsafeFile(f"{path.name} holds pickled objects; save its arrays as numbers or strings") from None
        raise UnreadableFile(f"{path.name} is no NPZ") from None
    except OSError as error:
        raise unusable(f"{path} cannot be read: {error.strerror or 'it is no NPZ'}") from None
    missing = [name for name in ("inputs", "targets") if name not in arrays]
    if missing or len({len(one) for one in arrays.values()}) > 1:
        raise unusable(f"{path.name} must hold arrays inputs and targets, and all of one length")
    if "split" not in arrays and split_needed:
        raise unusable(
            f"{path.name} must say in an array split which rows the checkpoint learned: train, test or holdout"
        )
    split = arrays["split"].astype(str) if "split" in arrays else _divided(len(arrays["inputs"]))
    if not {TRAIN, TEST} <= set(split) <= {TRAIN, TEST, HOLDOUT}:
        raise unusable("split says train or test, and may say holdout")
    owners = arrays["owners"].astype(str) if "owners" in arrays else None
    return Rows(path.stem, _numbers(arrays["inputs"]), _numbers(arrays["targets"]), owners, split)


def _numbers(array: NDArray[Any]) -> NDArray[Any]:
    if array.dtype.kind not in "fiub":
        raise unusable("inputs and targets are numbers")
    found = array.astype(np.float32 if array.dtype.kind == "f" else np.int64)
    if not np.isfinite(found).all():
        raise unusable("inputs and targets must be finite")
    return found


def _divided(count: int) -> NDArray[Any]:
    """Return seven tenths for training, one held out, two for the test, by a fixed draw."""
    drawn = np.random.default_rng(0).random(count)
    return np.where(drawn < 0.7, TRAIN, np.where(drawn < 0.8, HOLDOUT, TEST))  # noqa: PLR2004 - as the sentence says


def struck(rows: Rows, forget: str) -> NDArray[np.bool_]:
    """Return (n,) which learned rows `owner=NAME`, `class=LABEL` or `random=SHARE` means.

    Raises:
        CommandFailed: it means nothing, no row, or all of them.
    """
    kind, _, value = forget.partition("=")
    learned = rows.split == TRAIN
    if kind == "owner" and rows.owners is not None:
        found = rows.owners == value
    elif kind == "class" and value.lstrip("-").isdigit() and rows.targets.ndim == 1:
        found = rows.targets == int(value)
    elif kind == "random":
        found = np.random.default_rng(0).random(len(learned)) < _share(value)
    else:
        raise unusable("--forget is owner=NAME (if the rows have owners), class=LABEL or random=SHARE")
    found = np.asarray(found & learned, bool)
    if not found.any() or found.sum() == learned.sum():
        raise unusable(f"--forget {forget} means {'no row' if not found.any() else 'every row'} that was learned")
    return found


def _share(value: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise unusable("--forget random= takes a share, such as 0.1") from None


def subject_of(rows: Rows, forget: str, training: Training, checkpoint: Path | None, *, seed: int) -> Subject:
    """Return what is compared on; without a checkpoint, an original is trained on all learned rows.

    Raises:
        CommandFailed: the rows do not fit the model.
        CheckpointRefused, UnsafeFile, TooLarge, BadInput: the checkpoint cannot be read.
    """
    chosen = struck(rows, forget)
    learned = rows.split == TRAIN
    tested = rows.split == TEST
    if forget.startswith("class="):  # of a forgotten class, none is asked for: an oracle has never heard of it
        tested &= rows.targets != rows.targets[chosen][0]
    if checkpoint is not None:
        found = open_directory(checkpoint, rows.inputs.shape[1:], rows.modality)
        architecture, modality, model = found.architecture, found.modality, found.network
        _check(rows, modality, model)
    else:
        architecture, modality = _architecture(rows)
        everyone = _samples(rows, learned)
        lesson = Lesson(training=training, seed=seed)
        model = taught(
            lambda: networks.build(architecture, modality), modality, everyone.inputs, everyone.targets, lesson
        )
    holdout = rows.split == HOLDOUT
    build = networks.fresh_like(architecture, modality, model)
    task = Task(
        model=model,
        modality=modality,
        forget=_samples(rows, chosen),
        retain=_samples(rows, learned & ~chosen),
        holdout=_samples(rows, holdout) if holdout.any() else None,
        training_epochs=training.epochs,
        builder=build,
    )
    return Subject(task=task, test=_samples(rows, tested), build=build, training=training)


def _samples(rows: Rows, mask: NDArray[np.bool_]) -> Samples:
    places = np.flatnonzero(mask)
    return Samples(
        tuple(f"row {place}" for place in places), torch.tensor(rows.inputs[places]), torch.tensor(rows.targets[places])
    )


def _architecture(rows: Rows) -> tuple[Architecture, Modality]:
    if rows.name == DIGITS:
        return architecture_from(DIGITS_NETWORK)
    if rows.inputs.ndim != 2 or rows.inputs.dtype.kind != "f" or rows.targets.ndim != 1:  # noqa: PLR2004 - rows x features
        raise unusable("without a --checkpoint, inputs are (n, features) floats and targets (n,)")
    if rows.modality is Modality.CLASSIFIER and rows.targets.min() < 0:
        raise unusable("classes are numbers from 0")
    outputs = int(rows.targets.max()) + 1 if rows.modality is Modality.CLASSIFIER else 1
    sizes = {"inputs": [rows.inputs.shape[1]], "hidden": [128, 64], "outputs": outputs}
    return architecture_from({"schema": SCHEMA, "kind": "perceptron", "modality": rows.modality.value, **sizes})


def _check(rows: Rows, modality: Modality, model: nn.Module) -> None:
    try:
        with torch.no_grad():
            answer = model(torch.tensor(rows.inputs[:2]))
    except (RuntimeError, IndexError, TypeError):
        raise unusable("the rows' inputs do not fit the checkpoint") from None
    floats = rows.targets.dtype.kind == "f"
    if (modality is Modality.REGRESSOR) is not floats:
        raise unusable(f"targets of a {modality.value} are {'whole ' if floats else 'real '}numbers")
    if not floats and (rows.targets.max() >= answer.shape[-1] or rows.targets.min() < -100):  # noqa: PLR2004 - ignored
        raise unusable("a target is beyond what the checkpoint can answer")
