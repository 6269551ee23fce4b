r"""Which identifier of the replayed host stands for which recorded one.

Learned from answers: where two texts are equal but for their GUIDs, the GUIDs stand for each other;
where identities (InstanceIDs, names, selectors) are built differently, the whole texts do.  Applied
to requests before they are sent: whole texts first, the longest first, then GUIDs.
"""

from __future__ import annotations

import re
from typing import Final

from cloudstack_hyperv.fieldwork.recording.policy import GUID
from cloudstack_hyperv.wsman.protocol.xmltext import escape

_IDENTITIES: Final = ("InstanceID", "DeviceID", "Selector[")
_SHORTEST: Final = 8
"""Characters of an identity that is replaced as a whole: "0" stands in too many places."""


class Identifiers:
    """The mapping, growing with every answer."""

    def __init__(self) -> None:
        self._guids: dict[str, str] = {}
        self._texts: dict[str, str] = {}

    def pair(self, name: str, recorded: str, replayed: str) -> None:
        """Learn from two texts that stand for each other; the first word counts."""
        if not recorded or not replayed:
            return
        one, other = GUID.findall(recorded), GUID.findall(replayed)
        if GUID.sub("G", recorded).casefold() == GUID.sub("G", replayed).casefold():
            for left, right in zip(one, other, strict=True):
                self._guids.setdefault(left.upper(), right.upper())
        elif name.startswith(_IDENTITIES) and len(recorded) >= _SHORTEST and one:
            self._texts.setdefault(recorded, replayed)

    def knows(self, guid: str) -> bool:
        """Whether a recorded GUID has been seen in an answer to a replayed request."""
        return guid.upper() in self._guids

    def same(self, recorded: str, replayed: str) -> bool:
        """Whether a recorded identity is this one, as far as is known."""
        return self._mapped(recorded).casefold() == replayed.casefold()

    def apply(self, request: str) -> str:
        """Return a recorded request as it has to be sent."""
        for recorded in sorted(self._texts, key=len, reverse=True):
            replayed = self._texts[recorded]
            for times in (4, 2, 1):
                before, after = (text.replace("\\", "\\" * times) for text in (recorded, replayed))
                request = request.replace(escape(before), escape(after))
                request = request.replace(escape(escape(before)), escape(escape(after)))
        return GUID.sub(self._guid, request)

    def _mapped(self, text: str) -> str:
        return self._texts.get(text) or GUID.sub(self._guid, text)

    def _guid(self, found: re.Match[str]) -> str:
        text = found[0]
        replayed = self._guids.get(text.upper(), text.upper())
        return replayed.lower() if text == text.lower() else replayed
