"""Regression with real patients: three of 42 are forgotten by every method that claims regressors, three seeds.

    python -m benchmarks.approximate.parkinsons [--quick] [--json FILE]

Telemonitoring of Parkinson's disease (Tsanas et al. 2009): 19 numbers of a recording, motor and total score of its
patient. Who was never heard is estimated badly, so what is known of a forgotten patient shows. 34 patients are learned, the
last three of them forgotten; three others are held out and five are the test; of all, every third recording is taken.
Inputs and targets are scaled by the retained rows. Figures are mean confidences exp(-error^2 / 2) in percent, the error in
units of the oracles' usual one on test rows. Settings are those of the gate, not tuned here.
"""

from __future__ import annotations

import csv
import gzip
import sys
import time
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.approximate.fashion import refused_its_own
from benchmarks.approximate.report import arguments, chosen_for, data_set, kept, over_seeds, printed
from benchmarks.approximate.worlds import joined
from core.domain.checkpoint import Training
from core.methods.card import Modality
from core.modelling.determinism import pinned
from core.modelling.networks import perceptron
from core.unlearning.approximate.kitchen import Task
from core.unlearning.approximate.samples import Samples
from core.use_cases.compare_methods import Subject

LEARNED, FORGOTTEN, HELD_OUT = range(1, 35), range(32, 35), range(35, 38)
TARGET = "total_UPDRS"
NOT_INPUTS = ("subject#", "motor_UPDRS", TARGET)
TRAINING = Training(epochs=40, learning_rate=3e-3, batch_size=32)
QUICK = ("retrain", "gradient_ascent", "blindspot", "gaussian_amnesiac")


def recordings(directory: Path) -> tuple[Tensor, Tensor, Tensor]:
    """Return (n, 19) inputs, (n,) total scores and (n,) patients, as they stand."""
    with gzip.open(directory / "parkinsons_updrs.csv.gz", "rt", newline="") as file:
        rows = list(csv.DictReader(file))
    names = [name for name in rows[0] if name not in NOT_INPUTS]
    inputs = torch.tensor([[float(row[name]) for name in names] for row in rows])
    return (
        inputs,
        torch.tensor([float(row[TARGET]) for row in rows]),
        torch.tensor([int(row["subject#"]) for row in rows]),
    )


def network() -> torch.nn.Module:
    return perceptron(19, [64, 32], 1)


def subject(data: tuple[Tensor, Tensor, Tensor], *, every: int) -> tuple[Subject, Samples, float]:
    """Return the task with every so-manieth recording, all training rows, and points per unit of the target."""
    inputs, targets, patients = (one[::every] for one in data)
    among = {
        "forget": torch.isin(patients, torch.tensor(FORGOTTEN)),
        "retain": torch.isin(patients, torch.tensor(sorted(set(LEARNED) - set(FORGOTTEN)))),
        "holdout": torch.isin(patients, torch.tensor(HELD_OUT)),
    }
    among["test"] = ~torch.stack(list(among.values())).any(0)
    kept_rows = among["retain"]
    inputs = (inputs - inputs[kept_rows].mean(0)) / inputs[kept_rows].std(0)
    unit = float(targets[kept_rows].std())
    targets = (targets - targets[kept_rows].mean()) / unit
    rows = {
        name: Samples(tuple(f"recording {int(row)}" for row in mask.nonzero()), inputs[mask], targets[mask][:, None])
        for name, mask in among.items()
    }
    task = Task(
        model=network(),
        modality=Modality.REGRESSOR,
        forget=rows["forget"],
        retain=rows["retain"],
        holdout=rows["holdout"],
    )
    return (
        Subject(task=task, test=rows["test"], build=network, training=TRAINING),
        joined(rows["retain"], rows["forget"]),
        unit,
    )


def main() -> None:
    given = arguments("parkinsons", __doc__)
    pinned(1)
    started = time.perf_counter()
    one, everything, unit = subject(recordings(data_set("parkinsons-telemonitoring")), every=8 if given.quick else 3)
    methods = chosen_for(Modality.REGRESSOR, TRAINING, QUICK if given.quick else None)
    found, _ = over_seeds(
        one, everything, methods, oracles=4 if given.quick else 19, seeds=range(1 if given.quick else 3)
    )
    printed("three patients", found)
    print(f"one unit of error is {found['scale'] * unit:.1f} points")
    kept(
        "parkinsons", given, {"points_per_unit_of_error": found["scale"] * unit, **found}, time.perf_counter() - started
    )
    if refused_its_own(found) and not given.quick:
        sys.exit("the judge refused one oracle more")


if __name__ == "__main__":
    main()
