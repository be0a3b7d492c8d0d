"""The verbs of the `kirigami` command, in the order of its help; each has a file of its name."""

from kirigami.search.command.verb import Verb

VERBS = {
    verb.name: verb
    for verb in (
        Verb("new", "look at a table, pictures or a text, and write a study for it", files=("DATA",), takes="task."),
        Verb("search", "run, resume or join a study", trains=True),
        Verb("results", "print what a study has found"),
        Verb("ledger", "print what a study has cost: seconds, device seconds, energy, bytes, money"),
        Verb("report", "write an HTML page with a study's figures"),
        Verb("export", "write the best network of a study as files that run elsewhere"),
        Verb("compare", "tell by paired repeats whether a choice matters", trains=True),
        Verb("confirm", "train a study's leaders under new seeds and name the winner"),
        Verb("screen", "train draws of a study's space for an epoch and queue the best for its search", trains=True),
        Verb("inspect", "verify and describe an exported file", files=("FILE",)),
        Verb("predict", "classify the rows of a table, or images, by an exported file", files=("FILE", "DATA")),
        Verb("lr-range", "find a study's learning rates by an LR range test, the learning-rate finder", trains=True),
        Verb("store", "start a Postgres store in ./store, for workers on many machines", configured=False),
        Verb("copy", "copy a study with all its trials to another store"),
        Verb("studies", "list the studies in the store"),
        Verb("config", "print the composed config of a study", trains=True),
        Verb("dashboard", "serve the Optuna dashboard on the store"),
    )
}
