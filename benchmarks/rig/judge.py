"""Reads by plain SQL what became of a study's trials; a trigger in the database watches every change of them.

Nothing of ours is asked: a study that has lost a trial and miscounts it would judge itself well.
"""

import json
from collections import defaultdict
from typing import Any

import psycopg

from kirigami.search.study.record import Result, Retry, Worker

ENDED = ("COMPLETE", "PRUNED", "FAIL")

# Each change of a trial's state and each write of a value, as the database sees them.
WATCH = """
CREATE TABLE watched (at timestamptz DEFAULT clock_timestamp(), trial_id int, before text, after text);
CREATE FUNCTION watch_state() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO watched (trial_id, before, after) VALUES (new.trial_id, old.state::text, new.state::text);
  RETURN NULL; END $$;
CREATE FUNCTION watch_value() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO watched (trial_id, before, after) VALUES (new.trial_id, NULL, 'value');
  RETURN NULL; END $$;
CREATE TRIGGER state_changes AFTER UPDATE ON trials FOR EACH ROW
  WHEN (old.state IS DISTINCT FROM new.state) EXECUTE FUNCTION watch_state();
CREATE TRIGGER value_changes AFTER INSERT OR UPDATE ON trial_values FOR EACH ROW EXECUTE FUNCTION watch_value();
"""


def watch(connection: psycopg.Connection) -> None:
    """Install the triggers; the store's tables have to be there."""
    connection.execute(WATCH)


def has_study(connection: psycopg.Connection) -> bool:
    """Return whether the store has been made and a study in it begun."""
    if connection.execute("SELECT to_regclass('trial_heartbeats')").fetchone() == (None,):
        return False
    return connection.execute("SELECT count(*) FROM studies").fetchone() != (0,)


def finished(connection: psycopg.Connection) -> int:
    """Return how many trials have ended with a result of their own."""
    query = "SELECT count(*) FROM trials WHERE state IN ('COMPLETE', 'PRUNED')"
    return int(connection.execute(query).fetchone()[0])  # type: ignore[index]


def workers(connection: psycopg.Connection) -> list[dict[str, Any]]:
    """Return the signatures of all workers that have signed a trial, the latest first."""
    query = "SELECT value_json FROM trial_user_attributes WHERE key = %s GROUP BY 1 ORDER BY max(trial_id) DESC"
    return [json.loads(row[0]) for row in connection.execute(query, [Worker.KEY])]


def running(connection: psycopg.Connection) -> list[dict[str, Any]]:
    """Return the signatures of the workers that hold a running trial."""
    query = """SELECT value_json FROM trial_user_attributes JOIN trials USING (trial_id)
               WHERE key = %s AND state = 'RUNNING'"""
    return [json.loads(row[0]) for row in connection.execute(query, [Worker.KEY])]


def verdict(connection: psycopg.Connection, expected: set[tuple[Any, ...]] | None = None) -> dict[str, Any]:
    """Count what became of the trials of the only study in the store.

    A configuration is a trial with all that repeat it (`retry_of`). Returns, among the counts:

    - finished: trials that ended with a result (complete, pruned, or failed of themselves);
    - distinct: different configurations among them;
    - lost: configurations without a finished trial;
    - twice: configurations with more than one, trials told more than once, and trials changed after their end;
    - open: trials left running or waiting;
    - undisturbed: how many of the finished ones are among `expected`, the draws of an undisturbed study.
    """
    trials = _trials(connection)
    ended = {number for number, trial in trials.items() if _has_ended(trial)}
    results: dict[int, int] = defaultdict(int)
    for number, trial in trials.items():
        if trial["recorded"] != "surplus":
            results[_first(trials, number)] += number in ended
    retold = _told(connection)
    verdict_row = {
        "trials": len(trials),
        "finished": len(ended),
        "distinct": len({trials[number]["params"] for number in ended}),
        "lost": sum(count == 0 for count in results.values()),
        "twice": sum(count > 1 for count in results.values()) + retold,
        "open": sum(trial["state"] in ("RUNNING", "WAITING") for trial in trials.values()),
        "complete": sum(trial["state"] == "COMPLETE" for trial in trials.values()),
        "pruned": sum(trial["state"] == "PRUNED" for trial in trials.values()),
        "failed": sum(trials[number]["state"] == "FAIL" for number in ended),
        "interrupted": sum(
            trial["state"] == "FAIL" and trial["recorded"] not in ("failed", "surplus", "paused")
            for trial in trials.values()
        ),
        "surplus": sum(trial["recorded"] == "surplus" for trial in trials.values()),
        "paused": sum(trial["recorded"] == "paused" for trial in trials.values()),
    }
    if expected is not None:
        verdict_row["undisturbed"] = len({trials[number]["params"] for number in ended} & expected)
    return verdict_row


def _has_ended(trial: dict[str, Any]) -> bool:
    return trial["state"] in ("COMPLETE", "PRUNED") or (trial["state"] == "FAIL" and trial["recorded"] == "failed")


def _trials(connection: psycopg.Connection) -> dict[int, dict[str, Any]]:
    rows = connection.execute("SELECT trial_id, number, state::text FROM trials").fetchall()
    trials: dict[int, dict[str, Any]] = {}
    by_id = {}
    for identifier, number, state in rows:
        assert number not in trials, f"two trials have the number {number}"
        by_id[identifier] = trials[number] = {"state": state, "params": (), "recorded": None, "retry_of": None}
    query = "SELECT trial_id, param_name, param_value FROM trial_params ORDER BY trial_id, param_name"
    for identifier, name, value in connection.execute(query):
        by_id[identifier]["params"] += ((name, round(value, 12)),)
    query = "SELECT trial_id, key, value_json FROM trial_user_attributes WHERE key IN (%s, %s)"
    for identifier, key, text in connection.execute(query, [Result.KEY, Retry.OF]):
        value = json.loads(text)
        by_id[identifier] |= {"retry_of": value} if key == Retry.OF else {"recorded": value["state"]}
    return trials


def _first(trials: dict[int, dict[str, Any]], number: int) -> int:
    """Return the first attempt at a trial's configuration."""
    while trials[number]["retry_of"] is not None:
        number = trials[number]["retry_of"]
    return number


def _told(connection: psycopg.Connection) -> int:
    """Return how many trials ended more than once, changed after their end, or had a value written twice."""
    query = """
        SELECT count(*) FROM (
          SELECT trial_id FROM watched GROUP BY trial_id
          HAVING count(*) FILTER (WHERE after IN ('COMPLETE', 'PRUNED', 'FAIL')) > 1
              OR count(*) FILTER (WHERE before IN ('COMPLETE', 'PRUNED', 'FAIL')) > 0
              OR count(*) FILTER (WHERE after = 'value') > (
                   SELECT count(DISTINCT objective) FROM trial_values WHERE trial_values.trial_id = watched.trial_id)
        ) AS wrong"""
    return int(connection.execute(query).fetchone()[0])  # type: ignore[index]
