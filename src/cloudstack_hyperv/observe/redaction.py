"""No secret in a log line, wherever it came from.

Two nets: values of keys that are known to hold secrets, and the two shapes in which secrets hide
in text, a URL's query (`?user=u&password=p`, CloudStack's CIFS stores) and `user:password@` in a
URL.  Commands are redacted by their own field table (`messages.secrets`); this is the last net.
"""

from __future__ import annotations

import re
from collections.abc import MutableMapping
from typing import Any

MASK = "***"

_SECRET_KEYS = re.compile(
    r"(?i)^(.*_)?(password|passwd|passphrase|secret|vncpassword|bootargs|boot_args|userinfo|token|"
    r"privatekey|private_key|authorization|ticket|userdata|keystore_?password)$"
)
_QUERY_SECRET = re.compile(
    r"(?i)([?&;\s,'\"]|\\u0026|\\u003f|^)(password|passwd|pwd|secret|token|sig|key)(=|\\u003d)"
    r"([^&\s'\"\\;,]|\\(?!u0026))+"
)
_URL_LOGIN = re.compile(r"(://[^/\s:@]+):[^\s\"']+@")


def redact_text(text: str) -> str:
    """Mask passwords in URLs that occur in `text`."""
    masked = _QUERY_SECRET.sub(lambda m: f"{m[1]}{m[2]}{m[3]}{MASK}", text)
    return _URL_LOGIN.sub(rf"\1:{MASK}@", masked)


def redact(value: Any) -> Any:
    """Return a copy of `value` (texts, lists, mappings) with secrets masked."""
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, dict):
        return {
            key: MASK if isinstance(key, str) and _SECRET_KEYS.match(key) else redact(inner)
            for key, inner in value.items()
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [redact(inner) for inner in value]
    return value


def redact_event(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Structlog processor: the last before rendering."""
    return {key: MASK if _SECRET_KEYS.match(key) else redact(value) for key, value in event.items()}
