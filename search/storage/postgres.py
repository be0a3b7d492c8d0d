"""A store on a PostgreSQL server: its connections, and the checks of a database before it is used."""

import time
from dataclasses import dataclass
from typing import Any

import sqlalchemy

from kirigami.search.errors import InputError
from kirigami.search.storage.address import Settings

CONNECT_SECONDS = 8  # for each address that the host's name has
# A worker that is frozen or cut off in the middle of a transaction holds locks that all others wait for.
IDLE_IN_TRANSACTION = "15s"
# A dead connection shows in half a minute instead of a quarter of an hour.
NETWORK = {
    "connect_timeout": CONNECT_SECONDS,
    "keepalives_idle": 20,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
    "application_name": "kirigami",
}
OURS = {"studies", "trials", "version_info"}
SURVEY = """
SELECT
  (SELECT coalesce(json_agg(c.relname ORDER BY c.relname), '[]')
     FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND pg_table_is_visible(c.oid)
      AND n.nspname NOT IN ('pg_catalog', 'information_schema')
      AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')) AS tables,
  pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean AS is_read_only,
  coalesce(has_schema_privilege(current_schema(), 'CREATE'), false) AS may_create,
  coalesce(has_table_privilege(to_regclass('studies'), 'SELECT'), false) AS may_read,
  coalesce(has_table_privilege(to_regclass('trials'), 'INSERT')
       AND has_table_privilege(to_regclass('trials'), 'UPDATE')
       AND has_table_privilege(to_regclass('trial_user_attributes'), 'INSERT'), false) AS may_write,
  extract(epoch FROM clock_timestamp())::float AS clock_s,
  extract(epoch FROM clock_timestamp() - pg_postmaster_start_time())::float AS up_s,
  current_user::text AS role,
  current_schema()::text AS schema
"""


@dataclass(frozen=True)
class Survey:
    """What a server says of itself: tables in sight, rights of our user, clock, seconds since it started."""

    tables: set[str]
    is_read_only: bool
    may_create: bool
    may_read: bool
    may_write: bool
    clock_s: float
    up_s: float
    role: str
    schema: str | None
    ahead_s: float

    @property
    def is_ours(self) -> bool:
        return self.tables >= OURS


def engine_settings(url: str) -> dict[str, Any]:
    """Return the arguments of SQLAlchemy's engine; settings in the URL take precedence.

    A worker holds one connection: a hundred workers fit the default of a server. The connections are not tried before
    they are used: what fails on an old one is tried again on a new one.
    """
    query = sqlalchemy.make_url(url).query
    network = {key: value for key, value in NETWORK.items() if key not in query}
    return {"pool_size": 1, "max_overflow": 9, "connect_args": network}


def prepare(engine: Any) -> None:
    """Set up each connection: one time zone for all, since heartbeats are stored without, and no endless locks."""

    def begin(connection: Any, _record: Any) -> None:
        connection.autocommit = True
        connection.execute(f"SET timezone TO 'UTC'; SET idle_in_transaction_session_timeout TO '{IDLE_IN_TRANSACTION}'")
        connection.autocommit = False

    sqlalchemy.event.listen(engine, "connect", begin)
    engine.dispose()


def survey(url: str) -> Survey:
    """Ask the server, over a connection of its own.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: where it cannot be asked.
    """
    settings = engine_settings(url)["connect_args"]
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.pool.NullPool, connect_args=settings)
    with engine.connect() as connection:
        connection.exec_driver_sql("SELECT 1")  # the connection is made, and not timed
        before = time.time()
        answer = dict(connection.exec_driver_sql(SURVEY).mappings().one())
        ahead = answer["clock_s"] - (before + time.time()) / 2
    return Survey(**{**answer, "tables": set(answer["tables"])}, ahead_s=ahead)


def check_database(survey: Survey, settings: Settings, create: bool) -> None:
    """Refuse a database that is not ours, or that our user may not use as it has to.

    Raises:
        InputError: in one line.
    """
    where, schema = settings.shown, survey.schema or "public"
    if survey.tables and not survey.is_ours:
        names = ", ".join(sorted(survey.tables)[:3])
        raise InputError(
            f"{where} belongs to another program (tables {names}, …). "
            "Create a database for the studies (CREATE DATABASE kirigami) and name it in storage.url=."
        )
    if create and survey.is_read_only:
        raise InputError(
            f"{where} is read-only: a standby server, or set so. Name the primary server in storage.url=; "
            "`kirigami results` reads this one."
        )
    if not survey.tables and not create:
        raise InputError(f"{where} has no studies yet. Run `kirigami search` on it first, or set storage.url=.")
    if not survey.tables and not survey.may_create:
        raise InputError(
            f"{where}: user {survey.role} may not create tables in it. "
            f"Let its owner run: GRANT CREATE ON SCHEMA {schema} TO {survey.role}."
        )
    if survey.tables and not survey.may_read:
        raise InputError(
            f"{where}: user {survey.role} may not read it. "
            f"Let its owner run: GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {survey.role}."
        )
    if survey.tables and create and not survey.may_write:
        raise InputError(
            f"{where}: user {survey.role} may only read it, which is enough for `kirigami results`. To search, let its "
            f"owner run: GRANT ALL ON ALL TABLES IN SCHEMA {schema} TO {survey.role}; "
            f"GRANT ALL ON ALL SEQUENCES IN SCHEMA {schema} TO {survey.role}."
        )
