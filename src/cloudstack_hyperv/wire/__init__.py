"""How a CloudStack frame and its packets look, without a socket: bytes in, values out.

`packets` is the link's framing around TLS records, `frame` the 40-byte header with its body.
"""

from cloudstack_hyperv.wire.frame import (
    BodyTooLarge,
    Flag,
    Frame,
    FrameUnreadable,
    Header,
    decode_frame,
    encode_frame,
    response_header,
)
from cloudstack_hyperv.wire.packets import (
    LinkBroken,
    Packet,
    PacketReader,
    packet,
)

__all__ = [
    "BodyTooLarge",
    "Flag",
    "Frame",
    "FrameUnreadable",
    "Header",
    "LinkBroken",
    "Packet",
    "PacketReader",
    "decode_frame",
    "encode_frame",
    "packet",
    "response_header",
]
