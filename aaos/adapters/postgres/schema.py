"""The schema: brought up to date by migrations, and after them the roles that may write in it."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from aaos.adapters.postgres.database import CONNECT_TIMEOUT_S, SCHEMA_REVISION, mapped_errors
from aaos.adapters.postgres.roles import apply_roles


def migrate(url: str) -> str:
    """Brings the schema up to date, one migrator at a time; returns the revision."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.set_main_option("path_separator", "newline")
    engine = create_engine(url, connect_args={"connect_timeout": CONNECT_TIMEOUT_S})
    try:
        with mapped_errors(make_url(url).render_as_string(hide_password=True)), engine.connect() as connection:
            connection.execute(text("SELECT pg_advisory_lock(hashtext('aaos.migrate'))"))
            connection.commit()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            connection.commit()
            apply_roles(connection)
            connection.commit()
            connection.execute(text("SELECT pg_advisory_unlock(hashtext('aaos.migrate'))"))
            connection.commit()
    finally:
        engine.dispose()
    return SCHEMA_REVISION
