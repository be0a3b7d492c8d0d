"""A trial that somebody deleted from the store leaves a gap in the numbers: what is there is shown, and searched on."""

import sqlite3
from contextlib import closing

import pytest

from kirigami.search.errors import InputError
from kirigami.search.export.choosing import pick
from kirigami.search.report import accounts, page, results
from kirigami.search.report.dashboard import note
from kirigami.search.storage.optuna_private import trial_id_of
from kirigami.search.study import study as studies
from kirigami.search.study.ledger import Ledger, numbered
from kirigami.search.study.record import Retry


def delete(url: str, trial_id: int) -> None:
    """Delete a trial as people do, in the tables."""
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as store, store:
        tables = [name for (name,) in store.execute("select name from sqlite_master where type = 'table'")]
        for table in (name for name in tables if name.startswith("trial_")):
            store.execute(f"delete from {table} where trial_id = ?", (trial_id,))
        store.execute("delete from trials where trial_id = ?", (trial_id,))


@pytest.fixture(params=[0, 2, 3], ids=["first", "middle", "last"])
def gapped(request, make_loop, bowl, sqlite_url, open_store, name):
    """A study of four trials of which one is gone, opened anew."""
    loop = make_loop(bowl, url=sqlite_url, trials=4)
    loop.run()
    delete(sqlite_url, trial_id_of(loop.study.get_trials()[request.param]))
    return studies.existing(open_store(sqlite_url), name)


def test_everything_shows_what_is_there(gapped, tmp_path, capsys):
    numbers = [trial.number for trial in gapped.get_trials()]

    assert results.summary(gapped)["trials"]["complete"] == 3
    assert "History" in page.page(gapped)
    note.leave(gapped)
    for by in ("worker", "trial", "state"):
        accounts.print_account(gapped, tmp_path, by, "csv")
    assert "complete,3," in capsys.readouterr().out
    assert [choice.trial.number for choice in pick(gapped, str(numbers[-1]), tmp_path)] == [numbers[-1]]
    gone = next(number for number in range(5) if number not in numbers)
    with pytest.raises(InputError, match=f"trial={gone} of study={gapped.study_name} is not there"):
        pick(gapped, str(gone), tmp_path)


def test_a_search_goes_on_with_numbers_of_its_own(gapped, make_loop, bowl, sqlite_url):
    before = [trial.number for trial in gapped.get_trials()]

    loop = make_loop(bowl, url=sqlite_url, study=None, trials=5)
    loop.run()

    numbers = [trial.number for trial in loop.study.get_trials()]
    assert numbers[:3] == before
    assert len(set(numbers)) == 5
    assert Ledger().read(loop.study).finished == 5


def test_a_retry_of_a_deleted_trial_stands_for_itself(study):
    for _ in range(3):
        study.tell(study.ask(), 1.0)
    trials = study.get_trials()
    retry = study.ask()
    for key, value in Retry(7).to_attrs().items():
        retry.set_user_attr(key, value)
    study.tell(retry, 1.0)

    assert Ledger().read(study).place(study.get_trials()[3]) == 3
    assert numbered(trials[1:], 0) is None
    assert numbered(trials[1:], 2) is trials[2]
    assert numbered(trials, None) is numbered([], 0) is None
