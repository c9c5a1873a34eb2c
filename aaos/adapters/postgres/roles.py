"""Who may write what: the group roles of the workers that decide and of those that execute.

A worker logs in as a member of one of them. What a decision, a prompt or a bug in the deciding worker could do to the
book of orders ends at PostgreSQL, and so does what the executing worker could do to approvals. Roles belong to the
whole server, grants to one database: both are made again, without harm, after each migration, so that new tables are
covered.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Iterable

import psycopg
import structlog
from psycopg import sql
from sqlalchemy import Connection, text
from sqlalchemy.engine import make_url

from aaos.adapters.postgres.database import CONNECT_TIMEOUT_S, Database, mapped_errors
from aaos.errors import ConfigError

log = structlog.get_logger()
DECIDER = "aaos_decider"
EXECUTOR = "aaos_executor"
GROUPS = (DECIDER, EXECUTOR)
# What belongs to execution alone: our books, and all of the paper venue but what it says of symbols and of itself.
BOOKS = ("orders", "fills", "cash_flows", "positions", "equity_points", "account_books")
VENUE_SCHEMA = "paper"
VENUE_TALK = ("instruments", "misbehaviours", "requests")
# What belongs to risk and to people: what may be traded at all.
CLEARANCES = ("risk_approvals", "approvals")
# What nobody writes but a migration.
FIXED = ("alembic_version", "trading_namespace")
# Two databases on one server may be set up at once; the roles are one row for both, and no lock spans databases.
TRIES = 10
AGAIN_WITHIN_S = 0.05

# What a queue's work cannot do without. Where there is no schema yet, that is another matter.
WRITTEN_BY_QUEUE = {"risk_assessment": "risk_approvals", "execution": "orders"}
UNWRITABLE = text("""
    SELECT name FROM unnest(CAST(:tables AS text[])) AS name
    WHERE to_regclass(name) IS NOT NULL AND NOT has_table_privilege(to_regclass(name), 'INSERT')
""")
MAY_CREATE_ROLES = text("""
    SELECT rolsuper OR rolcreaterole AS may FROM pg_roles WHERE rolname = current_user
""")
KNOWN_LOGIN = "SELECT 1 FROM pg_roles WHERE rolname = %s"
IS_MEMBER = """
    SELECT 1 FROM pg_auth_members JOIN pg_roles ours ON ours.oid = member JOIN pg_roles kept ON kept.oid = roleid
    WHERE ours.rolname = %s AND kept.rolname = %s
"""
EXISTING = text("SELECT count(*) FROM pg_roles WHERE rolname = ANY(:names)")
SCHEMAS = text("SELECT nspname FROM pg_namespace WHERE nspname = ANY(:names) ORDER BY nspname")
VENUE_LEDGER = text("""
    SELECT quote_ident(schemaname) || '.' || quote_ident(tablename) FROM pg_tables
    WHERE schemaname = :schema AND tablename <> ALL(:talk)
""")
# Two databases on one server may be migrated at once: whoever comes second finds the role there.
CREATE_ROLE = """
    DO $$ BEGIN
        CREATE ROLE {0} NOLOGIN;
    EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
    END $$
"""
# Everything, for both; then away with what is not theirs. Nobody empties a table.
GRANT = """
    GRANT USAGE ON SCHEMA {1} TO {0};
    GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {1} TO {0};
    GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA {1} TO {0};
"""
REVOKE = "REVOKE INSERT, UPDATE, DELETE ON {1} FROM {0}"


def apply_roles(connection: Connection) -> bool:
    """Makes both groups and their grants what they should be, inside the caller's transaction.

    Returns False, and says so in the log, when this login may not create roles and they are not there yet: then every
    worker has to log in as the owner, and only the triggers stand between a decision and the book of orders.
    """
    there = connection.execute(EXISTING, {"names": list(GROUPS)}).scalar_one() == len(GROUPS)
    if not there and not connection.execute(MAY_CREATE_ROLES).scalar_one():
        log.warning(
            "roles_skipped",
            missing=GROUPS,
            remedy=f"as a superuser: CREATE ROLE {DECIDER}; CREATE ROLE {EXECUTOR}; then `aaos migrate` again",
        )
        return False
    for group in GROUPS:
        if not there:
            connection.execute(text(CREATE_ROLE.format(group)))
        for schema in connection.execute(SCHEMAS, {"names": ["public", VENUE_SCHEMA]}).scalars().all():
            connection.execute(text(GRANT.format(group, schema)))
        connection.execute(text(REVOKE.format(group, ", ".join(FIXED))))
    ledger = connection.execute(VENUE_LEDGER, {"schema": VENUE_SCHEMA, "talk": list(VENUE_TALK)}).scalars().all()
    connection.execute(text(REVOKE.format(DECIDER, ", ".join((*BOOKS, *ledger)))))
    connection.execute(text(REVOKE.format(EXECUTOR, ", ".join(CLEARANCES))))
    # Risk adds approvals and never changes one: the trigger of orders does, with its owner's rights.
    connection.execute(text(f"REVOKE UPDATE, DELETE ON risk_approvals FROM {DECIDER}"))
    # And no decision gives itself a person's approval: people do, with a login of their own.
    connection.execute(text(REVOKE.format(DECIDER, "approvals")))
    return True


def unwritable(database: Database, queues: Iterable[str]) -> list[tuple[str, str]]:
    """Returns (queue, table) for each queue whose work writes a table that this login may not write.

    Raises:
        DatabaseUnavailable: nobody can say.
    """
    needed = {queue: table for queue, table in WRITTEN_BY_QUEUE.items() if queue in set(queues)}
    refused = {row.name for row in database.rows(UNWRITABLE, {"tables": list(needed.values())})}
    return [(queue, table) for queue, table in needed.items() if table in refused]


def create_login(url: str, name: str, group: str, password: str) -> None:
    """Creates a login that is a member of one of the groups and of no other; an existing one gets this password.

    Args:
        url: of the database, as a user who may create roles.
        name: of the login.
        group: `DECIDER` or `EXECUTOR`; `apply_roles` has made it.
        password: never sent nor logged in the clear: the server gets its SCRAM verifier.

    Raises:
        ConfigError: the group is not one of ours, or this user may not create logins.
    """
    if group not in GROUPS:
        raise ConfigError(f"{group} is no group of logins; allowed: {', '.join(GROUPS)}")
    address = make_url(url)
    shown = address.render_as_string(hide_password=True)
    with mapped_errors(shown):
        plain = address.set(drivername="postgresql").render_as_string(hide_password=False)
        with psycopg.connect(plain, autocommit=True, connect_timeout=CONNECT_TIMEOUT_S) as connection:
            verifier = connection.pgconn.encrypt_password(password.encode(), name.encode(), b"scram-sha-256").decode()
            _make_login(connection, name, group, verifier)


def _make_login(connection: psycopg.Connection[object], name: str, group: str, verifier: str) -> None:
    login, groups = sql.Identifier(name), {each: sql.Identifier(each) for each in GROUPS}
    # Asked first: a refused CREATE, and a REVOKE of what was never granted, are ERROR and WARNING in the server's log.
    if connection.execute(KNOWN_LOGIN, (name,)).fetchone() is None:
        with contextlib.suppress(psycopg.errors.DuplicateObject, psycopg.errors.UniqueViolation):
            connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(login))
    for attempt in range(1, TRIES + 1):
        try:
            with connection.transaction():
                connection.execute(sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}").format(login, verifier))
                for other in GROUPS:
                    if other == group:
                        connection.execute(sql.SQL("GRANT {} TO {}").format(groups[other], login))
                    elif connection.execute(IS_MEMBER, (name, other)).fetchone() is not None:
                        connection.execute(sql.SQL("REVOKE {} FROM {}").format(groups[other], login))
            return
        except psycopg.errors.InternalError_:
            # "tuple concurrently updated": the same login, from another database of this server.
            if attempt == TRIES:
                raise
            # Each at another moment: who tries again in step collides again.
            time.sleep(random.uniform(0, AGAIN_WITHIN_S * attempt))
