"""What is said of a server's database that cannot be used: one line, what to do, and never the password."""

import subprocess
import sys
import time
import uuid

import optuna
import pytest
import sqlalchemy

from kirigami.search import storage
from kirigami.search.command import cli
from kirigami.search.errors import InputError, masked
from kirigami.search.storage import Settings, open_storage

SECRET = "s3cr3t"
SETTINGS = {"heartbeat_s": 10, "grace_s": 60}


@pytest.fixture
def administer(postgres):
    """Return a function that runs SQL as the server's owner."""

    def run(database: str, *statements: str) -> None:
        url = postgres.url.replace("postgresql://", "postgresql+psycopg://").replace("/postgres?", f"/{database}?")
        engine = sqlalchemy.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sqlalchemy.pool.NullPool)
        with engine.connect() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)

    return run


@pytest.fixture
def database(administer):
    """The name of a database of the test's own."""
    name = f"d{uuid.uuid4().hex[:8]}"
    administer("postgres", f"CREATE DATABASE {name}")
    yield name
    administer("postgres", f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def url_of(postgres, database):
    """Return a function from a user's name to the URL of the test's database, over TCP."""

    def url(user="postgres", password="right"):
        return f"postgresql://{user}:{password}@127.0.0.1:{postgres.port}/{database}"

    return url


def refused(url, **how):
    """Return what is said, in one line and without the password, within the time allowed."""
    began = time.monotonic()
    with pytest.raises(InputError) as error:
        open_storage(Settings.read({"url": url, **SETTINGS}), **how)
    assert time.monotonic() - began < 30
    text = str(error.value)
    assert "\n" not in text
    assert SECRET not in text
    return text


def test_a_wrong_password_says_where_to_set_it(url_of):
    url_of_right = url_of()
    open_storage(Settings.read({"url": url_of_right, **SETTINGS})).engine.dispose()
    text = refused(url_of(password=SECRET))
    assert "password authentication failed" in text
    assert "KIRIGAMI_STORAGE" in text


def test_an_unknown_user(url_of):
    """A server that asks for passwords does not tell whether there is such a user."""
    assert "Set the right user and password" in refused(url_of("nobody_here", SECRET))


def test_an_unknown_database_and_a_server_that_is_down(url_of, database, postgres):
    assert "does not exist. Create it, or name another one" in refused(url_of().replace(database, "birds"))
    text = refused(f"postgresql://me:{SECRET}@127.0.0.1:1/birds")
    assert "refused. Start the server, or correct its host and port." in text
    text = refused(f"postgresql://me:{SECRET}@/birds?host=/nowhere&port=1")
    assert "Start the server, or correct the socket's folder and port." in text


def test_a_host_that_does_not_answer(monkeypatch):
    """Nothing listens, and nothing says so: the connection is given up by itself."""
    import socket

    from kirigami.search.storage import postgres as postgres_store

    monkeypatch.setitem(postgres_store.NETWORK, "connect_timeout", 2)  # libpq takes no less
    silent = socket.socket()
    silent.bind(("127.0.0.1", 0))
    silent.listen(0)
    with silent:
        text = refused(f"postgresql://me:{SECRET}@127.0.0.1:{silent.getsockname()[1]}/birds")
    assert "The host does not answer: check its name" in text


def test_another_programs_database_is_left_alone(administer, database, url_of):
    administer(database, "CREATE TABLE birds (name text)", "CREATE TABLE trials (id int)")
    for create in (True, False):
        assert "belongs to another program (tables birds, trials, …). Create a database" in refused(
            url_of(), create=create
        )
    with pytest.raises(InputError, match="another program"):
        storage.check(Settings.read({"url": url_of(), **SETTINGS}), create=True)


def test_an_optuna_database_without_our_studies_is_taken(url_of):
    url = url_of().replace("postgresql://", "postgresql+psycopg://")
    optuna.create_study(study_name="theirs", storage=optuna.storages.RDBStorage(url))
    assert optuna.get_all_study_names(open_storage(Settings.read({"url": url_of(), **SETTINGS}))) == ["theirs"]


def test_a_reader_makes_no_tables(url_of):
    assert not storage.exists(Settings.read({"url": url_of(), **SETTINGS}))
    assert "has no studies yet. Run `kirigami search`" in refused(url_of(), create=False)
    assert not storage.exists(Settings.read({"url": url_of(), **SETTINGS}))
    open_storage(Settings.read({"url": url_of(), **SETTINGS})).engine.dispose()
    assert storage.exists(Settings.read({"url": url_of(), **SETTINGS}))


def test_a_user_who_may_only_read(administer, database, url_of):
    user = f"reader_{database}"
    administer(database, f"CREATE ROLE {user} LOGIN PASSWORD '{SECRET}'")
    try:
        text = refused(url_of(user, SECRET))
        assert f"user {user} may not create tables in it" in text
        optuna.create_study(study_name="s", storage=open_storage(Settings.read({"url": url_of(), **SETTINGS})))
        text = refused(url_of(user, SECRET), create=False)
        assert f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {user}." in text
        administer(database, f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {user}")
        text = refused(url_of(user, SECRET))
        assert f"user {user} may only read it, which is enough for `kirigami results`" in text
        reader = open_storage(Settings.read({"url": url_of(user, SECRET), **SETTINGS}), create=False)
        assert optuna.get_all_study_names(reader) == ["s"]
        administer(database, f"ALTER DATABASE {database} SET default_transaction_read_only TO on")
        assert "is read-only" in refused(url_of())
    finally:
        administer("postgres", f"ALTER DATABASE {database} RESET default_transaction_read_only")
        administer(database, f"DROP OWNED BY {user}", f"DROP ROLE {user}")


def test_tables_of_another_version(administer, database, url_of):
    open_storage(Settings.read({"url": url_of(), **SETTINGS})).engine.dispose()
    administer(database, "UPDATE alembic_version SET version_num = 'v3.0.0.d'")
    text = refused(url_of())
    assert "its tables were made by optuna" in text
    assert "optuna storage upgrade" in text


def test_a_study_of_another_version_of_ours(url_of, capsys):
    study = optuna.create_study(study_name="digits", storage=open_storage(Settings.read({"url": url_of(), **SETTINGS})))
    study.set_user_attr("schema", 99)
    assert cli.main(["results", f"storage.url={url_of()}"]) == 2
    line = capsys.readouterr().err
    assert "written by another version of kirigami (its schema is 99, and this version's is 1)" in line
    assert line.count("\n") == 1


def test_the_command_says_it_in_one_line_and_shows_no_password(capsys, monkeypatch):
    url = f"postgresql://me:{SECRET}@127.0.0.1:1/birds"
    for arguments in (
        ["search", f"storage.url={url}"],
        ["results", f"storage.url={url}"],
        ["search", f"x {url} ={url}"],
    ):
        assert cli.main(arguments) == 2
        shown = capsys.readouterr()
        assert SECRET not in shown.err + shown.out
        assert shown.err.count("\n") == 1
    monkeypatch.setenv("KIRIGAMI_STORAGE", url)
    assert cli.main(["config"]) == 0
    shown = capsys.readouterr().out
    assert SECRET not in shown
    assert "postgresql://me:***@127.0.0.1:1/birds" in shown


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://me:{SECRET}@host/db",
        f"postgresql://me:a@{SECRET}/b@host/db?sslmode=require",
        f"postgresql://me@host/db?password={SECRET}&sslpassword={SECRET}",
        f"'storage.url=postgresql://me:{SECRET}@host'",
        f"postgresql//me:{SECRET}@host/db",
    ],
)
def test_passwords_are_masked_wherever_they_stand(url):
    assert SECRET not in masked(f"storage.url={url} cannot be opened")
    assert "host" in masked(url)


def test_a_password_may_hold_what_optuna_takes_for_a_template(administer, database, url_of):
    user = f"braces_{database}"
    administer(database, f"CREATE ROLE {user} LOGIN SUPERUSER PASSWORD 'a{{b}}c'")
    try:
        open_storage(Settings.read({"url": url_of(user, "a{b}c"), **SETTINGS})).engine.dispose()
    finally:
        administer(database, f"REASSIGN OWNED BY {user} TO postgres", f"DROP ROLE {user}")


def test_clocks_that_are_far_apart_are_told(url_of, monkeypatch):
    assert storage.warnings_of(Settings.read({"url": url_of(), **SETTINGS})) == []
    ours = time.time
    monkeypatch.setattr(time, "time", lambda: ours() - 300)
    (line,) = storage.warnings_of(Settings.read({"url": url_of(), **SETTINGS}))
    assert "is 300 s ahead of this machine's. The study goes on" in line
    assert round(open_storage(Settings.read({"url": url_of(), **SETTINGS})).clock_offset()) == 300


def test_help_needs_no_optuna():
    program = (
        "import sys; from kirigami.search.command import cli\ntry: cli.main(['--help'])\nexcept SystemExit: pass\n"
    )
    program += "sys.exit(bool({'optuna', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], stdout=subprocess.DEVNULL, check=False).returncode == 0
