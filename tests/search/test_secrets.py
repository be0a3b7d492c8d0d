"""Nothing between `:` and the last `@` of a URL is ever shown, whatever signs a password has and wherever it stands."""

import pytest
from hypothesis import given
from hypothesis import strategies as some

from kirigami.search.command.cli import main
from kirigami.search.errors import TRACEBACK, InputError, StudyStopped, masked, traced
from kirigami.search.storage import Settings, shown

SECRET = "s3cr3t"
AROUND = some.text(some.sampled_from("ab@:/%?#&=+$.,;!~'\"()[]{}\\-_ü"), max_size=8)
PASSWORDS = some.tuples(AROUND, AROUND).map(SECRET.join)
SCHEMES = some.sampled_from(["postgresql", "postgresql+psycopg", "mysql", "https", "s3", ""])
USERS = some.sampled_from(["me", "", "me@tenant", "ü"])
WORDS = some.sampled_from(["", "cannot open ", "url=", "storage.url=", "'", "at line 3: ", '{"url": "'])


@given(SCHEMES, USERS, PASSWORDS, WORDS, some.sampled_from(["", " is away", "' refused: ask me", '"}']))
def test_no_part_of_a_password_is_shown(scheme, user, password, before, after):
    text = masked(f"{before}{scheme}://{user}:{password}@host/db{after}")

    assert SECRET not in text
    assert password == SECRET or password not in text
    assert text.startswith(before) or "@" in before
    assert f"@host/db{after}" in text or "@" in after


@given(PASSWORDS)
def test_masking_again_changes_nothing(password):
    text = masked(f"cannot open postgresql://me:{password}@host:5432/db?sslmode=require")

    assert masked(text) == text == "cannot open postgresql://me:***@host:5432/db?sslmode=require"


@pytest.mark.parametrize(
    "text",
    [
        f"postgresql://me:two {SECRET} words@host/db",
        f"postgresql:/me:{SECRET}@host/db",
        f"me:{SECRET}@host",
        f"host=h user=me password={SECRET} dbname=d",
        f"host=h password='two {SECRET}' dbname=d",
        f"postgresql://host/db?user=me&password={SECRET}&sslmode=require",
    ],
)
def test_other_spellings_hide_it_too(text):
    assert SECRET not in masked(text)


@pytest.mark.parametrize(
    "text",
    [
        "https://docs.example.org:8080/a, or write to me@example.org",
        "postgresql://me@host:5432/db is away",
        "line 3: no such column. Ask me@example.org",
        "sqlite:////a/b/studies.db",
        "storage.url=sqlite:////tmp/a:b@c/studies.db is no database",
        "/tmp/a:b@c/rows.csv: no such file",
        "'my files/a:b@c.csv'",
    ],
)
def test_what_is_no_password_stays(text):
    assert masked(text) == text


def test_errors_and_settings_hold_no_password():
    url = f"postgresql://me:a@{SECRET}:/b@host/db"
    settings = Settings.read({"url": url, "heartbeat_s": 1, "grace_s": 2})
    try:
        raise InputError(f"{url} is wrong") from ValueError(url)
    except InputError as error:
        text = traced(error)

    for line in (str(InputError(url)), str(StudyStopped(url)), text, repr(settings), settings.shown, shown(url)):
        assert SECRET not in line


@pytest.mark.parametrize("scheme", ["postgresql", "nosuch", "postgresql:/"])
@pytest.mark.parametrize("verb", ["results", "config", "search", "studies"])
def test_no_verb_prints_it(verb, scheme, monkeypatch, capfd):
    monkeypatch.setenv(TRACEBACK, "1")
    code = main([verb, "study=breast_cancer", f"storage.url={scheme}://me:p@{SECRET}${{x}}/{SECRET}@127.0.0.1:1/db"])

    assert code == 0 if verb == "config" else 2
    assert SECRET not in "".join(capfd.readouterr())
