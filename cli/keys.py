"""`lethe keys`: make, list and revoke API keys, straight on the data directory, so that nobody is ever locked out."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.options import Cursor, Data, Limit, open_data
from cli.output import Json, listed, say, show, told

app = typer.Typer(no_args_is_help=True, help="Make, list and revoke API keys, on the machine of the service.")
OPERATOR = "cli"
"""Who did it, as the log names them: whoever may write to the data directory."""


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="What the key is for, such as governance-connector.")],
    scope: Annotated[list[str] | None, typer.Option(help="What it may do; repeat. Default: everything.")] = None,
    days: Annotated[int, typer.Option(min=1, max=3650, help="When it expires.")] = 365,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Make a key; its secret is shown once, on stdout and alone, so that it can be piped to where it belongs."""
    with told(as_json), open_data(data) as doors:
        from core.audit.entry import Actor, ActorKind
        from core.domain.access import Scope
        from core.use_cases.create_api_key import create_api_key
        from core.use_cases.doors import DEFAULT_TENANT
        from core.use_cases.wording import moment

        made = create_api_key(
            doors,
            tenant_id=DEFAULT_TENANT,
            name=name,
            scopes=scope or list(Scope),
            actor=Actor(ActorKind.OPERATOR, OPERATOR),
            days=days,
        )
        body = {
            "id": made.id,
            "secret": made.secret,
            "scopes": list(made.scopes),
            "expires_at": moment(made.expires_at),
        }
        show(body, as_json, lambda: print(made.secret))
        if not as_json:
            say(f"{made.id}, until {body['expires_at']}. The secret is shown this once.")


@app.command("list")
def list_keys(limit: Limit = 50, cursor: Cursor = None, data: Data = None, as_json: Json = False) -> None:
    """List keys, newest first, also those revoked and expired."""
    with told(as_json), open_data(data) as doors:
        from core.use_cases.doors import DEFAULT_TENANT
        from core.use_cases.read_api_keys import read_api_keys

        page = read_api_keys(doors, DEFAULT_TENANT, limit=limit, cursor=cursor)
        columns = {
            "id": "id",
            "name": "name",
            "expires": "expires_at",
            "revoked": "revoked_at",
            "last used": "last_used_at",
            "scopes": "scopes",
        }
        show(page, as_json, lambda: listed(page, columns, empty="There is no API key."))


@app.command()
def revoke(key_id: Annotated[str, typer.Argument(help="ak_…")], data: Data = None, as_json: Json = False) -> None:
    """End a key at once."""
    with told(as_json), open_data(data) as doors:
        from core.audit.entry import Actor, ActorKind
        from core.use_cases.create_api_key import revoke_api_key
        from core.use_cases.doors import DEFAULT_TENANT

        revoke_api_key(doors, tenant_id=DEFAULT_TENANT, key_id=key_id, actor=Actor(ActorKind.OPERATOR, OPERATOR))
        show({"id": key_id, "revoked": True}, as_json, lambda: say(f"{key_id} is revoked."))
