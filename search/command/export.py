"""The `export` verb: networks of a study as files that run elsewhere."""

from kirigami.search.command.verb import Call, open_study
from kirigami.search.export.options import Options
from kirigami.search.training.loading import quickly


def run(call: Call, options: Options) -> int:
    """Write a trial's network as files that run elsewhere."""
    from kirigami.search.config import own_code
    from kirigami.search.report.tables import plain_console
    from kirigami.search.storage.artifacts import open_artifacts

    named = call.named()
    study = open_study(named)
    shared = open_artifacts(named.storage.artifacts, named.folder) if named.storage.artifacts else None
    with quickly():
        from kirigami.search.export.run import export_study  # torch comes with it: after what can be said without

    own_code.add_folders(call.folders())
    print(export_study(study, named.folder, options, plain_console(soft_wrap=True), shared))
    return 0
