"""A machine's screen and keyboard.

A real guest shows its own screen and gets the keys.  Otherwise
the picture is drawn from the machine's state: a firmware screen while it boots, then a console
whose lines say what was typed.  Pixels are RGB565, low byte first, as the documentation of
GetVirtualSystemThumbnailImage says and libvirt's driver reads them.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable

from cloudstack_hyperv.cim.constants import ReturnCode
from cloudstack_hyperv.emulator.cim.provider import MethodCall, MethodReply
from cloudstack_hyperv.emulator.host.arguments import integer, reference, string
from cloudstack_hyperv.emulator.host.guest import Guest
from cloudstack_hyperv.emulator.host.machine import Machine
from cloudstack_hyperv.emulator.host.machines import Machines
from cloudstack_hyperv.emulator.host.outcome import invalid_parameter, invalid_state
from cloudstack_hyperv.emulator.host.site import Site, text

_LARGEST = 4096
_CONTROL, _ALT, _DELETE = 0x11, 0x12, 0x2E
_KEYS_KEPT = 1000
_BLACK, _GREY, _WHITE, _BLUE = 0x0000, 0x8410, 0xFFFF, 0x001F


class Console:
    """Thumbnails and keystrokes of the machines of one host."""

    def __init__(self, site: Site, machines: Machines) -> None:
        self._site = site
        self._machines = machines

    @property
    def service_methods(self) -> dict[str, Callable[[MethodCall], MethodReply]]:
        """Methods of the management service."""
        return {"GetVirtualSystemThumbnailImage": self.thumbnail}

    @property
    def keyboard_methods(self) -> dict[str, Callable[[MethodCall], MethodReply]]:
        """Methods of Msvm_Keyboard."""
        return {
            "PressKey": self.press,
            "ReleaseKey": self.release,
            "TypeKey": self.type_key,
            "IsKeyPressed": self.is_pressed,
            "TypeText": self.type_text,
            "TypeCtrlAltDel": self.type_ctrl_alt_del,
            "TypeScancodes": self.type_scancodes,
        }

    def thumbnail(self, call: MethodCall) -> MethodReply:
        """Return the screen, scaled to the wanted size."""
        machine = self._machines.resolve(reference(call, "TargetSystem"))
        if machine is None:
            raise invalid_parameter("TargetSystem names no virtual machine")
        width, height = integer(call, "WidthPixels"), integer(call, "HeightPixels")
        if not 0 < width <= _LARGEST or not 0 < height <= _LARGEST:
            raise invalid_parameter(f"{width} x {height} pixels")
        if not machine.state.has_worker:
            raise invalid_state("the virtual machine is off")
        image = self.picture(machine, width, height)
        return MethodReply(ReturnCode.COMPLETED, {"ImageData": image})

    def picture(self, machine: Machine, width: int, height: int) -> bytes:
        """Return the screen as RGB565, `width * height * 2` bytes."""
        now = self._site.timeline.now()
        guest = machine.guest
        shown = guest.picture(width, height) if guest is not None else None
        if shown is not None:
            return shown
        booted = guest is not None and guest.since_boot(now) >= guest.script.boot
        background = _BLACK if booted else _BLUE
        pixels = array("H", [background]) * (width * height)
        bar = max(1, height // 20)
        if booted and guest is not None:
            for row, line in enumerate(guest.typed[-18:], start=1):
                top = row * bar
                length = min(width, 8 * len(line))
                for y in range(top, min(height, top + max(1, bar // 2))):
                    pixels[y * width : y * width + length] = array("H", [_WHITE]) * length
            length = min(width, 8 * len(machine.name))
            pixels[0:length] = array("H", [_GREY]) * length
        else:
            seconds = guest.since_boot(now) if guest is not None else 0.0
            boot = machine.script.boot or 1.0
            length = int(width * min(1.0, max(0.0, seconds / boot)))
            for y in range(height - bar, height):
                pixels[y * width : y * width + length] = array("H", [_WHITE]) * length
        return pixels.tobytes()

    # Keyboard ------------------------------------------------------------------------------

    def _guest(self, call: MethodCall) -> Guest:
        target = call.target
        machine = self._machines.get(text(target.values, "SystemName")) if target else None
        if machine is None or machine.guest is None or not machine.is_running:
            raise invalid_state("the virtual machine is not running")
        return machine.guest

    def _key(self, call: MethodCall) -> int:
        code = integer(call, "keyCode")
        if not 0 <= code <= 0xFF:
            raise invalid_parameter(f"{code} is no virtual key")
        return code

    def press(self, call: MethodCall) -> MethodReply:
        """Hold a key down."""
        guest, code = self._guest(call), self._key(call)
        guest.pressed.add(code)
        guest.press(code, down=True)
        _note(guest, f"<{code:02X}>")
        return MethodReply(ReturnCode.COMPLETED)

    def release(self, call: MethodCall) -> MethodReply:
        """Let a key go."""
        guest, code = self._guest(call), self._key(call)
        guest.pressed.discard(code)
        guest.press(code, down=False)
        return MethodReply(ReturnCode.COMPLETED)

    def type_key(self, call: MethodCall) -> MethodReply:
        """Press and release a key."""
        guest, code = self._guest(call), self._key(call)
        guest.press(code, down=True)
        guest.press(code, down=False)
        _note(guest, f"<{code:02X}>")
        return MethodReply(ReturnCode.COMPLETED)

    def is_pressed(self, call: MethodCall) -> MethodReply:
        """Tell whether a key is held down."""
        down = self._key(call) in self._guest(call).pressed
        return MethodReply(ReturnCode.COMPLETED, {"keyState": down})

    def type_text(self, call: MethodCall) -> MethodReply:
        """Type ASCII text."""
        guest, typed = self._guest(call), string(call, "asciiText")
        if not typed.isascii():
            raise invalid_parameter("asciiText is not ASCII")
        guest.type_text(typed)
        _note(guest, typed)
        return MethodReply(ReturnCode.COMPLETED)

    def type_ctrl_alt_del(self, call: MethodCall) -> MethodReply:
        """Press the three keys."""
        guest, keys = self._guest(call), (_CONTROL, _ALT, _DELETE)
        for code in keys:
            guest.press(code, down=True)
        for code in reversed(keys):
            guest.press(code, down=False)
        _note(guest, "".join(f"<{code:02X}>" for code in keys))
        return MethodReply(ReturnCode.COMPLETED)

    def type_scancodes(self, call: MethodCall) -> MethodReply:
        """Send set 1 scan codes."""
        codes = call.arguments.get("Scancodes")
        data = bytes(codes) if isinstance(codes, bytes) else _bytes(codes)
        if not data:
            raise invalid_parameter("Scancodes is empty")
        guest = self._guest(call)
        guest.type_scan_codes(data)
        _note(guest, "".join(f"[{code:02x}]" for code in data))
        return MethodReply(ReturnCode.COMPLETED)


def _bytes(codes: object) -> bytes:
    if not isinstance(codes, list | tuple):
        return b""
    return bytes(int(str(code)) & 0xFF for code in codes)


def _note(guest: Guest, typed: str) -> None:
    guest.typed.append(typed)
    del guest.typed[:-_KEYS_KEPT]
