"""Files that several machines share: checkpoints of running trials, and networks of the best ones.

They go through Optuna's artifact stores, so that the dashboard and other tools find them in the same place.
"""

import importlib.util
import shutil
from pathlib import Path
from typing import Any, BinaryIO

from optuna.artifacts.exceptions import ArtifactNotFound

from kirigami.search.errors import InputError, one_line
from kirigami.search.files import replaced, unfinished
from kirigami.search.storage.address import absolute_place

FOLDER = "artifacts"
BUCKETS = {"s3": ("boto3", "boto3"), "gs": ("google.cloud.storage", "google-cloud-storage")}


class Folder:
    """Artifacts as files of one folder, which is made at the first of them; the protocol of Optuna's stores.

    A file is written under another name and renamed: a reader never sees half a file, and where writing fails (a full
    disk), nothing is left of it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """Open an artifact for reading.

        Raises:
            ArtifactNotFound: where there is none of this id.
        """
        try:
            return self._file(artifact_id).open("rb")
        except FileNotFoundError as error:
            raise ArtifactNotFound(f"{self._file(artifact_id)} does not exist") from error

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """Write an artifact, or replace it.

        Raises:
            OSError: where the folder takes no more.
        """
        file = self._file(artifact_id)
        self.path.mkdir(parents=True, exist_ok=True)
        with replaced(file) as temporary, temporary.open("wb") as out:
            shutil.copyfileobj(content_body, out, 1 << 20)

    def remove(self, artifact_id: str) -> None:
        """Remove an artifact, and what a process that was killed may have left of it.

        Raises:
            ArtifactNotFound: where there is none of this id.
        """
        file = self._file(artifact_id)
        unfinished(file).unlink(missing_ok=True)
        try:
            file.unlink()
        except FileNotFoundError as error:
            raise ArtifactNotFound(f"{file} does not exist") from error

    def _file(self, artifact_id: str) -> Path:
        if Path(artifact_id).name != artifact_id:
            raise ValueError(f"an artifact's id must be the name of a file, but got {artifact_id!r}.")
        return self.path / artifact_id


class Prefixed:
    """Artifacts of a bucket whose ids begin with a prefix."""

    def __init__(self, bucket: Any, prefix: str) -> None:
        self.bucket, self.prefix = bucket, prefix

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """Open an artifact for reading; raises `ArtifactNotFound` where there is none."""
        reader: BinaryIO = self.bucket.open_reader(self.prefix + artifact_id)
        return reader

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """Write an artifact, or replace it."""
        self.bucket.write(self.prefix + artifact_id, content_body)

    def remove(self, artifact_id: str) -> None:
        """Remove an artifact."""
        self.bucket.remove(self.prefix + artifact_id)


Artifacts = Folder | Prefixed


def location(named: str | None, folder: Path) -> str:
    """Return the location of a study's artifacts: an absolute path, or a bucket's URL.

    Args:
        named: `storage.artifacts` of the config; None is `artifacts` in the study's folder.
        folder: the study's.
    """
    return absolute_place(named) or str((folder / FOLDER).absolute())


def open_artifacts(named: str | None, folder: Path) -> Artifacts:
    """Open the location of a study's artifacts; a folder is made when the first one is written.

    Args:
        named: see `location`.
        folder: the study's.

    Raises:
        InputError: where there is no such place, or the package that opens it is missing or refuses.
    """
    where = location(named, folder)
    scheme, separator, rest = where.partition("://")
    if not separator:
        if Path(where).exists() and not Path(where).is_dir():
            raise InputError(f"storage.artifacts={where} is a file. Name a folder.")
        return Folder(Path(where))
    bucket, _, prefix = rest.partition("/")
    return Prefixed(_bucket(scheme, bucket, where), f"{prefix.rstrip('/')}/" if prefix.strip("/") else "")


def _bucket(scheme: str, bucket: str, where: str) -> Any:
    module, package = BUCKETS[scheme]
    if not _is_installed(module):
        raise InputError(f"storage.artifacts={where} needs the package {package}. Install it: pip install {package}.")
    from optuna.artifacts import Boto3ArtifactStore, GCSArtifactStore

    try:
        return Boto3ArtifactStore(bucket) if scheme == "s3" else GCSArtifactStore(bucket)
    except Exception as error:  # what a cloud's own library finds wrong: no credentials, no region
        raise InputError(f"storage.artifacts={where} cannot be opened: {one_line(error)}") from error


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # of the package it is in
        return False
