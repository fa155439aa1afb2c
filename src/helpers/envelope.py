"""What stands outside on a stream, so that a wrong one is refused and never misread.

Fourteen bytes: the kind of the stream, the fingerprint of the codec that made it, a
checksum of what it carries, and the number of bytes that follow.
"""

import hashlib
import struct

HEADER = struct.Struct(">2s4s4sI")  # kind, fingerprint, checksum, bytes that follow


def checksum(content: bytes) -> bytes:
    """Four bytes that wrong content has with a chance of 2^-32."""
    return hashlib.sha256(content).digest()[:4]


def wrap(kind: bytes, fingerprint: bytes, content: bytes, body: bytes) -> bytes:
    """The stream: `content` is what the receiver must get from `body`."""
    return HEADER.pack(kind, fingerprint, checksum(content), len(body)) + body


def unwrap(kind: bytes, fingerprint: bytes, stream: bytes) -> tuple[bytes, bytes, int]:
    """Checksum, body, and the length of the whole body, of which some may be missing.

    ValueError for a stream that ends within the header or goes on after its end, and
    for one of another kind or fingerprint.
    """
    if len(stream) < HEADER.size:
        raise ValueError(
            f"the stream is truncated: {len(stream)} bytes, a header has {HEADER.size}"
        )
    found, origin, check, total = HEADER.unpack_from(stream)
    if found != kind:
        raise ValueError(f"the stream is of version {found!r}, not {kind!r}")
    if origin != fingerprint:
        raise ValueError("the stream was made with another model, shape or schedule")
    body = stream[HEADER.size :]
    if len(body) > total:
        raise ValueError(
            f"{len(body) - total} bytes follow after the end of the stream"
        )
    return check, body, total
