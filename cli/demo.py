"""`lethe demo`: the whole promise on real data in a few minutes, on a service of its own.

    data ─▶ service ─▶ upload ─▶ train ─▶ forget owner after owner ─▶ verify all evidence ─▶ retrain to compare ─▶ report

What it does stands in `demo_run.py`; here are its options, and how it ends.
"""

from __future__ import annotations

import json
import secrets
import signal
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from cli.extras import require_extra
from cli.output import Json, say, told, unusable

if TYPE_CHECKING:
    from cli.demo_data import DemoData
    from core.domain.model import Recipe

YOURS, MODEL, SERVICE = "Your own data", "The model", "The service"


def _file(text: str, *names: str) -> Any:
    return typer.Option(*names, help=text, exists=True, dir_okay=False, rich_help_panel=YOURS)


def _option(text: str, panel: str, **more: Any) -> Any:
    return typer.Option(help=text, rich_help_panel=panel, **more)


File = Path | None
Column = Annotated[str, _option("Its name in the NPZ.", YOURS)]


class DemoTask(StrEnum):
    """What the demo's model learns to say."""

    IMAGE = "image"
    TABULAR = "tabular"
    REGRESSION = "regression"
    TEXT = "text"
    LM = "lm"


LANGUAGE_NODE = {"rank": 16, "alpha": 16.0, "epochs": 40, "batch_size": 16, "learning_rate": 3e-3}
"""A fact is learned by heart, which takes more steps than telling labels apart."""
FEW = {"shards": 2, "slices": 3, "deletions": 5}
MANY = {"shards": 3, "slices": 4, "deletions": 20}
"""Unless said: a language model's shards know less of what another shard learned, and its nodes take longer."""
TEXTS = (DemoTask.TEXT, DemoTask.LM)


def demo(
    task: Annotated[
        DemoTask,
        typer.Option(
            help="image: digits to read; tabular: tumours to tell apart; regression: a disease's progress; text: posts to "
            "tell apart; lm: facts about invented people."
        ),
    ] = DemoTask.IMAGE,
    data: Annotated[
        File,
        _file(
            "NPZ with images, labels, owners; of text and lm a table with texts, labels or prompts, owners.", "--data"
        ),
    ] = None,
    images: Annotated[File, _file("Images in a file of their own: NPY or IDX, also gzipped.", "--images")] = None,
    labels: Annotated[File, _file("Labels in a file of their own; also text, one a line.", "--labels")] = None,
    owners: Annotated[File, _file("Owners in a file of their own; also text, one a line.", "--owners")] = None,
    images_column: Column = "images",
    labels_column: Column = "labels",
    owners_column: Column = "owners",
    record_ids_column: Column = "record_ids",
    texts_column: Column = "texts",
    prompts_column: Annotated[
        str | None, _option("What stands before a text, for lm; without it every text is learned whole.", YOURS)
    ] = None,
    encoder: Annotated[
        Path | None,
        typer.Option(
            help="A BERT directory (text) or a Llama or GPT-2 directory (lm); without it a small one is trained on the public rows.",
            exists=True,
            file_okay=False,
            rich_help_panel=YOURS,
        ),
    ] = None,
    tokens: Annotated[int | None, _option("How many tokens of a text are read.", YOURS, min=2, max=512)] = None,
    public_column: Annotated[
        str, _option("Its name in the NPZ; without it a third of the rows is public.", YOURS)
    ] = "public",
    invent_owners: Annotated[
        int | None, _option("Divide the rows among so many owners, by blocks.", YOURS, min=1)
    ] = None,
    rows: Annotated[int | None, _option("Use only so many rows, the first.", YOURS, min=1)] = None,
    pixel_minimum: Annotated[float | None, _option("Lowest value of a pixel.  [default: 0]", YOURS)] = None,
    pixel_maximum: Annotated[float | None, _option("Highest value of a pixel.  [default: 1 or 255]", YOURS)] = None,
    shards: Annotated[
        int | None, _option("Independent ensembles that vote.  [default: 3, of lm 2]", MODEL, min=1)
    ] = None,
    slices: Annotated[
        int | None, _option("Parts of a shard, each switched off on its own.  [default: 4, of lm 3]", MODEL, min=1)
    ] = None,
    family: Annotated[
        str | None, _option("subset_trie, greedy_trie, cyclic, prior or chain; chosen by --slices.", MODEL)
    ] = None,
    epochs: Annotated[int | None, _option("Epochs of each node.", MODEL, min=1)] = None,
    backbone_epochs: Annotated[int | None, _option("Epochs of the backbone.", MODEL, min=1)] = None,
    width: Annotated[int | None, _option("Channels of the backbone.", MODEL, min=8)] = None,
    layers: Annotated[int | None, _option("Layers of the backbone, at least one a slice.", MODEL, min=1)] = None,
    deletions: Annotated[
        int | None, typer.Option(min=1, help="How many owners to forget, one after another.  [default: 20, of lm 5]")
    ] = None,
    directory: Annotated[Path, typer.Option(help="Where everything of the demo goes.")] = Path("lethe-demo"),
    report: Annotated[Path | None, typer.Option(help="The report.  [default: report.html in the directory]")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the service running.", rich_help_panel=SERVICE)] = False,
    port: Annotated[int, _option("Port of the API; 0 picks a free one.", SERVICE, min=0, max=65535)] = 0,
    predictor_port: Annotated[
        int, _option("Port of the predictor; 0 picks a free one.", SERVICE, min=0, max=65535)
    ] = 0,
    url: Annotated[str | None, _option("Use a running service; its key comes from LETHE_API_KEY.", SERVICE)] = None,
    predictor_url: Annotated[str | None, _option("Predictor of that running service.", SERVICE)] = None,
    as_json: Json = False,
) -> None:
    """Show a model forget people, on bundled or invented data or on your own, with proofs and a report."""
    signal.signal(signal.SIGTERM, _ended)
    with told(as_json):
        require_extra("demo", "`lethe demo`")
        if report is not None and not report.absolute().parent.is_dir():
            raise unusable(f"{report.parent} is no directory to put the report in")
        usual = FEW if task is DemoTask.LM else MANY
        shards, slices = shards or usual["shards"], slices or usual["slices"]
        deletions = deletions or usual["deletions"]
        recipe = _recipe(
            {"shards": shards, "slices": slices, "family": family},
            {"layers": layers or max(4, slices), "width": width, "epochs": backbone_epochs, "tokens": tokens},
            {**(LANGUAGE_NODE if task is DemoTask.LM else {}), **({} if epochs is None else {"epochs": epochs})},
        )
        files = {"file": data, "images": images, "labels": labels, "owners": owners}
        columns = {
            "images": images_column,
            "labels": labels_column,
            "owners": owners_column,
            "record_ids": record_ids_column,
            "public": public_column,
        }
        run_name = secrets.token_hex(3) if url else ""
        given = {role: path for role, path in files.items() if path is not None}
        if task in TEXTS:
            named = {"texts": texts_column, "prompts": prompts_column} | columns
            found = _texts(
                task, given, named, run_name, encoder=encoder, tokens=tokens, rows=rows, invented=invent_owners
            )
        elif given and task is not DemoTask.IMAGE:
            raise unusable(
                "your own data are shown as images or texts; register a table of yours with `lethe datasets register`"
            )
        elif given:
            pixels = (pixel_minimum, pixel_maximum)
            found = _given_data(given, columns, pixels=pixels, rows=rows, invented=invent_owners)
        else:
            found = _bundled(task, run_name, refused=(rows, invent_owners, pixel_minimum, pixel_maximum))
        where = {"port": port, "predictor_port": predictor_port, "url": url, "predictor_url": predictor_url}
        result = _shown(found, recipe, deletions, directory, run_name=run_name, where=where, keep=keep)
        _finish(result, directory, report, as_json=as_json)


def _ended(number: int, frame: FrameType | None) -> NoReturn:
    del frame
    # As an exception, so that the service that was started is stopped on the way out.
    raise SystemExit(128 + number)


def _recipe(lattice: dict[str, Any], backbone: dict[str, Any], node: dict[str, Any]) -> Recipe:
    """Return the recipe; what is None keeps its default.

    Raises:
        CommandFailed: the numbers do not hold together.
    """
    from core.domain.model import BackboneRecipe, FamilyName, NodeRecipe, Recipe, default_family

    try:
        lattice["family"] = FamilyName(lattice["family"] or default_family(lattice["slices"]))
    except ValueError:
        raise unusable(f"--family must be one of {', '.join(FamilyName)}") from None
    try:
        return Recipe(
            **lattice,
            backbone=BackboneRecipe(**{name: value for name, value in backbone.items() if value is not None}),
            node=NodeRecipe(**{name: value for name, value in node.items() if value is not None}),
        )
    except ValueError as error:
        raise unusable(str(error)) from None


def _bundled(task: DemoTask, run_name: str, *, refused: tuple[Any, ...]) -> DemoData:
    from cli import demo_tables
    from cli.demo_data import digits

    if any(value is not None for value in refused):
        raise unusable(
            "--rows, --invent-owners and pixel ranges are for your own data; name it with --data or --images"
        )
    make: dict[DemoTask, Callable[[str], DemoData]] = {
        DemoTask.IMAGE: digits,
        DemoTask.TABULAR: demo_tables.tumours,
        DemoTask.REGRESSION: demo_tables.diabetes,
    }
    return make[task](run_name)


def _texts(
    task: DemoTask,
    files: dict[str, Path],
    columns: dict[str, str | None],
    run_name: str,
    *,
    encoder: Path | None,
    tokens: int | None,
    rows: int | None,
    invented: int | None,
) -> DemoData:
    from cli import demo_language, demo_own_texts, demo_texts
    from cli.options import read_file

    if not files:
        if any(value is not None for value in (encoder, tokens, rows, invented)):
            raise unusable(
                "--encoder, --tokens, --rows and --invent-owners are for your own texts; name them with --data"
            )
        return demo_texts.posts(run_name) if task is DemoTask.TEXT else demo_language.people(run_name)
    if files.keys() != {"file"}:
        raise unusable("texts come as one table: CSV, JSON lines or Parquet, named with --data")
    content, name = read_file(files["file"]), files["file"].name
    make = demo_own_texts.own_posts if task is DemoTask.TEXT else demo_own_texts.own_language
    return make(content, columns, name=name, rows=rows, invented=invented, encoder=encoder, tokens=tokens)


def _given_data(
    files: dict[str, Path],
    columns: dict[str, str],
    *,
    pixels: tuple[float | None, float | None],
    rows: int | None,
    invented: int | None,
) -> DemoData:
    from cli.demo_arrays import read_arrays
    from cli.demo_data import divide
    from cli.options import read_file

    contents = {role: read_file(path) for role, path in files.items()}
    name = next(iter(files.values())).name
    arrays = read_arrays(contents, columns, name=name, pixels=pixels, rows=rows)
    return divide(arrays, invented=invented, word="owner-")


def _shown(
    data: DemoData, recipe: Recipe, deletions: int, directory: Path, *, run_name: str, where: dict[str, Any], keep: bool
) -> dict[str, Any]:
    from cli.demo_data import check_size
    from cli.demo_run import run
    from cli.demo_target import kept_running, running_target

    if recipe.backbone.layers < recipe.slices:
        raise unusable(f"{recipe.slices} slices need at least as many layers, got {recipe.backbone.layers}")
    check_size(data, shards=recipe.shards, slices=recipe.slices, deletions=deletions)
    if keep and where["url"]:
        raise unusable("--keep is for the demo's own service; the one behind --url runs on anyway")
    for rule in data.rules:
        say(f"· {rule}")
    with running_target(directory, **where, base=data.base) as target:
        result = run(target, data, recipe, deletions=deletions, name="demo" + ("-" + run_name if run_name else ""))
    return result | {"service": kept_running(target) if keep else None}


def _finish(result: dict[str, Any], directory: Path, report: Path | None, *, as_json: bool) -> None:
    """Write the report, print what happened, and end with 1 when something was not as it must be."""
    from cli.demo_print import draw
    from cli.demo_report import written_report
    from cli.demo_timeline import troubles

    path = report or directory / "report.html"
    result["report"] = str(path)
    try:
        # The numbers first: they took minutes, and the page can be written again.
        (directory / "result.json").write_text(json.dumps(result, indent=2) + "\n")
        path.write_text(written_report(result))
    except OSError as error:
        raise unusable(f"{path} cannot be written: {error.strerror}") from None
    draw(result, to_stderr=as_json)
    if as_json:
        print(json.dumps(result, indent=2))
    if troubles(result):
        raise typer.Exit(1)
