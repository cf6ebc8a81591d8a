"""The commands, by name. Every page here imports what it needs when its command runs: `lethe --help` loads no database."""

from __future__ import annotations

import typer

from cli import (
    audit,
    compare,
    datasets,
    delete,
    demo,
    export,
    fsck,
    health,
    jobs,
    keys,
    lineage,
    methods,
    migrate,
    models,
    plan,
    prepare,
    replay,
    requests,
    serve,
    up,
    verify,
    webhooks,
)
from cli.output import FAILED, CommandFailed, say
from core.domain.errors import LetheError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Unlearning as a service: models that forget, and proof that they did.",
)

RUN, USE, TRUST, OPERATE = "Run it", "Use it", "Verify it", "Operate it"

app.command(rich_help_panel=RUN)(serve.serve)
app.command(hidden=True)(serve.api)
app.command(rich_help_panel=RUN)(up.up)
app.command(rich_help_panel=RUN)(demo.demo)
app.command(rich_help_panel=RUN)(serve.worker)
app.command(rich_help_panel=RUN)(serve.dispatcher)
app.command(rich_help_panel=RUN)(serve.predictor)

app.add_typer(datasets.app, name="datasets", rich_help_panel=USE)
app.command(rich_help_panel=USE)(plan.plan)
app.command(rich_help_panel=USE)(methods.methods)
app.command(rich_help_panel=USE)(compare.compare)
app.add_typer(models.app, name="models", rich_help_panel=USE)
app.command(rich_help_panel=USE)(delete.delete)
app.command(rich_help_panel=USE)(export.export)
app.add_typer(requests.app, name="requests", rich_help_panel=USE)
app.add_typer(jobs.app, name="jobs", rich_help_panel=USE)

app.command(rich_help_panel=TRUST)(verify.verify)
app.command(rich_help_panel=TRUST)(replay.replay)
app.command(rich_help_panel=TRUST)(lineage.lineage)
app.command(rich_help_panel=TRUST)(lineage.trace)
app.add_typer(audit.app, name="audit", rich_help_panel=TRUST)
app.command(rich_help_panel=TRUST)(fsck.fsck)

app.add_typer(keys.app, name="keys", rich_help_panel=OPERATE)
app.add_typer(webhooks.app, name="webhooks", rich_help_panel=OPERATE)
app.add_typer(migrate.app, name="migrate", rich_help_panel=OPERATE)
app.command(rich_help_panel=OPERATE)(prepare.prepare)
app.command(rich_help_panel=OPERATE)(health.health)


def main() -> None:
    """Run a command; what Lethe refuses is one sentence, not a traceback."""
    try:
        app()
    except CommandFailed as failure:
        say(f"lethe: {failure.sentence}")
        raise SystemExit(failure.exit_code) from None
    except LetheError as error:
        say(f"lethe: {error.detail}")
        raise SystemExit(FAILED) from None


if __name__ == "__main__":
    main()
