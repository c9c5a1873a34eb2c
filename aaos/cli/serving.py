"""migrate, tick, queues, config: what an operator of workers needs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from aaos.cli.output import Json, print_json, say, show
from aaos.errors import UnknownKind
from aaos.shell.connection import configuration, connect


def add_to(app: typer.Typer) -> None:
    """Adds these commands."""
    app.command()(migrate)
    app.command()(tick)
    app.command()(queues)
    app.command()(config)


LOGIN = "USER=FILE: a login, made or kept, whose password stands in FILE"


def migrate(
    decider: Annotated[
        str | None, typer.Option(metavar="USER=FILE", help=f"{LOGIN}; it may decide, and never write orders")
    ] = None,
    executor: Annotated[
        str | None, typer.Option(metavar="USER=FILE", help=f"{LOGIN}; it may write orders, and never approve them")
    ] = None,
) -> None:
    """Bring the database's schema up to date; with logins, let workers be who they are (docs/trading-store.md)."""
    settings = configuration()
    from aaos.adapters.postgres.roles import DECIDER, EXECUTOR, create_login
    from aaos.adapters.postgres.schema import migrate as bring_up_to_date

    url = settings.database_url.get_secret_value()
    logins = [(group, *_login(said)) for group, said in ((DECIDER, decider), (EXECUTOR, executor)) if said]
    revision = bring_up_to_date(url)
    for group, name, secret in logins:
        create_login(url, name, group, secret)
    say(f"the schema is at revision {revision}")


def _login(said: str) -> tuple[str, str]:
    """Returns name and password of USER=FILE."""
    name, _, file = said.partition("=")
    if not name or not file:
        raise typer.BadParameter(f"{said}: say USER=FILE, FILE holding the password")
    try:
        secret = Path(file).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise typer.BadParameter(f"{said}: say USER=FILE, FILE holding the password ({error.strerror})") from None
    if not secret:
        raise typer.BadParameter(f"{said}: {file} is empty; it should hold the password")
    return name, secret


def tick(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="a schedule of config/schedules.yaml")] = None,
    everything: Annotated[bool, typer.Option("--all", help="every enabled schedule")] = False,
) -> None:
    """Ask for a schedule's current slot now; a slot that has its runs gets no others."""
    if (name is None) == (not everything):
        raise typer.BadParameter("name a schedule, or say --all")
    container = connect()
    enabled = container.settings.enabled_schedules
    if name is not None and name not in enabled:
        raise UnknownKind(f"no schedule {name!r} is enabled; enabled are: {', '.join(enabled)}")
    for schedule in [name] if name is not None else enabled:
        container.hints.tick(schedule)
        say(f"asked for the current slot of {schedule}")


def queues(as_json: Json = False) -> None:
    """Every queue, what it asks of a worker, and the command that starts one."""
    from aaos.shell.tables import table
    from aaos.shell.worker_commands import queues as all_queues

    found = all_queues(configuration())
    if as_json:
        print_json([each.to_dict() for each in found])
        return
    headers = ("queue", "pool", "requires", "timeout s", "worker command")
    show(table(headers, ([
        each.queue, each.pool, ", ".join(each.requires) or "-",
        None if each.timeout_seconds is None else f"{each.timeout_seconds:g}", each.command,
    ] for each in found)))  # fmt: skip


def config() -> None:
    """The settings in force as YAML, without secrets."""
    import yaml

    from aaos.logs import redact

    settings = configuration()
    shown = settings.model_dump(mode="json")
    for name in ("broker_url", "redis_url", "database_url"):
        address = getattr(settings, name)
        shown[name] = None if address is None else redact(address.get_secret_value())
    shown["sovereign_url"] = redact(settings.sovereign_url)
    shown["sovereign_api_key"] = "not set" if settings.sovereign_api_key is None else "set"
    say(f"# hash {settings.hash} (over everything but addresses and secrets)")
    # Once more over all of it: a model's own address stands in a table.
    say(redact(yaml.safe_dump(shown, sort_keys=False, allow_unicode=True)).rstrip())
