"""Whatever arrives after the handshake is frames, silence, or the end of the link; nothing else."""

import contextlib
import ssl

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.link.management_server import Authority, new_authority

from cloudstack_hyperv.link import TlsEngine, TrustAnything, client_context
from cloudstack_hyperv.wire import LinkBroken, PacketReader


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return new_authority(tmp_path_factory.mktemp("ca"))


class Server:
    """The other half of a session, in memory."""

    def __init__(self, authority: Authority) -> None:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = authority.server_context()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_side=True)

    def answer(self, data: bytes) -> bytes:
        self.incoming.write(data)
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.do_handshake()
        return self.outgoing.read()

    def record(self, plain: bytes) -> bytes:
        self.tls.write(plain)
        return self.outgoing.read()


def shaken(authority: Authority) -> tuple[TlsEngine, Server]:
    server = Server(authority)
    engine = TlsEngine(client_context(TrustAnything(), None), TrustAnything())
    to_server = engine.start()
    while not engine.is_ready:
        to_server = engine.handshake(server.answer(to_server))
    return engine, server


pieces = st.one_of(
    st.tuples(st.just("good"), st.binary(min_size=1, max_size=300)),
    st.tuples(st.just("raw"), st.binary(max_size=60)),
    st.tuples(st.just("packet"), st.binary(max_size=60)),
    st.tuples(st.just("record"), st.binary(max_size=60)),
)


@settings(max_examples=60)
@given(st.lists(pieces, max_size=6))
def test_anything_after_the_handshake(authority: Authority, sent: list[tuple[str, bytes]]) -> None:
    engine, server = shaken(authority)
    reader = PacketReader()
    with contextlib.suppress(LinkBroken):
        for kind, data in sent:
            match kind:
                case "good":
                    record = server.record(data)
                    stream = len(record).to_bytes(4, "big") + record
                case "packet":
                    stream = len(data).to_bytes(4, "big") + data
                case "record":
                    record = b"\x17\x03\x03" + len(data).to_bytes(2, "big") + data
                    stream = len(record).to_bytes(4, "big") + record
                case _:
                    stream = data
            for packet in reader.receive(stream):
                assert isinstance(engine.decrypt(packet.content), bytes | None)
            assert reader.pending <= 18004


@settings(max_examples=60)
@given(data=st.binary(max_size=200), at=st.integers(0, 3))
def test_anything_in_the_handshake(authority: Authority, data: bytes, at: int) -> None:
    server = Server(authority)
    engine = TlsEngine(client_context(TrustAnything(), None), TrustAnything())
    to_server = engine.start()
    with contextlib.suppress(LinkBroken):
        for turn in range(3):
            answered = server.answer(to_server)
            if turn == at:
                middle = len(answered) // 2
                answered = answered[:middle] + data + answered[middle:]
            to_server = engine.handshake(answered)
    assert isinstance(engine.alert(), bytes)
