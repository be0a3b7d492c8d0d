"""A composed config, checked once: what the command, the launchers and the workers of a study share."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from kirigami.search import storage
from kirigami.search.config.resolve import literal, resolve
from kirigami.search.config.settings import StudyConfig
from kirigami.search.errors import InputError
from kirigami.search.storage.address import absolute_place
from kirigami.search.storage.server.local import located
from kirigami.spaces import Space


@dataclass(frozen=True)
class StudySettings:
    """A composed config, checked once.

    Attributes:
        raw: with interpolations kept, so that a searched leaf reaches all it should; workers are sent it as JSON.
        config: the same, resolved.
        space: what is searched.
    """

    raw: dict[str, Any]
    config: StudyConfig
    space: Space

    @classmethod
    def from_raw(cls, raw: dict[str, Any]) -> Self:
        """Check a composed config, as far as words and numbers go.

        Raises:
            InputError: in one line.
        """
        resolved = resolve(raw)
        config = StudyConfig.from_resolved(resolved)
        try:
            space = Space.from_config(
                raw.get("space") or {}, {key: part for key, part in resolved.items() if key != "space"}
            )
        except ValueError as error:
            raise InputError(str(error)) from error
        return cls(raw, config, space)

    def resolved(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the resolved config of a trial that was suggested these values."""
        return resolve(self.space.apply(self.raw, values))


def checked(raw: dict[str, Any]) -> StudySettings:
    """Check, without torch, all of a composed config that can be checked without it, and its store.

    The store's path and that of its artifacts are made absolute: workers may run in another folder.

    Raises:
        InputError: in one line.
    """
    place = resolve({"storage": raw["storage"]})["storage"]
    artifacts = absolute_place(place.get("artifacts"))
    place = {
        **raw["storage"],
        "url": literal(located(place.get("url"))),
        "artifacts": None if artifacts is None else literal(artifacts),
    }
    settings = StudySettings.from_raw({**raw, "storage": place})
    storage.check(settings.config.storage, create=True)
    return settings
