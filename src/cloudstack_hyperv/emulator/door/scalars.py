"""CIM scalars as text, in the spellings of WS-CIM (XML elements) and of CIM-XML (DSP0201).

Both sides of a value live here: how the emulated host writes it and what it takes from a client.
Reading is strict: decimal digits within the declared range, no exponent for integers, CIM's fixed
width form for datetimes.

Sources: DSP0230 5.1 (cimDateTime), DSP0004 5.2.4 (datetime), and the answers recorded in
r4sd/go-wsman for how Windows shortens fractions and writes intervals.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Final
from xml.sax.saxutils import escape

from cloudstack_hyperv.cim import INTEGER_TYPES, CimType

_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff\ud800-\udfff]")
_INTEGER = re.compile(r"[+-]?[0-9]{1,20}\Z")
_REAL = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?\Z")
_CIM_DATETIME = re.compile(
    r"(?P<year>\d{4})(?P<month>\d\d)(?P<day>\d\d)(?P<hour>\d\d)(?P<minute>\d\d)(?P<second>\d\d)"
    r"\.(?P<fraction>\d{6})(?P<sign>[+-])(?P<offset>\d{3})\Z"
)
_CIM_INTERVAL = re.compile(
    r"(?P<days>\d{8})(?P<hours>\d\d)(?P<minutes>\d\d)(?P<seconds>\d\d)\.(?P<fraction>\d{6}):000\Z"
)
_XSD_DATETIME = re.compile(
    r"(?P<date>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(?P<fraction>\d{1,9}))?(?P<zone>Z|[+-]\d\d:\d\d)?\Z"
)
_XSD_DURATION = re.compile(
    r"P(?=[0-9T])(?:(?P<days>\d{1,8})D)?(?:T(?=[0-9])(?:(?P<hours>\d{1,6})H)?"
    r"(?:(?P<minutes>\d{1,6})M)?(?:(?P<seconds>\d{1,9})(?:\.(?P<fraction>\d{1,9}))?S)?)?\Z"
)
_BOOLEANS: Final = {"true": True, "false": False}


class BadScalar(ValueError):
    """The text is not a value of the declared CIM type."""


def xml_text(text: str) -> str:
    """Escape text content; characters that XML cannot carry become U+FFFD."""
    if _NOT_XML.search(text):
        text = _NOT_XML.sub("\ufffd", text)
    escaped = escape(text)
    return escaped.replace("\r", "&#xD;") if "\r" in escaped else escaped


def write_datetime(moment: datetime) -> str:
    """`2025-12-17T09:55:22.702341Z`: trailing zeros of the fraction dropped, UTC as Z."""
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    text = moment.strftime("%Y-%m-%dT%H:%M:%S")
    text = text.zfill(len("2025-12-17T09:55:22"))
    if moment.microsecond:
        text += f".{moment.microsecond:06d}".rstrip("0")
    offset = moment.utcoffset() or timedelta()
    if not offset:
        return text + "Z"
    sign = "-" if offset < timedelta() else "+"
    minutes = abs(offset) // timedelta(minutes=1)
    return f"{text}{sign}{minutes // 60:02d}:{minutes % 60:02d}"


def write_interval(span: timedelta) -> str:
    """`P0DT0H1M1.00417S`: every part present, fraction without trailing zeros."""
    seconds = f"{span.seconds % 60}"
    if span.microseconds:
        seconds += f".{span.microseconds:06d}".rstrip("0")
    return f"P{span.days}DT{span.seconds // 3600}H{span.seconds // 60 % 60}M{seconds}S"


def write_cim_datetime(moment: datetime) -> str:
    """`20250131120000.000000+000`, as CIM-XML wants it."""
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    minutes = (moment.utcoffset() or timedelta()) // timedelta(minutes=1)
    text = moment.strftime("%Y%m%d%H%M%S").zfill(14)
    return f"{text}.{moment.microsecond:06d}{'-' if minutes < 0 else '+'}{abs(minutes):03d}"


def write_cim_interval(span: timedelta) -> str:
    """`00000000004500.000000:000`, as CIM-XML wants it."""
    minutes, seconds = divmod(span.seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{span.days:08d}{hours:02d}{minutes:02d}{seconds:02d}.{span.microseconds:06d}:000"


def read_scalar(text: str, cim_type: CimType, *, any_case: bool = True) -> bool | int | float | str:
    """Read anything but datetime, reference and object; raises BadScalar.

    `any_case` takes TRUE and False for booleans too.
    """
    if cim_type is CimType.STRING:
        return text
    trimmed = text.strip()
    if cim_type is CimType.BOOLEAN:
        value = _BOOLEANS.get(trimmed.lower() if any_case else trimmed)
        if value is None:
            raise BadScalar(f"{text[:40]!r} is not a boolean")
        return value
    if cim_type in INTEGER_TYPES:
        if not _INTEGER.match(trimmed):
            raise BadScalar(f"{text[:40]!r} is not a {cim_type.value}")
        try:
            return INTEGER_TYPES[cim_type](trimmed)
        except ValueError as error:
            raise BadScalar(str(error)) from error
    if cim_type in (CimType.REAL32, CimType.REAL64):
        if not _REAL.match(trimmed):
            raise BadScalar(f"{text[:40]!r} is not a {cim_type.value}")
        return float(trimmed)
    if cim_type is CimType.CHAR16 and len(text) == 1:
        return text
    raise BadScalar(f"{text[:40]!r} is not a {cim_type.value}")


def read_cim_datetime(text: str, *, interval: bool) -> datetime | timedelta:
    """Read DSP0004's 25 characters; raises BadScalar."""
    found = (_CIM_INTERVAL if interval else _CIM_DATETIME).match(text.strip())
    if found is None:
        raise BadScalar(f"{text[:40]!r} is not a CIM {'interval' if interval else 'timestamp'}")
    parts = {name: int(value) for name, value in found.groupdict().items() if name != "sign"}
    try:
        if interval:
            return timedelta(
                days=parts["days"],
                hours=parts["hours"],
                minutes=parts["minutes"],
                seconds=parts["seconds"],
                microseconds=parts["fraction"],
            )
        minutes = parts["offset"] if found["sign"] == "+" else -parts["offset"]
        zone = UTC if not minutes else timezone(timedelta(minutes=minutes))
        return datetime(
            parts["year"],
            parts["month"],
            parts["day"],
            parts["hour"],
            parts["minute"],
            parts["second"],
            parts["fraction"],
            zone,
        )
    except (ValueError, OverflowError) as error:
        raise BadScalar(f"{text[:40]!r}: {error}") from error


def read_xsd_datetime(text: str, *, interval: bool) -> datetime | timedelta:
    """Read xs:dateTime or xs:duration (no years and months); raises BadScalar."""
    found = (_XSD_DURATION if interval else _XSD_DATETIME).match(text.strip())
    if found is None:
        raise BadScalar(f"{text[:40]!r} is not an xs:{'duration' if interval else 'dateTime'}")
    microseconds = int((found["fraction"] or "0")[:6].ljust(6, "0"))
    try:
        if interval:
            return timedelta(
                days=int(found["days"] or 0),
                hours=int(found["hours"] or 0),
                minutes=int(found["minutes"] or 0),
                seconds=int(found["seconds"] or 0),
                microseconds=microseconds,
            )
        zone = (found["zone"] or "Z").replace("Z", "+00:00")
        return datetime.fromisoformat(found["date"] + zone).replace(microsecond=microseconds)
    except (ValueError, OverflowError) as error:
        raise BadScalar(f"{text[:40]!r}: {error}") from error
