"""How a study's leaders are shown that were trained anew: as a table, and the winner in sentences."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from kirigami.search.report.tables import narrow, number
from kirigami.search.report.verdicts import scored


def table(result: Mapping[str, Any]) -> Table:
    """Return the leaders, best first, each tested against the first."""
    title = f"{result['study']}: {result['metric']}, {len(result['trials'])} leaders, {len(result['seeds'])} new seeds"
    shown = narrow(title)
    for column in (
        "trial",
        "mean ± sd",
        "median\ndiff.",
        "p\n(Holm)",
        "Cliff's\nδ",
        "bytes",
        "seconds",
        "against best",
    ):
        shown.add_column(column, no_wrap=True)
    for row in result["trials"]:
        tested = "verdict" in row
        shown.add_row(
            str(row["trial"]),
            scored(row),
            number(row["difference"], "+.3f") if tested else "",
            number(row["p_holm"], ".2g") if tested else "",
            number(row["cliffs_delta"], "+.2f") if tested else "",
            f"{row['bytes']['median']:,.0f}" if "bytes" in row else "",
            f"{row['seconds']:.1f} s",
            {"undecided": "not told apart"}.get(row["verdict"], row["verdict"]) if tested else "",
        )
    return shown


def sentences(result: Mapping[str, Any]) -> list[str]:
    """Return sentences on the winner, its test score, and the caveats."""
    first, tied = result["winner"], result["not_told_apart"]
    if tied:
        others = ", ".join(str(trial) for trial in tied)
        lines = [f"Trial {first} has the best mean, but is not told apart from {others}."]
    else:
        lines = [f"Trial {first} wins."]
    test = result["test"]
    names = [result["metric"]] if result["metric"] in test else list(test)
    scores = ", ".join(f"{name} {test[name]['mean']:.4f} ± {test[name]['sd']:.4f}" for name in names)
    lines.append(f"On the test rows: {scores} over {len(result['seeds'])} networks.")
    for name, limit in result["budget"].items():
        most = result["trials"][0].get(name, {}).get("most", 0)
        if most > limit:
            lines.append(f"Its largest network has {most:,.0f} {name}, over budget.{name}={limit:,}.")
    if result["opened_before"]:
        times = "1 time" if result["opened_before"] == 1 else f"{result['opened_before']} times"
        lines.append(f"The test rows had been opened {times} before: they are no longer unseen.")
    return lines
