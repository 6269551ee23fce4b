r"""Taking names out of envelopes: first everything is looked at, then everything is replaced.

A name that only the last answer tells may stand in the first request, so nothing is replaced
before all answers have been learned from.  What identifies (hosts, users, GUIDs, MACs, folders) is
replaced wherever it stands, in any spelling that WS-Man uses: escaped, in WQL and object paths
with doubled backslashes, in any letter case.  Free text is replaced only as the value that it
was, because its words may be anybody's.  Addresses and SIDs are known by their form alone.

Elements, attributes and their order stay: a recording is compared by its shape.
"""

from __future__ import annotations

import ipaddress
import itertools
import re
from collections.abc import Iterator
from typing import Final
from xml.etree import ElementTree as ET

from cloudstack_hyperv.fieldwork.recording import policy
from cloudstack_hyperv.fieldwork.recording.pseudonyms import Pseudonyms, Role
from cloudstack_hyperv.fieldwork.scratch_names import ScratchNames
from cloudstack_hyperv.wsman.protocol.names import split_class_uri
from cloudstack_hyperv.wsman.protocol.xmltext import escape, local_name, namespace_of, parse

_SHORTEST: Final = 2
"""Characters of a name that is replaced wherever it stands."""
_SHORTEST_THING: Final = 6
"""Characters of a thing's name that is replaced without marks around it."""
_PLACES = re.compile(r'>[^<]+(?=<)|(?<= Machine=")[^"]*')
_VALUES = re.compile(r"(<(?:[\w.-]+:)?([A-Za-z_]\w*)(?:\s[^<>]*)?>)([^<]+)(?=</)")
_PATH_HOST = re.compile(r"\\\\+([^\\/<>\"&\s?.]+)\\+root\\", re.IGNORECASE)
_PROFILE = re.compile(r"[A-Za-z]:\\+Users\\+([^\\<>\"&|]+)", re.IGNORECASE)
_ORDINARY_PROFILES: Final = frozenset({"public", "default", "all users", "default user"})
_SID = re.compile(r"S-1-5-21-[0-9]+-[0-9]+-[0-9]+-[0-9]+")
_MAC = re.compile(
    r"(?<![0-9A-Fa-f:-])[0-9A-Fa-f]{2}([:-])[0-9A-Fa-f]{2}(?:\1[0-9A-Fa-f]{2}){4}(?![0-9A-Fa-f:-])"
)
_V4 = re.compile(r"(?<![0-9A-Za-z.])[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?![0-9A-Za-z]|\.[0-9])")
_V6 = re.compile(
    r"(?<![0-9A-Za-z:.])(?=[0-9A-Fa-f]*:[0-9A-Fa-f:]*:)[0-9A-Fa-f:]{3,39}(?![0-9A-Za-z:])"
)


class Disguise:
    """The names of one recorded site."""

    def __init__(self, own: ScratchNames | None = None) -> None:
        self.names = Pseudonyms()
        self._own = own
        self._everywhere: dict[str, tuple[str, Role]] = {}
        """Texts that are replaced wherever they stand, by themselves in one letter case."""
        self._values: dict[tuple[str, str], Role] = {}
        """(property, text) that is replaced as a whole."""
        self._pattern: re.Pattern[str] | None = None
        self._by_form: dict[str, tuple[Role, str]] = {}

    def learn_host(self, address: str) -> None:
        """Note the name or address by which the host was reached."""
        if _is_address(address):
            return
        host, _, domain = address.partition(".")
        self._note(Role.HOST, host)
        if domain:
            self._note(Role.DOMAIN, domain)

    def learn_user(self, name: str) -> None:
        r"""Note a login: `user`, `DOMAIN\user` or `user@realm`."""
        domain, _, user = name.rpartition("\\")
        user, _, realm = user.partition("@")
        for part in (domain, realm):
            if part and not part.upper().startswith("NT "):
                self._note(Role.DOMAIN, part)
        self._note(Role.USER, user)

    def learn_folder(self, path: str) -> None:
        """Note a folder that the operator chose, and those above it."""
        path = path.rstrip("\\")
        while policy.is_private_folder(path):
            self._note(Role.FOLDER, path)
            path = path.rpartition("\\")[0]

    def learn(self, envelope: str) -> None:
        """Learn names from an answer (or a request, which tells few)."""
        for found in _PATH_HOST.finditer(envelope):
            self._note(Role.HOST, found[1])
        for found in _PROFILE.finditer(envelope):
            if found[1].casefold() not in _ORDINARY_PROFILES:
                self._note(Role.USER, found[1])
        for found in policy.CARD_IN_PATH.finditer(envelope):
            self._note(Role.GUID, found[1])
        for guid in policy.GUID.findall(envelope):
            if policy.is_secret_guid(guid):
                self._note(Role.GUID, guid)
        root = parse(envelope)
        for element in root.iter():
            machine = element.get("Machine")
            if machine:
                self.learn_host(machine)
            self._learn_row(element)

    def apply(self, envelope: str) -> str:
        """Return the envelope without the names that have been learned so far."""
        text = _VALUES.sub(self._value, envelope)
        return _PLACES.sub(lambda place: self._place(place[0]), text)

    def _learn_row(self, row: ET.Element) -> None:
        properties = [
            (split_class_uri(namespace_of(child)), local_name(child), child.text or "")
            for child in row
            if not len(child)
        ]
        if any(self._is_ours(text) for _, _, text in properties):
            # One of the self-test's own: only what it tells of the host is a name.
            roles = frozenset({Role.HOST, Role.USER, Role.FOLDER})
        else:
            roles = frozenset(Role)
        for (namespace, class_name), name, text in properties:
            if not namespace or self._is_ours(text):
                continue
            role = policy.roles_of(namespace, class_name, name, text)
            if role in roles:
                self._note_value(role, name, text)

    def _note_value(self, role: Role, name: str, text: str) -> None:
        match role:
            case Role.TEXT:
                self._values[(name, text)] = role
                if name == "Notes" and len(text) >= _SHORTEST_THING:
                    self._note(role, text)
            case Role.GUID:
                for guid in policy.GUID.findall(text):
                    self._note(role, guid)
            case Role.USER:
                self._values[(name, text)] = role
                self.learn_user(text)
            case Role.HOST:
                self.learn_host(text)
            case Role.FOLDER:
                self.learn_folder(text)
            case _:
                self._values[(name, text)] = role
                self._note(role, text)

    def _note(self, role: Role, text: str) -> None:
        text = text.strip()
        if len(text) < _SHORTEST or self.names.is_one(role, text):
            return
        if role is Role.MAC:
            text = re.sub(r"[:-]", "", text)
            if self._own is not None and text.upper().startswith(self._own.mac(0)[:-2]):
                return
        if text.casefold() not in self._everywhere:
            self._everywhere[text.casefold()] = (text, role)
            self._pattern = None

    def _is_ours(self, text: str) -> bool:
        return self._own is not None and self._own.name in text.lower()

    def _value(self, found: re.Match[str]) -> str:
        text = _unescaped(found[3])
        role = self._values.get((found[2], text))
        if role is None:
            return found[0]
        return found[1] + escape(self.names.name_for(role, text))

    def _place(self, text: str) -> str:
        pattern = self._pattern or self._compiled()
        if self._everywhere:
            text = pattern.sub(self._replaced, text)
        text = _SID.sub(lambda sid: self.names.name_for(Role.IDENTIFIER, sid[0]), text)
        text = _MAC.sub(lambda mac: self.names.name_for(Role.MAC, mac[0]), text)
        text = _V4.sub(self._address, text)
        return _V6.sub(self._address, text)

    def _address(self, found: re.Match[str]) -> str:
        text = found[0]
        if not _is_address(text):
            return text
        address = ipaddress.ip_address(text)
        mask = text.startswith("255.")
        if mask or address.is_unspecified or address.is_loopback or self._is_made_up(text):
            return text
        return self.names.name_for(Role.ADDRESS, text)

    def _is_made_up(self, text: str) -> bool:
        return self.names.is_one(Role.ADDRESS, text)

    def _replaced(self, found: re.Match[str]) -> str:
        role, real = self._by_form[found[0].casefold()]
        made = self.names.name_for(role, found[0] if role is Role.GUID else real)
        return _spelled_like(found[0], real, made) if role is Role.FOLDER else made

    def _compiled(self) -> re.Pattern[str]:
        self._by_form = {}
        alternatives = []
        longest_first = sorted(
            self._everywhere.values(), key=lambda known: len(known[0]), reverse=True
        )
        for text, role in longest_first:
            for form in dict.fromkeys(_forms(text)):
                self._by_form.setdefault(form.casefold(), (role, text))
                alternatives.append(_bounded(role, form))
        self._pattern = re.compile("|".join(alternatives) or r"(?!)", re.IGNORECASE)
        return self._pattern


def _forms(real: str) -> Iterator[str]:
    """Yield the spellings of a text in envelopes: backslashes doubled once or twice, escaped."""
    texts = (real, real[2:]) if policy.is_private_folder(real) and real[1] == ":" else (real,)
    for text, times in itertools.product(texts, (4, 2, 1)):
        spelled = text.replace("\\", "\\" * times)
        yield escape(escape(spelled))
        yield escape(spelled)
        yield spelled


def _spelled_like(found: str, real: str, made: str) -> str:
    """Write a made-up folder as the real one was found: backslashes doubled, without its drive."""
    if not found[:1].isalpha() and real[1:2] == ":":
        made = made[2:]
    runs = [len(run) for run in re.findall(r"\\+", found if real[1:2] == ":" else found[2:])]
    return made.replace("\\", "\\" * max(1, min(runs, default=1)))


def _bounded(role: Role, form: str) -> str:
    literal = re.escape(form)
    match role:
        case Role.GUID | Role.MAC:
            return rf"(?<![0-9A-Fa-f]){literal}(?![0-9A-Fa-f])"
        case Role.THING if len(form) < _SHORTEST_THING:
            return rf"(?<=[>'\"\\;]){literal}(?=['\"\\&<]|\Z)"
    return rf"(?<![A-Za-z0-9_]){literal}(?![A-Za-z0-9_])"


def _unescaped(text: str) -> str:
    # Longer ones first would be wrong: `&amp;lt;` is the text `&lt;`.
    for entity, character in (
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", '"'),
        ("&apos;", "'"),
        ("&#13;", "\r"),
        ("&amp;", "&"),
    ):
        text = text.replace(entity, character)
    return text


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
