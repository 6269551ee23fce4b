"""Envelopes for the eyes of others: what may be secret is replaced.

Masked are parameters and properties whose name tells of a secret, the data of key-value items
(CloudStack sends system VM passwords that way), command lines, and every literal secret that the
caller names, wherever it stands.  What is masked keeps its element, so that shapes stay
comparable.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final
from xml.sax.saxutils import escape

MASK: Final = "***"

_NAME = r"(?:[A-Za-z0-9_]*(?:password|passphrase|secret|credential|token)[A-Za-z0-9_]*|CommandLine)"
_ELEMENT = re.compile(rf"(<(?:[\w.-]+:)?{_NAME}(?:\s[^<>]*)?>)[^<]+(?=</)", re.IGNORECASE)
_LESS, _GREATER, _QUOTE = "(?:<|&lt;)", "(?:>|&gt;)", "(?:\"|'|&quot;|&apos;)"
_PROPERTY = re.compile(
    rf"(NAME={_QUOTE}{_NAME}{_QUOTE}.{{0,200}}?{_LESS}VALUE{_GREATER})"
    rf".*?(?={_LESS}/VALUE{_GREATER})",
    re.IGNORECASE | re.DOTALL,
)
_KEY_VALUE_ITEM = re.compile(
    rf"Msvm_KvpExchangeDataItem.*?{_LESS}/INSTANCE{_GREATER}", re.IGNORECASE | re.DOTALL
)
_DATA = re.compile(
    rf"(NAME={_QUOTE}Data{_QUOTE}.{{0,200}}?{_LESS}VALUE{_GREATER}).*?(?={_LESS}/VALUE{_GREATER})",
    re.IGNORECASE | re.DOTALL,
)


def mask(envelope: str, secrets: Iterable[str] = ()) -> str:
    """Return the envelope without secrets."""
    text = envelope
    for secret in secrets:
        once = escape(secret, {'"': "&quot;"})
        for form in (escape(once), once, secret):
            text = text.replace(form, MASK)
    text = _ELEMENT.sub(rf"\1{MASK}", text)
    text = _PROPERTY.sub(rf"\1{MASK}", text)
    return _KEY_VALUE_ITEM.sub(lambda item: _DATA.sub(rf"\1{MASK}", item[0]), text)
