"""A connection that sends what no current driver sends: messages by hand."""

import itertools
import socket
import struct

import bson
from pymongo import MongoClient

OP_REPLY, OP_QUERY, OP_MSG = 1, 2004, 2013
CHECKSUM_PRESENT, MORE_TO_COME = 1, 2
_HEADER = struct.Struct("<iiii")


class RawConnection:
    """One TCP connection. Every wait is bounded by `timeout` seconds."""

    def __init__(self, address: tuple[str, int], timeout: float = 30.0):
        self.socket = socket.create_connection(address, timeout)
        self._ids = itertools.count(1000)

    @classmethod
    def to_primary_of(cls, client: MongoClient) -> "RawConnection":
        """To the address where `client` sends writes: the primary's, or the proxy's own."""
        client.admin.command("ping")
        return cls(client.address)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, opcode: int, body: bytes) -> int:
        """Sends a message; returns its request id."""
        identity = next(self._ids)
        self.socket.sendall(_HEADER.pack(16 + len(body), identity, 0, opcode) + body)
        return identity

    def send_msg(self, document, flags: int = 0, sequences: dict | None = None) -> int:
        """Sends an OP_MSG with a body (a document or its bytes) and document sequences by name."""
        raw = document if isinstance(document, bytes) else bson.encode(document)
        parts = [struct.pack("<I", flags), b"\0", raw]
        for name, documents in (sequences or {}).items():
            content = (
                name.encode()
                + b"\0"
                + b"".join(one if isinstance(one, bytes) else bson.encode(one) for one in documents)
            )
            parts += [b"\1", struct.pack("<i", 4 + len(content)), content]
        if flags & CHECKSUM_PRESENT:
            identity = next(self._ids)
            body = b"".join(parts)
            message = _HEADER.pack(20 + len(body), identity, 0, OP_MSG) + body
            self.socket.sendall(message + struct.pack("<I", crc32c(message)))
            return identity
        return self.send(OP_MSG, b"".join(parts))

    def receive(self) -> tuple[int, int, bytes]:
        """The next message's response-to id, opcode and body; EOFError if the peer closed."""
        length, _, response_to, opcode = _HEADER.unpack(self._read(16))
        return response_to, opcode, self._read(length - 16)

    def receive_msg(self) -> tuple[int, int, dict]:
        """The next message, which must be an OP_MSG: its response-to id, flags and document."""
        response_to, opcode, body = self.receive()
        if opcode != OP_MSG:
            raise AssertionError(f"expected an OP_MSG, got opcode {opcode}")
        flags = struct.unpack_from("<I", body)[0]
        end = len(body) - (4 if flags & CHECKSUM_PRESENT else 0)
        return response_to, flags, bson.decode(body[5:end])

    def command(self, document, sequences: dict | None = None) -> dict:
        """Sends a command and returns its reply, whether it succeeded or not."""
        identity = self.send_msg(document, sequences=sequences)
        response_to, _, reply = self.receive_msg()
        if response_to != identity:
            raise AssertionError(f"the reply to {identity} answers {response_to}")
        return reply

    def _read(self, count: int) -> bytes:
        parts = []
        while count:
            part = self.socket.recv(min(count, 1 << 20))
            if not part:
                raise EOFError("the peer closed the connection")
            parts.append(part)
            count -= len(part)
        return b"".join(parts)


def crc32c(data: bytes) -> int:
    """CRC-32C (RFC 3720, appendix B.4)."""
    checksum = 0xFFFFFFFF
    for byte in data:
        checksum ^= byte
        for _ in range(8):
            checksum = (checksum >> 1) ^ (0x82F63B78 & -(checksum & 1))
    return checksum ^ 0xFFFFFFFF
