"""The `studies` verb: all studies of a store."""

from kirigami.search.command.options import NoOptions
from kirigami.search.command.verb import Call, open_store

Options = NoOptions


def run(call: Call, _options: NoOptions) -> int:
    """List the studies in the store."""
    import optuna

    from kirigami.search import storage
    from kirigami.search.report import results
    from kirigami.search.report.tables import plain_console

    named = call.named()
    store = open_store(named)
    print(f"store {storage.shown(named.storage.url)}")
    names = sorted(optuna.get_all_study_names(store))
    studies = [optuna.load_study(study_name=name, storage=store) for name in names]
    plain_console().print(results.studies_table([results.summary(study) for study in studies]))
    return 0
