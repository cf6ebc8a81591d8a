"""TOFU on a small Llama-shaped model that is trained here from scratch: two fictitious authors of six are forgotten.

    python -m benchmarks.approximate.tofu [--quick] [--json FILE]

The data are TOFU's last six authors (arXiv:2401.06121), of those of whom every answer comes with wrong ones. Of the
truth ratio TR = (geometric mean probability of the wrong answers) / (that of the right one in other words) the model that
forgot and one that never knew should show the same distribution: forget quality is the p-value of a two-sample
Kolmogorov-Smirnov test. A p-value falls with the number of questions, so the statistic D stands beside it, with D among
oracles as its floor, and Cohen's d. A model of this size learns answers by heart and little else, so the ratio is also taken
with the answer as it was learned (`verbatim`). Utility is the harmonic mean of probability, ROUGE-L recall and 1 - TR on
retained questions. Rows are cut after 80 tokens; of real authors and the world a model from scratch knows nothing, so those parts are left out.
"""

from __future__ import annotations

import gzip
import json
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import ks_2samp
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor, nn

from benchmarks.approximate.causal_transformer import CausalTransformer, CausalTransformerShape
from benchmarks.approximate.report import arguments, chosen_for, data_set, kept, said
from benchmarks.approximate.worlds import joined
from core.domain.checkpoint import Training
from core.domain.errors import MethodFailed
from core.methods.card import Modality
from core.modelling.determinism import pinned
from core.modelling.plain_training import Lesson, taught
from core.unlearning.approximate.adapters.token_losses import IGNORED, token_losses
from core.unlearning.approximate.kitchen import Task
from core.unlearning.approximate.samples import Samples
from core.unlearning.approximate.unlearn import order_for, unlearn
from core.use_cases.compare_methods import Subject, train_oracles, with_tensors

AUTHORS, FORGOTTEN, PER_AUTHOR, LENGTH = 6, 2, 20, 80
VOCABULARY, END = 2000, 0
SHAPE = CausalTransformerShape(
    vocab_size=VOCABULARY,
    hidden_size=64,
    intermediate_size=160,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    tie_word_embeddings=True,
)
TRAINING = Training(epochs=30, learning_rate=6e-3, batch_size=16)
QUICK = ("retrain", "gradient_difference", "negative_preference")
GENERATED = 24
"""Retained questions that are answered in full, for the recall."""


@dataclass(frozen=True)
class Question:
    question: str
    answer: str
    paraphrased: str
    wrong: Sequence[str]


@dataclass(frozen=True)
class Data:
    tokenizer: Tokenizer
    forget: Sequence[Question]
    retain: Sequence[Question]
    holdout: Sequence[tuple[str, str]]


def questions(directory: Path, *, authors: int, forgotten: int) -> Data:
    """Return the questions about the last so many authors, and a tokenizer that was trained on all of TOFU's text."""
    rows = lines(directory / "forget10_perturbed.jsonl.gz")[-authors * PER_AUTHOR :]
    every = [
        Question(one["question"], one["answer"], one["paraphrased_answer"], one["perturbed_answer"]) for one in rows
    ]
    border = (authors - forgotten) * PER_AUTHOR
    texts = [f"{one['question']} {one['answer']}" for one in lines(directory / "full.jsonl.gz")]
    held_out = [(one["question"], one["answer"]) for one in lines(directory / "holdout10.jsonl.gz")]
    return Data(tokenizer_of(texts), every[border:], every[:border], held_out[: forgotten * PER_AUTHOR])


def lines(file: Path) -> list[dict[str, Any]]:
    with gzip.open(file, "rt") as content:
        return [json.loads(line) for line in content]


def tokenizer_of(texts: Sequence[str]) -> Tokenizer:
    """Return byte pairs of 2,000 words; token 0 ends an answer and pads."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=VOCABULARY, special_tokens=["<end>"], initial_alphabet=alphabet, show_progress=False
        ),
    )
    return tokenizer


def encoded(tokenizer: Tokenizer, pairs: Sequence[tuple[str, str]]) -> tuple[Tensor, Tensor]:
    """Return (n, t) token ids and targets: only the answer and its end are asked for."""
    asked = [tokenizer.encode(question).ids for question, _ in pairs]
    answered = [[*tokenizer.encode(answer).ids, END] for _, answer in pairs]
    length = max(len(one) + len(other) for one, other in zip(asked, answered, strict=True))
    inputs = torch.full((len(pairs), length), END)
    targets = torch.full((len(pairs), length), IGNORED)
    for row, (one, other) in enumerate(zip(asked, answered, strict=True)):
        inputs[row, : len(one) + len(other)] = torch.tensor([*one, *other])
        targets[row, len(one) : len(one) + len(other)] = torch.tensor(other)
    return inputs, targets


def samples(data: Data, rows: Sequence[Question] | Sequence[tuple[str, str]], name: str) -> Samples:
    pairs = [(one.question, one.answer) if isinstance(one, Question) else one for one in rows]
    inputs, targets = encoded(data.tokenizer, pairs)
    return Samples(tuple(f"{name} {row}" for row in range(len(pairs))), inputs[:, :LENGTH], targets[:, :LENGTH])


def subject(data: Data) -> tuple[Subject, Samples]:
    forget, retain, holdout = (
        samples(data, rows, name)
        for rows, name in ((data.forget, "forget"), (data.retain, "retain"), (data.holdout, "holdout"))
    )
    task = Task(model=network(), modality=Modality.CAUSAL_LANGUAGE_MODEL, forget=forget, retain=retain, holdout=holdout)
    return Subject(task=task, test=holdout, build=network, training=TRAINING), joined(retain, forget)


def network() -> nn.Module:
    return CausalTransformer(SHAPE)


# What a model knows


@torch.no_grad()
def mean_losses(model: nn.Module, tokenizer: Tokenizer, pairs: Sequence[tuple[str, str]]) -> Tensor:
    """Return (n,) nats per token of each answer."""
    inputs, targets = encoded(tokenizer, pairs)
    found = []
    for part in torch.split(torch.arange(len(pairs)), 128):
        losses = token_losses(model(inputs[part]), targets[part]).sum(-1)
        found.append(losses / (targets[part][:, 1:] != IGNORED).sum(-1))
    return torch.cat(found).double()


def truth_ratios(model: nn.Module, data: Data, rows: Sequence[Question], *, verbatim: bool) -> np.ndarray:
    """Return (n,) mean probability of the wrong answers over that of the right one, each per token."""
    wrong = [(one.question, answer) for one in rows for answer in one.wrong]
    right = [(one.question, one.answer if verbatim else one.paraphrased) for one in rows]
    mistaken = (-mean_losses(model, data.tokenizer, wrong)).exp().view(len(rows), -1).mean(-1)
    return np.asarray(mistaken / (-mean_losses(model, data.tokenizer, right)).exp())


def rouge_recall(model: nn.Module, data: Data, rows: Sequence[Question]) -> float:
    """Return the mean share of an answer's words that the greedy answer has in the same order (longest common subsequence)."""
    asked = [data.tokenizer.encode(one.question).ids for one in rows]
    room = max(len(data.tokenizer.encode(one.answer).ids) for one in rows) + 5
    found = []
    for one, answered in zip(rows, continued(model, asked, room), strict=True):
        wanted = one.answer.lower().split()
        found.append(common(wanted, data.tokenizer.decode(answered).lower().split()) / len(wanted))
    return statistics.fmean(found)


@torch.no_grad()
def continued(model: nn.Module, prompts: Sequence[Sequence[int]], room: int) -> list[list[int]]:
    """Return what the model says after each prompt, greedily, up to its end token or the room there is."""
    lengths = torch.tensor([len(prompt) for prompt in prompts])
    tokens = torch.full((len(prompts), int(lengths.max()) + room), END)
    for row, prompt in enumerate(prompts):
        tokens[row, : len(prompt)] = torch.tensor(prompt)
    everyone = torch.arange(len(prompts))
    for step in range(room):
        seen = int(lengths.max()) + step  # what stands right of a row's own last token changes nothing before it
        logits = model(tokens[:, :seen])
        tokens[everyone, lengths + step] = logits[everyone, lengths + step - 1].argmax(-1)
    said_tokens = [tokens[row, length : length + room].tolist() for row, length in enumerate(lengths.tolist())]
    return [one[: one.index(END)] if END in one else one for one in said_tokens]


def common(left: Sequence[str], right: Sequence[str]) -> int:
    """Return the length of the longest common subsequence."""
    row = [0] * (len(right) + 1)
    for one in left:
        before = row
        row = [0]
        for place, other in enumerate(right):
            row.append(before[place] + 1 if one == other else max(before[place + 1], row[place]))
    return row[-1]


@dataclass(frozen=True)
class Known:
    """What one model shows."""

    ratios: Mapping[str, np.ndarray]
    """Of forgotten questions, `paraphrased` and `verbatim`."""
    forget_probability: float
    utility: float


def known(model: nn.Module, data: Data) -> Known:
    few = data.retain[:: max(1, len(data.retain) // GENERATED)][:GENERATED]
    probability = (
        (-mean_losses(model, data.tokenizer, [(one.question, one.answer) for one in data.retain])).exp().mean()
    )
    honest = np.maximum(0, 1 - truth_ratios(model, data, few, verbatim=True)).mean()
    parts = [float(probability), rouge_recall(model, data, few), float(honest)]
    forgotten = mean_losses(model, data.tokenizer, [(one.question, one.answer) for one in data.forget])
    return Known(
        ratios={
            "paraphrased": truth_ratios(model, data, data.forget, verbatim=False),
            "verbatim": truth_ratios(model, data, data.forget, verbatim=True),
        },
        forget_probability=float((-forgotten).exp().mean()),
        utility=statistics.harmonic_mean(parts) if min(parts) > 0 else 0.0,
    )


def beside(one: Known, oracles: Sequence[Known]) -> dict[str, Any]:
    """Return forget quality against the first oracle, and effect sizes as means over all oracles."""
    row: dict[str, Any] = {"forget_probability": one.forget_probability, "utility": one.utility}
    for kind, ratios in one.ratios.items():
        each = [ks_2samp(ratios, oracle.ratios[kind]) for oracle in oracles if oracle is not one]
        row[kind] = {
            "truth_ratio": float(np.median(ratios)),
            "forget_quality": float(each[0].pvalue),
            "ks_distance": statistics.fmean(float(test.statistic) for test in each),
            "cohens_d": statistics.fmean(
                cohens_d(ratios, oracle.ratios[kind]) for oracle in oracles if oracle is not one
            ),
        }
    return row


def cohens_d(one: np.ndarray, other: np.ndarray) -> float:
    """Return the difference of mean log ratios in pooled standard deviations; below 0 the right answer is surer."""
    left, right = np.log(one), np.log(other)
    pooled = np.sqrt((left.var(ddof=1) + right.var(ddof=1)) / 2)
    return float((left.mean() - right.mean()) / pooled)


def line(name: str, row: Mapping[str, Any]) -> str:
    figures = "".join(
        f" {row[kind]['forget_quality']:9.1e} {row[kind]['ks_distance']:5.2f} {row[kind]['cohens_d']:+6.2f}"
        for kind in ("paraphrased", "verbatim")
    )
    share = f"{row['retrain_share']:6.2f}" if row.get("retrain_share") else ""
    return f"  {name:31s} {row['forget_probability']:6.3f} {row['utility']:7.3f}{figures} {share}"


def main() -> None:
    given = arguments("tofu", __doc__)
    pinned(1)
    started = time.perf_counter()
    data = questions(data_set("tofu"), authors=3 if given.quick else AUTHORS, forgotten=1 if given.quick else FORGOTTEN)
    one, everything = subject(data)
    bench = train_oracles(one, 1 if given.quick else 3, said)
    oracles = [known(model, data) for model in bench.models]
    original = taught(
        network,
        Modality.CAUSAL_LANGUAGE_MODEL,
        everything.inputs,
        everything.targets,
        Lesson(training=TRAINING, seed=0),
    )
    task = Task(
        model=original,
        modality=Modality.CAUSAL_LANGUAGE_MODEL,
        forget=one.task.forget,
        retain=one.task.retain,
        holdout=one.task.holdout,
        training_epochs=TRAINING.epochs,
    )
    print(f"{len(data.forget)} of {len(data.forget) + len(data.retain)} questions, {len(oracles)} oracles")
    print(f"  {'':31s} {'P(F)':>6s} {'utility':>7s}{'quality, D, d: paraphrased':>23s}, verbatim  share of a retrain")
    rows: dict[str, Any] = {"original": beside(known(original, data), oracles)}
    print(line("original", rows["original"]))
    floor = [beside(oracle, oracles) for oracle in oracles]
    for number, row in enumerate(floor):
        print(line(f"oracle {number + 1}", row))
    for chosen in chosen_for(Modality.CAUSAL_LANGUAGE_MODEL, TRAINING, QUICK if given.quick else None):
        rows[chosen.method] = ran(task, data, oracles, (chosen.method, dict(chosen.settings)), bench.seconds)
        row = rows[chosen.method]
        print(f"  {chosen.method:31s} {row['refused']}" if "refused" in row else line(chosen.method, row), flush=True)
    found = {
        "questions": {"forget": len(data.forget), "retain": len(data.retain)},
        "parameters": sum(parameter.numel() for parameter in original.parameters()),
        "oracles": {"count": len(oracles), "seconds": bench.seconds, "each": floor},
        "methods": rows,
    }
    kept("tofu", given, found, time.perf_counter() - started)


def ran(
    task: Task, data: Data, oracles: Sequence[Known], method: tuple[str, dict[str, Any]], seconds: float
) -> dict[str, Any]:
    """Return what one method reaches and costs."""
    name, settings = method
    try:
        outcome = unlearn(order_for(name, settings, seed=0), task)
    except MethodFailed as refused:
        return {"settings": settings, "refused": refused.code, "detail": refused.detail}
    found = beside(known(with_tensors(task.model, outcome.tensors), data), oracles)
    cost = {"seconds_share": outcome.cost.seconds / seconds, "retrain_share": outcome.cost.retrain_share}
    return {"settings": settings, **found, **cost}


if __name__ == "__main__":
    main()
