"""migrate, tick, queues, config: what an operator of workers needs."""

from __future__ import annotations

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


def migrate() -> None:
    """Bring the database's schema up to date."""
    settings = configuration()
    from aaos.adapters.postgres.database import migrate as bring_up_to_date

    revision = bring_up_to_date(settings.database_url.get_secret_value())
    say(f"the schema is at revision {revision}")


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
