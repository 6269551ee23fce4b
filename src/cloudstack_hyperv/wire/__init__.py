"""The connected agent's protocol without a socket and without a clock: bytes in, values out.

From the outside in:

* `records`, `packets`: TLS records on the bare stream, then packets with a clear header;
* `frame`: the 40-byte header with its body, plain or gzipped;
* `conversation`: what the frames of one connection mean, from Startup to refusal;
* `servers`, `schedule`: which management server next, when to ping, when to give up.

`cloudstack_hyperv.link` carries the bytes, `cloudstack_hyperv.doors.agent` runs the commands.
"""

from cloudstack_hyperv.wire.conversation import (
    Admitted,
    Answered,
    Conversation,
    Event,
    FrameDropped,
    LocalProtocolError,
    OwnRequest,
    Phase,
    PingAnswered,
    Refused,
    Requested,
    Sequences,
    ServerRequest,
    StartupAccepted,
    UnreadableCommand,
)
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
from cloudstack_hyperv.wire.records import (
    MOST_PLAIN,
    RecordReader,
    check_packet,
)
from cloudstack_hyperv.wire.schedule import (
    Backoff,
    Pacing,
    PingSchedule,
    StartupPatience,
)
from cloudstack_hyperv.wire.servers import (
    ALGORITHMS,
    SHUFFLE,
    ServerChoice,
    ServerList,
    ServerListInvalid,
)

__all__ = [
    "ALGORITHMS",
    "MOST_PLAIN",
    "SHUFFLE",
    "Admitted",
    "Answered",
    "Backoff",
    "BodyTooLarge",
    "Conversation",
    "Event",
    "Flag",
    "Frame",
    "FrameDropped",
    "FrameUnreadable",
    "Header",
    "LinkBroken",
    "LocalProtocolError",
    "OwnRequest",
    "Pacing",
    "Packet",
    "PacketReader",
    "Phase",
    "PingAnswered",
    "PingSchedule",
    "RecordReader",
    "Refused",
    "Requested",
    "Sequences",
    "ServerChoice",
    "ServerList",
    "ServerListInvalid",
    "ServerRequest",
    "StartupAccepted",
    "StartupPatience",
    "UnreadableCommand",
    "check_packet",
    "decode_frame",
    "encode_frame",
    "packet",
    "response_header",
]
