"""An SMB connection that waits for nothing without end and believes nothing that is not protected.

`smbprotocol.connection.Connection` is used for messages, negotiation, keys and the thread that
receives.  What is different here, and why:

- an answer that should be signed or encrypted and is not is refused.  The library checks
  signatures only where the answer says that it has one, so somebody on the way could leave it out
  ([MS-SMB2] 3.2.5.1.1 and 3.2.5.1.3 have the client discard such answers);
- every wait has a deadline, and symbolic links are never followed;
- signing and AES-GCM work on the bytes where they lie: the library copies each message several
  times, which costs more than the encryption does.

The last point replaces methods that the library does not call public, hence the exact minor
version of it in pyproject.toml; tests against a real server would show a change.
"""

from __future__ import annotations

import hmac
import os
import struct
from typing import Any, Final, cast

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from smbprotocol import MAX_PAYLOAD_SIZE
from smbprotocol.connection import (
    Ciphers,
    Connection,
    Request,
    SigningAlgorithms,
    SMB2TransformHeader,
)
from smbprotocol.exceptions import SMBException
from smbprotocol.header import Commands, NtStatus, Smb2Flags, SMB2HeaderRequest
from smbprotocol.open import SMB2WriteRequest
from smbprotocol.session import Session

from cloudstack_hyperv.storage.smb.transport import SHORT, DeadlineTcp, Scratch
from cloudstack_hyperv.vhd.files import Buffer

_GCM: Final = (Ciphers.AES_128_GCM, Ciphers.AES_256_GCM)
_BLOCK: Final = 16
_SIGNATURE: Final = slice(48, 64)
_NO_SIGNATURE: Final = bytes(16)
_TRANSFORM: Final = struct.Struct("<IHHQ")
"""Message size, reserved, flags, session: what follows the nonce in a TRANSFORM_HEADER (2.2.41)."""
_ENCRYPTED: Final = 1
_WRITE: Final = struct.Struct("<HHIQ16sIIHHI")
_WRITE_DATA_AT: Final = 64 + _WRITE.size
_UNSOLICITED: Final = 0xFFFFFFFFFFFFFFFF


class StrictConnection(Connection):  # type: ignore[misc]  # the library has no types
    """See the module."""

    def __init__(self, guid: Any, server_name: str, port: int, timeout: float) -> None:
        """Prepare a connection; `timeout` is in seconds, for each step."""
        self._step_timeout = timeout
        self._tcp: DeadlineTcp | None = None
        self._plain = Scratch()
        super().__init__(guid, server_name, port, require_signing=True)

    @property
    def transport(self) -> DeadlineTcp | None:
        """The TCP connection; the library sets its own, ours takes its place."""
        return self._tcp

    @transport.setter
    def transport(self, made: Any) -> None:
        self._tcp = (
            None if made is None else DeadlineTcp(made.server, made.port, self._step_timeout)
        )

    @property
    def credits(self) -> int:
        """How many credits the server has granted and we have not used ([MS-SMB2] 3.2.4.1.2)."""
        with self.sequence_lock:
            window = self.sequence_window
            return int(window["high"]) - int(window["low"])

    def receive(
        self,
        request: Any,
        wait: bool = True,  # the library's own signature
        timeout: float | None = None,
        resolve_symlinks: bool = False,  # the library's own signature
    ) -> Any:
        """Wait for an answer; never without a deadline, never past a symbolic link."""
        del resolve_symlinks
        return super().receive(
            request,
            wait=wait,
            timeout=self._step_timeout if timeout is None else timeout,
            resolve_symlinks=False,
        )

    def disconnect(
        self,
        close: bool = True,  # the library's own signature
        timeout: float | None = None,
    ) -> None:
        """Log off where asked to, close, and free the socket once its reader has ended."""
        try:
            super().disconnect(close, timeout=timeout)
        finally:
            reader = self._t_worker
            if self._tcp is not None and (reader is None or not reader.is_alive()):
                self._tcp.release()

    def verify_signature(
        self,
        header: Any,
        session_id: int,
        force: bool = False,  # the library's own signature
    ) -> None:
        """Refuse an unencrypted answer that is not signed as its session demands."""
        session: Session | None = self.session_table.get(session_id)
        command = header["command"].get_value()
        status = header["status"].get_value()
        if not force and (
            session is None
            or command == Commands.SMB2_SESSION_SETUP
            or status == NtStatus.STATUS_PENDING
            or header["message_id"].get_value() == _UNSOLICITED
        ):
            return
        if session is None:
            raise SMBException("an answer belongs to no session")
        if session.encrypt_data:
            raise SMBException("an answer was not encrypted where all must be")
        if not header["flags"].has_flag(Smb2Flags.SMB2_FLAGS_SIGNED):
            raise SMBException("an answer was not signed where all must be")
        expected = self._signature(
            [_packed_head(header), header["data"].get_value()],
            session.signing_key,
            header["message_id"].get_value(),
            command,
            from_server=header["flags"].has_flag(Smb2Flags.SMB2_FLAGS_SERVER_TO_REDIR),
        )
        if not hmac.compare_digest(expected, header["signature"].get_value()):
            raise SMBException("an answer has a wrong signature")

    def _generate_signature(
        self,
        b_header: bytes,
        signing_key: bytes,
        message_id: int,
        response: bool,  # the library's own signature
        command: int,
    ) -> bytes:
        whole = memoryview(b_header)
        return self._signature(
            [whole[:64], whole[64:]], signing_key, message_id, command, from_server=response
        )

    def _signature(
        self, parts: list[Buffer], key: bytes, message_id: int, command: int, *, from_server: bool
    ) -> bytes:
        """Sign a message whose first part is the 64 bytes of its header ([MS-SMB2] 3.1.4.1)."""
        if self.signing_algorithm_id != SigningAlgorithms.AES_GMAC:
            whole = b"".join(parts)
            return bytes(super()._generate_signature(whole, key, message_id, from_server, command))
        kind = (1 if from_server else 0) | (2 if command == Commands.SMB2_CANCEL else 0)
        nonce = struct.pack("<QI", message_id, kind)
        signer = Cipher(algorithms.AES(key), modes.GCM(nonce)).encryptor()
        head = memoryview(parts[0])
        signer.authenticate_additional_data(head[: _SIGNATURE.start])
        signer.authenticate_additional_data(_NO_SIGNATURE)
        for part in parts[1:]:
            signer.authenticate_additional_data(part)
        signer.finalize()
        return signer.tag

    def send_write(
        self,
        session: Session,
        tree_id: int,
        file_id: bytes,
        offset: int,
        data: memoryview,
        *,
        credit_request: int,
    ) -> Request:
        """Send an SMB2 WRITE (2.2.21) without copying `data`; `receive` takes its answer.

        The charge for it must not be above `credits`.
        """
        charge = -(-len(data) // MAX_PAYLOAD_SIZE)
        body = _WRITE.pack(49, _WRITE_DATA_AT, len(data), offset, file_id, 0, 0, 0, 0, 0)
        header = SMB2HeaderRequest()
        with self.sequence_lock:
            header["message_id"] = self.sequence_window["low"]
            self.sequence_window["low"] += charge
        header["credit_charge"] = charge
        header["credit_request"] = credit_request
        header["command"] = Commands.SMB2_WRITE
        header["session_id"] = session.session_id
        header["tree_id"] = tree_id
        if not session.encrypt_data:
            header["flags"].set_flag(Smb2Flags.SMB2_FLAGS_SIGNED)
        head = bytearray(header.pack())
        number = header["message_id"].get_value()
        request = Request(header, SMB2WriteRequest, self, session_id=session.session_id)
        if session.encrypt_data:
            parts: list[Buffer] = [self._sealed([head, body, data], session)]
        else:
            head[_SIGNATURE] = self._signature(
                [head, body, data],
                session.signing_key,
                number,
                Commands.SMB2_WRITE,
                from_server=False,
            )
            parts = [head, body, data]
        self.outstanding_requests[number] = request
        self._check_worker_running()
        if self._tcp is not None:
            self._tcp.send_parts(parts)
        return request

    def _encrypt(self, b_data: bytes, session: Session) -> Any:
        return self._sealed([b_data], session)

    def _sealed(self, parts: list[Buffer], session: Session) -> Any:
        """Return a TRANSFORM_HEADER (2.2.41) with the encrypted parts behind it."""
        length = sum(len(part) for part in parts)
        if self.cipher_id not in _GCM:
            return super()._encrypt(b"".join(parts), session).pack()
        nonce = os.urandom(12)
        bound = nonce + bytes(4) + _TRANSFORM.pack(length, 0, _ENCRYPTED, session.session_id)
        cipher = Cipher(algorithms.AES(session.encryption_key), modes.GCM(nonce)).encryptor()
        cipher.authenticate_additional_data(bound)
        end = start = 4 + _BLOCK + len(bound)
        message = bytearray(start + length + _BLOCK)
        room = memoryview(message)
        for part in parts:
            end += cipher.update_into(part, room[end:])
        cipher.finalize()
        room[:start] = b"\xfdSMB" + cipher.tag + bound
        return room[:end]

    def _decrypt(self, message: SMB2TransformHeader) -> Any:
        if self.cipher_id not in _GCM:
            return super()._decrypt(message)
        flags = message["flags"].get_value()
        session_id = message["session_id"].get_value()
        session = self.session_table.get(session_id)
        if flags != _ENCRYPTED or session is None:
            raise SMBException("an encrypted answer belongs to no session")
        nonce, data = message["nonce"].get_value(), message["data"].get_value()
        size = message["original_message_size"].get_value()
        if len(data) != size:
            raise SMBException("an encrypted answer has another length than it says")
        bound = nonce + _TRANSFORM.pack(size, message["reserved"].get_value(), flags, session_id)
        key, tag = session.decryption_key, message["signature"].get_value()
        cipher = Cipher(algorithms.AES(key), modes.GCM(nonce[:12], tag)).decryptor()
        cipher.authenticate_additional_data(bound)
        length = size + _BLOCK - 1
        plain = self._plain.room(length) if size > SHORT else memoryview(bytearray(length))
        end = cipher.update_into(data, plain)
        try:
            cipher.finalize()
        except InvalidTag as error:
            raise SMBException("an encrypted answer was changed on its way") from error
        return plain[:end]


def _packed_head(header: Any) -> bytes:
    """Return the 64 bytes before an answer's body, as they came."""
    fields = list(header.fields.values())
    return b"".join(cast("bytes", field.pack()) for field in fields if field.name != "data")
