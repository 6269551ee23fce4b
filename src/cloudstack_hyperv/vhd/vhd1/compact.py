"""Giving back the space of a VHD that nothing needs.

All blocks of a VHD have one length, so the last ones fit into the places of those given up.
"""

from cloudstack_hyperv.vhd.disk import Progress
from cloudstack_hyperv.vhd.vhd1.footer import SIZE
from cloudstack_hyperv.vhd.vhd1.image import VhdImage

_SLICE = 4 << 20


def compact_vhd(image: VhdImage, progress: Progress | None = None) -> None:
    """Shrink the file of an open disk, unless it is fixed; stable on return."""
    image.flush()
    if image.header is None:
        return
    total = image.file.size()
    length = image.bitmap_size + image.block_size
    holes, placed = [], []
    for block in range(image.blocks()):
        offset = image.block_offset(block)
        if offset is None:
            continue
        if _is_empty(image, offset):
            image.move(block, None)
            holes.append(offset)
        else:
            placed.append((offset, block))
    image.flush()
    for target, (offset, block) in zip(sorted(holes), sorted(placed, reverse=True), strict=False):
        if offset < target:
            break
        for start in range(0, length, _SLICE):
            data = image.file.pread(offset + start, min(_SLICE, length - start))
            image.file.pwrite(target + start, data)
        image.move(block, target)
        if progress is not None:
            progress(total - offset, total)
    image.flush()
    end = image.end_of_content()
    if end + SIZE < total:
        image.file.pwrite(end, image.footer.encode())
        image.file.truncate(end + SIZE)
        image.file.flush()
    if progress is not None:
        progress(total, total)


def _is_empty(image: VhdImage, offset: int) -> bool:
    """No sector is here (differencing), or all of them are zeros (dynamic)."""
    if image.has_parent:
        return not any(image.file.pread(offset, image.bitmap_size))
    start, end = offset + image.bitmap_size, offset + image.bitmap_size + image.block_size
    for at in range(start, end, _SLICE):
        if any(image.file.pread(at, min(_SLICE, end - at))):
            return False
    return True
