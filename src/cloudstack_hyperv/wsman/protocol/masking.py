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

from cloudstack_hyperv.wsman.protocol.xmltext import escape

MASK: Final = "***"

_NAME = r"(?:[A-Za-z0-9_]*(?:password|passphrase|secret|credential|token)[A-Za-z0-9_]*|CommandLine)"
_ELEMENT = re.compile(rf"(<(?:[\w.-]+:)?{_NAME}(?:\s[^<>]*)?>)[^<]+(?=</)", re.IGNORECASE)
_LESS, _GREATER, _QUOTE = "(?:<|&lt;)", "(?:>|&gt;)", "(?:\"|'|&quot;|&apos;)"


def _property(name: str) -> re.Pattern[str]:
    """Match a whole CIM-XML property of such a name, escaped or not, an array too."""
    return re.compile(
        rf"{_LESS}(PROPERTY(?:\.ARRAY)?)\s+NAME={_QUOTE}{name}{_QUOTE}.*?{_LESS}/\1{_GREATER}",
        re.IGNORECASE | re.DOTALL,
    )


_SECRET_PROPERTY = _property(_NAME)
_DATA = _property("Data")
_VALUE = re.compile(
    rf"({_LESS}VALUE{_GREATER}).*?(?={_LESS}/VALUE{_GREATER})", re.IGNORECASE | re.DOTALL
)
_CONTENT = re.compile(r">[^<]+(?=<)")
_KEY_VALUE_ITEM = re.compile(
    rf"Msvm_KvpExchangeDataItem.*?{_LESS}/INSTANCE{_GREATER}", re.IGNORECASE | re.DOTALL
)


def mask(envelope: str, secrets: Iterable[str] = ()) -> str:
    """Return the envelope without secrets."""
    text = envelope
    for secret in secrets:
        text = _without_literal(text, secret)
    text = _ELEMENT.sub(rf"\1{MASK}", text)
    text = _SECRET_PROPERTY.sub(_without_values, text)
    return _KEY_VALUE_ITEM.sub(lambda item: _DATA.sub(_without_values, item[0]), text)


def _without_literal(envelope: str, secret: str) -> str:
    """Mask a text in element contents, as it is written there and inside CIM-XML."""
    try:
        once = escape(secret)
    except ValueError:
        # XML cannot carry it, so no envelope holds it.
        return envelope
    forms = re.compile("|".join(re.escape(form) for form in (escape(once), once, secret)))
    return _CONTENT.sub(lambda content: forms.sub(MASK, content[0]), envelope)


def _without_values(found: re.Match[str]) -> str:
    return _VALUE.sub(rf"\1{MASK}", found[0])
