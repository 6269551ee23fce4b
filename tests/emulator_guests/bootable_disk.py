"""A tiny bootable VHDX, made from Debian packages without privileges, loop devices or mounts.

SYSLINUX on a FAT partition starts Debian's cloud kernel with an initrd that holds a static busybox
and the few modules that a virtio card and the power button need.  The guest gives its card the
address 10.9.0.<last byte of its MAC>, answers TCP on ports 80 and 81, and has shells on the serial
port and on the screen.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

PROMPT = "guest-is-up"
KERNEL = Path(".guest-kernel")
_BOOT_RECORD = Path("/usr/lib/syslinux/mbr/mbr.bin")
_PROGRAMS = ("qemu-img", "busybox", "syslinux", "mcopy", "mkfs.vfat", "sfdisk")
_MODULES = (
    "virtio_ring",
    "virtio",
    "virtio_pci_modern_dev",
    "virtio_pci_legacy_dev",
    "virtio_pci",
    "failover",
    "net_failover",
    "virtio_net",
    "evdev",
    "button",
)
_MIB = 2**20
_SIZE = 40 * _MIB
_START = _MIB
_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"

_INIT = f"""#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t devtmpfs none /dev
mount -t proc none /proc
mount -t sysfs none /sys
for module in {" ".join(_MODULES)}; do insmod /modules/$module.ko; done
sleep 0.2
ifconfig lo 127.0.0.1 up
if [ -e /sys/class/net/eth0 ]; then
    mac=$(cat /sys/class/net/eth0/address)
    ifconfig eth0 10.9.0.$((0x${{mac##*:}})) netmask 255.255.255.0 up
fi
mkdir -p /etc/acpi/PWRF /www /var/log /var/run
echo page > /www/index.html
printf '#!/bin/sh\\npoweroff -f\\n' > /etc/acpi/PWRF/00000080
chmod +x /etc/acpi/PWRF/00000080
acpid
httpd -p 80 -h /www
httpd -p 81 -h /www
setsid sh -c 'exec sh </dev/tty1 >/dev/tty1 2>&1' &
echo {PROMPT}
while true; do setsid sh -c 'exec sh -i </dev/ttyS0 >/dev/ttyS0 2>&1'; done
"""


def missing() -> str:
    """Return why no disk can be made here, "" when it can."""
    lacking = [name for name in _PROGRAMS if shutil.which(name, path=_PATH) is None]
    if lacking:
        return f"not installed: {', '.join(lacking)} (scripts/debian-packages guests)"
    if not _BOOT_RECORD.exists():
        return "no syslinux-common (scripts/debian-packages guests)"
    if not any((KERNEL / "boot").glob("vmlinuz-*")):
        return "no kernel in .guest-kernel (scripts/debian-packages guests)"
    return ""


def make_disk(folder: Path, *, waits_for_key: bool = False) -> Path:
    """Make the disk; with `waits_for_key` the boot loader asks for a name, and "go" boots."""
    (kernel,) = (KERNEL / "boot").glob("vmlinuz-*")
    initrd = folder / "initrd"
    initrd.write_bytes(_archive())
    menu = folder / "syslinux.cfg"
    menu.write_text(
        ("PROMPT 1\nTIMEOUT 0\n" if waits_for_key else "DEFAULT go\nPROMPT 0\n")
        + "LABEL go\nKERNEL vmlinuz\nINITRD initrd\n"
        + "APPEND console=tty0 console=ttyS0 quiet panic=1 random.trust_cpu=on\n"
    )
    image = folder / "disk.raw"
    with image.open("wb") as file:
        file.truncate(_SIZE)
    _run("sfdisk", "--quiet", str(image), text=f"start={_START // 512}, type=c, bootable\n")
    partition = str((_SIZE - _START) // 1024)
    _run("mkfs.vfat", "--offset", str(_START // 512), "-F", "16", str(image), partition)
    for source, name in ((kernel, "vmlinuz"), (initrd, "initrd"), (menu, "syslinux.cfg")):
        _run("mcopy", "-i", f"{image}@@{_START}", str(source), f"::{name}")
    _run("syslinux", "--install", "--offset", str(_START), str(image))
    with image.open("r+b") as file:
        file.write(_BOOT_RECORD.read_bytes()[:440])
    disk = folder / "boot.vhdx"
    _run("qemu-img", "convert", "-O", "vhdx", str(image), str(disk))
    image.unlink()
    return disk


def _run(*command: str, text: str = "") -> None:
    environment = {**os.environ, "PATH": _PATH, "MTOOLS_SKIP_CHECK": "1"}
    done = subprocess.run(
        command, input=text, text=True, capture_output=True, env=environment, check=False
    )
    assert done.returncode == 0, (command, done.stderr)


def _archive() -> bytes:
    """Return the initrd: a cpio archive of the "new" kind (kernel, initramfs buffer format)."""
    out = bytearray()
    for number, (name, mode, device, data) in enumerate([*_files(), ("TRAILER!!!", 0, 0, b"")]):
        major, minor = divmod(device, 256)
        fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, major, minor, len(name) + 1, 0)
        out += b"070701" + "".join(f"{field:08X}" for field in fields).encode()
        out += name.encode() + b"\0"
        out += bytes(-len(out) % 4) + data
        out += bytes(-len(out) % 4)
    return bytes(out)


def _files() -> Iterator[tuple[str, int, int, bytes]]:
    for folder in ("bin", "dev", "proc", "sys", "modules", "etc"):
        yield folder, stat.S_IFDIR | 0o755, 0, b""
    yield "dev/console", stat.S_IFCHR | 0o600, 5 * 256 + 1, b""
    busybox = shutil.which("busybox", path=_PATH)
    assert busybox is not None
    yield "bin/busybox", stat.S_IFREG | 0o755, 0, Path(busybox).read_bytes()
    yield "init", stat.S_IFREG | 0o755, 0, _INIT.encode()
    for module in _MODULES:
        (file,) = (KERNEL / "lib").rglob(f"{module}.ko")
        yield f"modules/{module}.ko", stat.S_IFREG | 0o644, 0, file.read_bytes()
