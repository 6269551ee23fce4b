"""Points and lengths of time in the two spellings that a Windows host uses.

Elements of a WS-Man answer carry xs:dateTime and xs:duration ("2025-12-17T09:55:22.7Z",
"P0DT0H5M0S"); CIM-XML texts carry the 25-character CIM strings ("20250131120000.000000+060",
"00000000004500.000000:000").  Hyper-V refuses the ISO form inside an INSTANCE.

Sources: DMTF DSP0004 5.2.4 (CIM datetime), DSP0230 (WS-CIM, Datetime mapping), W3C XML Schema
part 2.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

_CIM_TIMESTAMP = re.compile(r"(\d{14})\.(\d{6})([+-])(\d{3})")
_CIM_INTERVAL = re.compile(r"(\d{8})(\d{2})(\d{2})(\d{2})\.(\d{6}):000")
_ISO_DURATION = re.compile(
    r"(?P<sign>-?)P(?:(?P<days>\d+)D)?"
    r"(?:T(?:(?P<hours>\d+)H)?(?:(?P<minutes>\d+)M)?(?:(?P<seconds>\d+)(?:\.(?P<part>\d+))?S)?)?"
)
_BEYOND_INTERVALS = timedelta(days=100_000_000)


def read_datetime(text: str) -> datetime:
    """Read an ISO or CIM timestamp; one without an offset is taken as UTC.  Raises ValueError."""
    cim = _CIM_TIMESTAMP.fullmatch(text)
    if cim is None:
        moment = datetime.fromisoformat(text)
        return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    offset = timedelta(minutes=int(cim[3] + cim[4]))
    naive = datetime.strptime(cim[1], "%Y%m%d%H%M%S")  # noqa: DTZ007 - the offset follows here
    return naive.replace(microsecond=int(cim[2]), tzinfo=timezone(offset))


def read_interval(text: str) -> timedelta:
    """Read an ISO duration of days and smaller units, or a CIM interval.  Raises ValueError."""
    cim = _CIM_INTERVAL.fullmatch(text)
    if cim is not None:
        days, hours, minutes, seconds, microseconds = (int(part) for part in cim.groups())
        return timedelta(
            days=days, hours=hours, minutes=minutes, seconds=seconds, microseconds=microseconds
        )
    iso = _ISO_DURATION.fullmatch(text)
    if iso is None or text.endswith(("P", "T")):
        raise ValueError(f"not an interval: {text[:100]!r}")
    length = timedelta(
        days=int(iso["days"] or 0),
        hours=int(iso["hours"] or 0),
        minutes=int(iso["minutes"] or 0),
        seconds=int(iso["seconds"] or 0),
        microseconds=int((iso["part"] or "0")[:6].ljust(6, "0")),
    )
    return -length if iso["sign"] else length


def cim_datetime(moment: datetime) -> str:
    """Write a timestamp as CIM string; ValueError for one without an offset."""
    offset = moment.utcoffset()
    if offset is None:
        raise ValueError("a datetime for the host needs a time zone")
    minutes = round(offset.total_seconds() / 60)
    # strftime("%Y") does not pad years before 1000.
    return f"{moment.year:04}{moment:%m%d%H%M%S.%f}{minutes:+04d}"


def cim_interval(length: timedelta) -> str:
    """Write a length of time as CIM string; ValueError for a negative one."""
    if not timedelta(0) <= length < _BEYOND_INTERVALS:
        raise ValueError(f"{length} is no CIM interval")
    minutes, seconds = divmod(length.seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{length.days:08}{hours:02}{minutes:02}{seconds:02}.{length.microseconds:06}:000"


def iso_datetime(moment: datetime) -> str:
    """Write a timestamp as xs:dateTime; ValueError for one without an offset."""
    if moment.utcoffset() is None:
        raise ValueError("a datetime for the host needs a time zone")
    return moment.isoformat().replace("+00:00", "Z")


def iso_duration(length: timedelta) -> str:
    """Write a length of time as Windows does: P0DT0H5M0S; ValueError for a negative one."""
    if length < timedelta(0):
        raise ValueError(f"{length} is no interval")
    minutes, seconds = divmod(length.seconds, 60)
    hours, minutes = divmod(minutes, 60)
    part = f".{length.microseconds:06}".rstrip("0") if length.microseconds else ""
    return f"P{length.days}DT{hours}H{minutes}M{seconds}{part}S"


def operation_timeout(seconds: float) -> str:
    """Write the OperationTimeout header: seconds with at most milliseconds, never below one.

    A host cuts values above its MaxTimeoutms (60 s by default) itself.
    """
    text = f"{max(seconds, 1.0):.3f}".rstrip("0").rstrip(".")
    return f"PT{text}S"
