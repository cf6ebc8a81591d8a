"""Keep a shard's activations on disk, sealed under the keys of the owners' blocks they were computed from. Loads torch.

    states of a slice ──per owner──▶ file: contents, places in the batch, states ──seal (the block's key)──▶ disk

They are functions of people's data, so they live and die with the key of that data (DESIGN §8). A file is named, and
bound by its seal, to everything that the bits depend on: the backbone's tensors and shape, the boundary, the
environment. Inside, each state is found by the record's keyed content digest and the place of the row within its batch.
What does not open, or is about something else, is computed again: a cache is never believed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save
from torch import Tensor

from core.domain.canonical import canonical
from core.domain.errors import KeyDestroyed, SealBroken
from core.keys.envelope import seal, unseal
from core.modelling.backbone import Backbone
from core.modelling.determinism import environment
from core.unlearning.exact.activations import BATCH_ROWS, CPU
from core.unlearning.exact.slice_records import SliceRecords
from core.use_cases.activation_files import ActivationFiles
from core.use_cases.doors import Doors

FORMAT = "lethe activations 1"


class KeptActivations:
    """What one shard may find on disk, and leaves there; see `core.unlearning.exact.activations.ActivationStore`."""

    def __init__(  # noqa: PLR0913, PLR0917 - whose they are, and all that their bits depend on
        self,
        doors: Doors,
        backbone: Backbone,
        digest: str,
        slices: Mapping[int, SliceRecords],
        owners: Mapping[bytes, str],
        device: torch.device = CPU,
    ) -> None:
        """Prepare; nothing is read yet.

        Args:
            doors: the outside.
            backbone: the frozen one.
            digest: of its tensors.
            slices: the shard's records.
            owners: the key of the block in which each record lies, by the record's reference.
            device: where states are computed; another one gives other bits.
        """
        self._keys, self._files = doors.keys, ActivationFiles(doors.settings)
        self._slices, self._owners = slices, owners
        self._what = [FORMAT, digest, repr(backbone.shape), environment(device), BATCH_ROWS]

    def fill(self, hidden: Tensor, boundary: int, number: int) -> NDArray[np.bool_]:
        """Write what is kept of a slice's states below a boundary into (n, tokens, width); return (n,) where."""
        known = np.zeros(len(hidden), bool)
        contents = self._slices[number].content_references
        for key_id, rows in self._rows(number).items():
            kept = self._open(key_id, boundary, tuple(hidden.shape[1:]))
            for row in rows:
                state = kept.get((contents[row].tobytes(), row % BATCH_ROWS))
                if state is not None:
                    hidden[row] = torch.from_numpy(state)
                    known[row] = True
        return known

    def keep(self, hidden: Tensor, boundary: int, number: int, fresh: NDArray[np.bool_]) -> None:
        """Write the files of the owners of whom something was computed just now."""
        contents = self._slices[number].content_references
        for key_id, rows in self._rows(number).items():
            if not fresh[rows].any():
                continue
            plain = save(
                {
                    "contents": np.ascontiguousarray(contents[rows]),
                    "places": np.array([row % BATCH_ROWS for row in rows], np.int64),
                    "states": np.ascontiguousarray(hidden[rows].cpu().numpy()),
                }
            )
            name, context = self._named(key_id, boundary)
            try:
                self._files.write(key_id, name, seal(self._keys.get(key_id), plain, context=context))
            except KeyDestroyed:
                continue  # a deletion is under way; this training will hear of it

    def _open(self, key_id: str, boundary: int, shape: tuple[int, ...]) -> dict[tuple[bytes, int], NDArray[np.float32]]:
        name, context = self._named(key_id, boundary)
        sealed = self._files.read(key_id, name)
        if sealed is None:
            return {}
        try:
            kept = load(unseal(self._keys.get(key_id), sealed, context=context))
        except (SealBroken, KeyDestroyed, SafetensorError):
            return {}
        if kept["states"].dtype != np.float32 or kept["states"].shape[1:] != shape:
            return {}
        places = zip(kept["contents"], kept["places"].tolist(), kept["states"], strict=True)
        return {(content.tobytes(), place): state for content, place, state in places}

    def _rows(self, number: int) -> dict[str, list[int]]:
        """Return the rows of a slice by the key of their owner's block."""
        rows: dict[str, list[int]] = {}
        for row, reference in enumerate(self._slices[number].references):
            rows.setdefault(self._owners[reference.tobytes()], []).append(row)
        return rows

    def _named(self, key_id: str, boundary: int) -> tuple[str, bytes]:
        context = canonical([*self._what, boundary, key_id])
        return hashlib.sha256(context).hexdigest(), context
