"""Keys: Windows' virtual key codes and US-layout characters as codes of a PC keyboard.

QEMU counts keys as scan codes of set 1, those with an E0 prefix plus 128 ("qnum").

Sources: Microsoft, "Virtual-Key Codes" and "Keyboard Scan Code Specification" (set 1, US layout);
QEMU, ui/input-keymap.c for the numbering.
"""

from __future__ import annotations

_E0 = 0x80
_EXTENDED_PREFIX = 0xE0
SHIFT = 0x2A

_ROWS = (
    (0x02, "1234567890-=", "!@#$%^&*()_+"),
    (0x10, "qwertyuiop[]", "QWERTYUIOP{}"),
    (0x1E, "asdfghjkl;'`", 'ASDFGHJKL:"~'),
    (0x2B, "\\zxcvbnm,./", "|ZXCVBNM<>?"),
)
_CHARACTERS: dict[str, tuple[int, bool]] = {
    " ": (0x39, False),
    "\n": (0x1C, False),
    "\r": (0x1C, False),
    "\t": (0x0F, False),
    "\b": (0x0E, False),
    "\x1b": (0x01, False),
}
for _first, _plain, _shifted in _ROWS:
    for _offset, (_low, _high) in enumerate(zip(_plain, _shifted, strict=True)):
        _CHARACTERS[_low] = (_first + _offset, False)
        _CHARACTERS[_high] = (_first + _offset, True)

_VIRTUAL_KEYS: dict[int, int] = {
    0x08: 0x0E, 0x09: 0x0F, 0x0D: 0x1C, 0x10: SHIFT, 0x11: 0x1D, 0x12: 0x38, 0x14: 0x3A,
    0x1B: 0x01, 0x20: 0x39, 0x21: 0x49 | _E0, 0x22: 0x51 | _E0, 0x23: 0x4F | _E0,
    0x24: 0x47 | _E0, 0x25: 0x4B | _E0, 0x26: 0x48 | _E0, 0x27: 0x4D | _E0, 0x28: 0x50 | _E0,
    0x2D: 0x52 | _E0, 0x2E: 0x53 | _E0, 0x5B: 0x5B | _E0, 0x5C: 0x5C | _E0, 0x5D: 0x5D | _E0,
    0x60: 0x52, 0x61: 0x4F, 0x62: 0x50, 0x63: 0x51, 0x64: 0x4B, 0x65: 0x4C, 0x66: 0x4D,
    0x67: 0x47, 0x68: 0x48, 0x69: 0x49, 0x6A: 0x37, 0x6B: 0x4E, 0x6D: 0x4A, 0x6E: 0x53,
    0x6F: 0x35 | _E0, 0x90: 0x45, 0x91: 0x46, 0xA0: SHIFT, 0xA1: 0x36, 0xA2: 0x1D,
    0xA3: 0x1D | _E0, 0xA4: 0x38, 0xA5: 0x38 | _E0, 0xBA: 0x27, 0xBB: 0x0D, 0xBC: 0x33,
    0xBD: 0x0C, 0xBE: 0x34, 0xBF: 0x35, 0xC0: 0x29, 0xDB: 0x1A, 0xDC: 0x2B, 0xDD: 0x1B,
    0xDE: 0x28,
    **{0x70 + n: 0x3B + n for n in range(10)},
    0x7A: 0x57, 0x7B: 0x58,
    **{ord(c): _CHARACTERS[c.lower()][0] for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"},
}  # fmt: skip

Stroke = tuple[int, bool]
"""A key's number, and whether it goes down."""


def virtual_key(code: int) -> int | None:
    """Return the number of a Windows virtual key, None for one that no keyboard has here."""
    return _VIRTUAL_KEYS.get(code)


def strokes_of_text(text: str) -> list[Stroke]:
    """Return what fingers do to type ASCII text; characters without a key are left out."""
    strokes: list[Stroke] = []
    for character in text:
        if character not in _CHARACTERS:
            continue
        key, shifted = _CHARACTERS[character]
        pressed = [(key, True), (key, False)]
        strokes += [(SHIFT, True), *pressed, (SHIFT, False)] if shifted else pressed
    return strokes


def strokes_of_scan_codes(codes: bytes) -> list[Stroke]:
    """Return what set 1 scan codes say: bit 7 lets go, a byte E0 belongs to the one after it."""
    strokes: list[Stroke] = []
    extended = 0
    for code in codes:
        if code == _EXTENDED_PREFIX:
            extended = _E0
            continue
        strokes.append((code & 0x7F | extended, not code & 0x80))
        extended = 0
    return strokes
