"""A user's config folders as Hydra sees them: found by their path, which is no URL and no word of a grammar."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from hydra.core.config_search_path import ConfigSearchPath, SearchPathQuery
from hydra.core.object_type import ObjectType
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult, ConfigSource
from hydra.plugins.search_path_plugin import SearchPathPlugin

from kirigami.search.config import own_files

FOLDERS: ContextVar[Sequence[Path]] = ContextVar("FOLDERS", default=())


@contextmanager
def searched(folders: Sequence[Path]) -> Iterator[None]:
    """Let Hydra look for files in these folders too, while it is initialised."""
    token = FOLDERS.set(folders)
    try:
        yield
    finally:
        FOLDERS.reset(token)


class OwnFolders(SearchPathPlugin):
    """Puts the user's folders before ours: a file of theirs takes the place of ours of the same name."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Add them, without the grammar in which `hydra.searchpath` would be written."""
        ours = SearchPathQuery(provider="main")
        for folder in FOLDERS.get():
            search_path.prepend("user", f"{Folder.scheme()}://{folder}", anchor=ours)


class Folder(ConfigSource):
    """A folder of YAML files that its user wrote."""

    @staticmethod
    def scheme() -> str:
        """Return what its path begins with."""
        return "folder"

    def load_config(self, config_path: str) -> ConfigResult:
        """Read a file.

        Raises:
            InputError: for a file that Hydra would fall over.
        """
        content, package = own_files.read(self._file(config_path), is_study=config_path.startswith("study/"))
        return ConfigResult(self.provider, self.full_path(), content, {"package": package})

    def available(self) -> bool:
        """Tell whether the folder is there."""
        return self.is_group("")

    def is_group(self, config_path: str) -> bool:
        """Tell whether there is a folder of that name in it."""
        return os.path.isdir(os.path.join(self.path, config_path))

    def is_config(self, config_path: str) -> bool:
        """Tell whether there is a file of that name in it; the root of the config is ours alone."""
        return config_path != "config" and self._file(config_path).is_file()

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        """Return the names of the files and folders in one of its folders."""
        names: list[str] = []
        for name in os.listdir(os.path.join(self.path, config_path)):
            self._list_add_result(names, os.path.join(config_path, name), name, results_filter)
        return sorted(set(names))

    def _file(self, config_path: str) -> Path:
        return Path(self.path) / (config_path if config_path.endswith(".yaml") else f"{config_path}.yaml")


for plugin in (OwnFolders, Folder):
    Plugins.instance().register(plugin)
