"""`lethe compare`: several methods on one model and one forget set, judged beside oracles. It needs no service.

lethe compare --data digits                                       every classifier method, 19 oracles, a report in HTML
lethe compare --data digits --forget owner=canary --oracles 19    the same: the canary's labels are flipped, so forgetting shows
lethe compare --data rows.npz --checkpoint model/ --forget class=3 --methods salun,scrub --set scrub.epochs=12
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.extras import require_extra
from cli.output import Json, progress, say, show, table, told, unusable
from core.domain.checkpoint import Training

if TYPE_CHECKING:
    from core.methods.card import Modality
    from core.use_cases.compare_methods import Chosen

COLUMNS = {
    "method": "method",
    "the judge says": "ending",
    "on": "fails",
    "forgot": "unlearning",
    "kept": "retain",
    "new rows": "test",
    "membership": "membership",
    "gap": "average_gap",
    "of a retrain": "share",
    "seconds": "seconds",
}
SHARE_OF_ORACLES = 0.6
"""Of the bar."""


def compare(
    data: Annotated[str, typer.Option(help="digits, or an NPZ with inputs, targets, owners, split.")] = "digits",
    forget: Annotated[
        str | None, typer.Option(help="owner=NAME, class=LABEL or random=SHARE.", show_default="owner=canary on digits")
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            help="Directory with model.safetensors and architecture.json or config.json; else one is trained."
        ),
    ] = None,
    methods: Annotated[
        str | None, typer.Option(help="Names or aliases with commas; else all that suit.", show_default="all")
    ] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="METHOD.SETTING=VALUE; repeat.")] = None,
    oracles: Annotated[int, typer.Option(min=2, max=1000, help="Models trained without the rows, K.")] = 19,
    epochs: Annotated[int, typer.Option(min=1, help="How long original and oracles are trained.")] = 60,
    learning_rate: Annotated[float, typer.Option(help="Theirs.")] = 3e-3,
    batch_size: Annotated[int, typer.Option(min=1, help="Theirs.")] = 32,
    seed: Annotated[int, typer.Option(min=0, help="Of the methods, and of an original that is trained.")] = 0,
    html: Annotated[Path | None, typer.Option(help="Where the report goes.", show_default="compare.html")] = None,
    png: Annotated[Path | None, typer.Option(help="Draw the figures into this PNG file as well.")] = None,
    as_json: Json = False,
) -> None:
    """Compare methods on one model: what is forgotten, kept and given away, at what cost, and what the judge says."""
    with told(as_json):
        require_extra("demo", "lethe compare")
        from core.modelling.determinism import environment, pinned

        pinned(1)
        try:
            training = Training(epochs=epochs, learning_rate=learning_rate, batch_size=batch_size)
        except ValueError as error:
            raise unusable(str(error)) from None
        chosen = read_settings(settings or [])
        target = html or (None if as_json else Path("compare.html"))
        for file in (target, png):
            _check_writable(file)
        asked = Asked(data, forget, checkpoint, methods, chosen)
        found = compared(asked, training, oracles=oracles, seed=seed) | {"environment": environment()}
        _write(found, target, png)
        show(found, as_json, lambda: _print(found))


@dataclass(frozen=True)
class Asked:
    """What is compared on what, as it was typed."""

    data: str
    forget: str | None
    checkpoint: Path | None
    methods: str | None
    settings: Mapping[str, Mapping[str, Any]]


def compared(asked: Asked, training: Training, *, oracles: int, seed: int) -> dict[str, Any]:
    """Return the whole comparison as plain data, with a bar on the terminal while it is made."""
    from cli.compare_data import CANARY, DIGITS, digits, read_rows, subject_of
    from core.use_cases.compare_methods import compare_methods, train_oracles

    own = asked.data != DIGITS
    if not own and asked.checkpoint is None:
        rows = digits()
    elif own:
        rows = read_rows(Path(asked.data), split_needed=asked.checkpoint is not None)
    else:
        raise unusable("a --checkpoint needs the rows that it learned: --data FILE.npz")
    forget = asked.forget or (None if own else f"owner={CANARY}")
    if forget is None:
        raise unusable("say with --forget what is to be forgotten: owner=NAME, class=LABEL or random=SHARE")
    with progress("comparing") as bar:
        bar(0.0, "the original")
        subject = subject_of(rows, forget, training, asked.checkpoint, seed=seed)
        chosen = choose(subject.task.modality, asked, training)
        bench = train_oracles(subject, oracles, lambda share, now: bar(SHARE_OF_ORACLES * share, now))
        rest = 1 - SHARE_OF_ORACLES
        found = compare_methods(
            subject, chosen, bench, seed=seed, progress=lambda share, now: bar(SHARE_OF_ORACLES + rest * share, now)
        )
    return {
        **found,
        "data": rows.name,
        "forget": forget,
        "checkpoint": None if asked.checkpoint is None else asked.checkpoint.name,
        "training": {
            "epochs": training.epochs,
            "learning_rate": training.learning_rate,
            "batch_size": training.batch_size,
        },
    }


def choose(modality: Modality, asked: Asked, training: Training) -> list[Chosen]:
    """Return the methods that were named, or all for a modality; retraining goes as the original was trained.

    Raises:
        MethodNotFound: one is not on the menu.
        BadInput: a setting is unknown or out of its bounds.
        CommandFailed: a method is for other models, or settings are for a method that does not run.
    """
    from core.methods.menu import MENU, find
    from core.use_cases.compare_methods import Chosen

    if asked.methods is None:
        names = [name for name, card in MENU.items() if modality in card.modalities]
    else:
        names = list(dict.fromkeys(find(name.strip()).name for name in asked.methods.split(",")))
    unfit = [name for name in names if modality not in MENU[name].modalities]
    if unfit:
        raise unusable(f"{', '.join(unfit)} cannot run on a {modality.value}")
    given = {find(name).name: values for name, values in asked.settings.items()}
    idle = given.keys() - set(names)
    if idle:
        raise unusable(f"--set names {', '.join(sorted(idle))}, which does not run")
    as_trained = {
        "epochs": training.epochs,
        "learning_rate": training.learning_rate,
        "batch_size": training.batch_size,
    }
    chosen = []
    for name in names:
        settings = {**(as_trained if name == "retrain" else {}), **given.get(name, {})}
        MENU[name].settings_from(settings)
        chosen.append(Chosen(method=name, settings=settings))
    return chosen


def read_settings(texts: list[str]) -> dict[str, dict[str, Any]]:
    """Return settings by method from texts such as `scrub.epochs=12`.

    Raises:
        CommandFailed: one of them is something else.
    """
    found: dict[str, dict[str, Any]] = {}
    for text in texts:
        path, equals, value = text.partition("=")
        method, dot, name = path.partition(".")
        if not (method and dot and name and equals):
            raise unusable("--set takes METHOD.SETTING=VALUE, such as scrub.epochs=12")
        try:
            found.setdefault(method, {})[name] = json.loads(value)
        except ValueError:
            found.setdefault(method, {})[name] = value  # a word
    return found


def _write(found: Mapping[str, Any], html: Path | None, png: Path | None) -> None:
    from cli.compare_plots import figures_png
    from cli.compare_report import written_comparison

    files = [] if html is None else [(html, written_comparison(found).encode())]
    files += [] if png is None else [(png, figures_png(found))]
    for path, content in files:
        try:
            path.write_bytes(content)
        except OSError as error:
            raise unusable(f"{path} cannot be written: {error.strerror}") from None
        say(f"wrote {path}")


def _check_writable(path: Path | None) -> None:
    """Refuse a place before minutes of work are lost for it."""
    if path is not None and not path.parent.is_dir():
        raise unusable(f"{path} cannot be written: there is no such directory")


def _print(found: Mapping[str, Any]) -> None:
    oracles = {
        "method": f"{found['oracles']['count']} oracles, mean",
        **found["oracles"],
        "seconds": found["oracles"]["seconds"],
    }
    others = [
        {"method": name, **found[key]} for name, key in (("nothing done", "original"), ("one oracle more", "oracle"))
    ]
    table([_line(one) for one in (oracles, *others, *found["methods"])], COLUMNS, empty="There is no method.")
    say("forgot: % of forgotten rows not answered as given; kept, new rows: % right. membership: 50 is chance.")


def _line(one: Mapping[str, Any]) -> dict[str, Any]:
    figures, cost = one.get("figures", one), one.get("cost", one)
    line: dict[str, Any] = {
        "method": one["method"],
        "ending": one.get("ending") or one.get("refused"),
        "fails": one.get("fails"),
    }
    for name in ("unlearning", "retain", "test", "membership", "average_gap"):
        line[name] = None if figures.get(name) is None else f"{figures[name]:.1f}"
    line["share"] = None if cost.get("retrain_share") is None else f"{cost['retrain_share']:.2f}"
    line["seconds"] = None if cost.get("seconds") is None else f"{cost['seconds']:.2f}"
    return line
