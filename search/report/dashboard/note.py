"""The note on a study's page: what it is for, what of its budget is used, the best trial, and what to do next.

The dashboard keeps a study's note in its system attributes, with what a user writes there. Ours comes first and ends
in a line that Markdown does not show; what follows the line is the user's and is kept.
"""

import json
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from optuna.study import Study
from optuna.trial import FrozenTrial

from kirigami.search.report import beside, figures, results
from kirigami.search.report.tables import number, score
from kirigami.search.report.wording import excess, parts_of
from kirigami.search.storage.optuna_private import storage_of, study_id_of
from kirigami.search.study.ledger import Ledger
from kirigami.search.study.ranking import best_trial, beyond, front, metric_names
from kirigami.search.study.record import Origin, figure_of, result_of
from kirigami.spaces.costs import COSTS, LIMITS

END = "[//]: # (kirigami: write below this line; what is above it is written anew)"
VERSION = "dashboard:note_ver"
BODY = "dashboard:note_str:"
PLOT = "dashboard:plot_data:"
UNITS = {"wall_s": "seconds of work", "device_s": "seconds of training"}


def leave(study: Study) -> None:
    """Write the note and the figures into the store, for any dashboard to show; a user's own text stays.

    Each is one attribute, so that workers which end at the same moment leave one or the other's, never a mixture.
    """
    storage, number = storage_of(study), study_id_of(study)
    stored = storage.get_study_system_attrs(number)
    storage.set_study_system_attr(number, f"{BODY}0", joined(text(study), stored))
    for key, value in stored.items():
        if key.startswith(BODY) and key != f"{BODY}0" and value:
            storage.set_study_system_attr(number, key, "")
    if VERSION not in stored:
        storage.set_study_system_attr(number, VERSION, 0)
    for name, drawn in graphs(study).items():
        storage.set_study_system_attr(number, f"{PLOT}{name}:0", drawn)


def joined(ours: str, stored: Mapping[str, Any]) -> str:
    """Return our text with what a user has added to the stored note."""
    parts = {key: value for key, value in stored.items() if key.startswith(BODY)}
    users_text = "".join(parts[key] for key in sorted(parts, key=lambda key: int(key.removeprefix(BODY))))
    return f"{ours}\n{END}\n{users_text.partition(END)[2].lstrip() if END in users_text else users_text}"


def graphs(study: Study) -> dict[str, str]:
    """Return the study's figures as plotly's JSON, each with its title, by the name the dashboard knows them under."""
    drawn = {}
    for name, (title, figure) in figures.of_study(study).items():
        figure.update_layout(title=title, template="plotly_white")
        plain = json.loads(figure.to_json())
        drawn[name] = json.dumps(plain, separators=(",", ":"))
    return drawn


def text(study: Study, *, page: str | None = None) -> str:
    """Return our note as Markdown.

    Args:
        page: the study's address in the dashboard, where the note is shown there: trials and report become links.
    """
    ledger = Ledger().read(study)
    return "\n".join(
        [
            f"## {_plain(study.study_name)}",
            "",
            *_goal(study),
            "",
            *_best(study, ledger, page),
            "",
            *_layers(study, ledger),
            *_budget(study, ledger),
            "",
            *_next(study.study_name, page),
            "",
        ]
    )


def _goal(study: Study) -> Iterator[str]:
    aims = [
        f"{'highest' if direction.name == 'MAXIMIZE' else 'lowest'} `{name}`"
        for name, direction in zip(metric_names(study), study.directions, strict=True)
    ]
    yield f"**Goal**: the {' and '.join(aims)} on the validation rows" + (
        ", as a front of several objectives." if len(aims) > 1 else "."
    )
    if yardsticks := results.in_words(results.baselines(study)):
        yield f"Always the same answer scores: {yardsticks}."
    for line in beside.lines(study, best_trial(study)):
        yield f"{line}."


def _best(study: Study, ledger: Ledger, page: str | None) -> Iterator[str]:
    """Name the best trial that keeps to the budget, and the better one that does not."""
    best, limits = best_trial(study, ledger), _limits(study)
    within = " within the budget" if limits else ""
    if best is None:
        yield f"**Best trial{within}**: none yet."
    elif len(study.directions) > 1:
        size, within_all = len(front(study, ledger)), ledger.count("complete")
        yield f"**Front{within}**: {size} of {within_all} trials; the best by `{metric_names(study)[0]}`"
        yield f"is {_trial(best, page)}: {_facts(study, best)}."
    else:
        yield f"**Best trial{within}**: {_trial(best, page)}: {_facts(study, best)}."
        for line in (results.choice_line(study, ledger), results.folds_line(study, ledger)):
            if line is not None:
                yield f"\n{line[0].upper()}{line[1:]}."
    better = beyond(study, ledger)
    if better is not None:
        yield ""
        words = "Better, but over the budget" if best is not None else "Best over the budget"
        yield f"{words}: {_trial(better, page)}: {_facts(study, better)} ({excess(better)})."


def _layers(study: Study, ledger: Ledger) -> Iterator[str]:
    """Return whether the layers of the best trial are more similar than by chance, if they share weights."""
    best = best_trial(study, ledger)
    if best is not None and (banks := result_of(best).similarity):
        yield f"**Similarity of its layers**: {figures.beside_chance(banks)}."
        yield ""


def _budget(study: Study, ledger: Ledger) -> Iterator[str]:
    """Return the used share of every part of the budget; trials and seconds also without a limit."""
    settings, best = settings_of(study), best_trial(study, ledger)
    used = {
        "trials": f"{ledger.finished:,}",
        "wall_s": f"{ledger.wall_seconds():,.0f}",
        "device_s": f"{ledger.device_seconds():,.0f}",
    }
    limits = {key: value for key, value in settings.items() if value is not None and key != "failures_in_a_row"}
    yield "**Budget**"
    yield ""
    for key in dict.fromkeys([*used, *limits]):
        limit = number(limits[key]) if key in limits else ""
        if key in used:
            counts = f" ({parts_of(ledger)})" if key == "trials" and ledger.trials else ""
            yield f"- {UNITS.get(key, key)}: {used[key]}{f' of {limit}' if limit else ''}{counts}"
        else:
            figure = None if best is None else figure_of(best, key)
            reached = "" if figure is None else f"; the best trial has {number(figure)}"
            yield f"- {COSTS[key].unit if key in COSTS else key}: at most {limit}{reached}"


def _next(name: str, page: str | None) -> Iterator[str]:
    study, folder = shlex.quote(f"study={name}"), name.replace("`", "'")
    live = f" [Open it now]({page.replace('/dashboard/studies/', '/report/')})." if page else ""
    yield "**Next**"
    yield ""
    yield f"- Files that run elsewhere: `kirigami export {study}` writes `model.onnx`, `model.kgm` and a card."
    yield f"- Every figure on one page: `kirigami report {study}` writes `studies/{folder}/report.html`.{live}"
    yield f"- To resume, or to join from another machine: the command that began it, `kirigami search {study} …`."


def settings_of(study: Study) -> dict[str, Any]:
    """Return the study's `budget` as its last trial knew it: a later run may have raised it."""
    for trial in reversed(study.get_trials(deepcopy=False)):
        origin = Origin.from_attrs(trial.user_attrs)
        if origin is not None:
            return dict(origin.group("budget"))
    return {}


def _limits(study: Study) -> dict[str, float]:
    return {key: value for key, value in settings_of(study).items() if key in LIMITS and value is not None}


def _trial(trial: FrozenTrial, page: str | None) -> str:
    return f"[trial {trial.number}]({page}/trials?numbers={trial.number})" if page else f"trial {trial.number}"


def _facts(study: Study, trial: FrozenTrial) -> str:
    names = metric_names(study)
    words = [f"`{name}` **{score(value)}**" for name, value in zip(names, trial.values, strict=True)]
    costs = [(figure_of(trial, name), COSTS[name].unit) for name in ("bytes", "params") if name not in names]
    return ", ".join([*words, *(f"{number(cost)} {unit}" for cost, unit in costs if cost is not None)])


def _plain(name: str) -> str:
    """Return a name that Markdown shows as it is."""
    return "".join(f"\\{sign}" if sign in "\\`*_{}[]<>()#+-.!|~&" else sign for sign in name)
