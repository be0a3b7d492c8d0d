"""Dates and times of day, as seconds: what a cell is, and in which order a column writes day, month and year."""

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta, timezone

ORDERS = ("ymd", "dmy", "mdy", "clock")
_TIME = r"(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:[.,](?P<part>\d{1,9}))?)?\s*(?P<half>[AaPp][Mm])?"
_ZONE = r"(?P<zone>Z|UTC|[+-]\d{2}:?(?:\d{2})?)?"
_YMD = r"(?P<y>\d{4})(?P<mark>[-/.])(?P<m>\d{1,2})(?P=mark)(?P<d>\d{1,2})"
_DMY = r"(?P<first>\d{1,2})(?P<mark>[-/.])(?P<middle>\d{1,2})(?P=mark)(?P<y>\d{4})"
_PATTERNS = {
    order: re.compile(rf"{_YMD if order == 'ymd' else _DMY}(?:(?:\s+|T){_TIME}\s*{_ZONE})?") for order in ORDERS[:3]
} | {"clock": re.compile(_TIME)}


def orders(cells: Iterable[str]) -> list[str]:
    """Return the orders of day, month and year in which all cells (none of them a gap) are dates."""
    distinct = list(dict.fromkeys(cells))
    fitting = [order for order in ORDERS if all(seconds(cell, order) is not None for cell in distinct)]
    dotted = len(fitting) == 2 and all("." in cell.split()[0] for cell in distinct)
    return ["dmy"] if dotted else fitting  # who writes points writes the day first


def seconds(cell: str, order: str) -> float | None:
    """Return the seconds from the start of 1970 (UTC, where no zone is said), of a time from midnight; or None."""
    match = _PATTERNS[order].fullmatch(cell)
    if match is None:
        return None
    try:
        moment = datetime(*_day(match, order), *_clock(match), tzinfo=_zone(match.groupdict().get("zone")))
    except ValueError:
        return None
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(seconds=1) + float(f"0.{match['part'] or 0}")


def _day(match: re.Match[str], order: str) -> tuple[int, int, int]:
    if order == "clock":
        return 1970, 1, 1
    if order == "ymd":
        return int(match["y"]), int(match["m"]), int(match["d"])
    day, month = (match["first"], match["middle"]) if order == "dmy" else (match["middle"], match["first"])
    return int(match["y"]), int(month), int(day)


def _clock(match: re.Match[str]) -> tuple[int, int, int]:
    hour, half = int(match["hour"] or 0), (match["half"] or "").lower()
    if half and not 1 <= hour <= 12:
        raise ValueError("an hour of a half day")
    return (hour % 12 + 12 * (half == "pm") if half else hour), int(match["minute"] or 0), int(match["second"] or 0)


def _zone(text: str | None) -> timezone:
    if not text or text in ("Z", "UTC"):
        return UTC
    sign, digits = (-1 if text[0] == "-" else 1), text[1:].replace(":", "")
    return timezone(sign * timedelta(hours=int(digits[:2]), minutes=int(digits[2:] or 0)))
