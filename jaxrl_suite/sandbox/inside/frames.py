"""Messages between the two processes of a test: a length of four bytes, then JSON."""

from __future__ import annotations

import json
import socket
from typing import Any

MAX_FRAME = 16 << 20


def send(channel: socket.socket, message: dict[str, Any]) -> None:
    data = json.dumps(message).encode()
    channel.sendall(len(data).to_bytes(4, "big") + data)


def receive(channel: socket.socket) -> Any:
    """One message, whatever JSON it is; None at the end of the stream.

    Raises:
      ValueError: if it is no JSON.
    """
    head = exactly(channel, 4)
    if head is None or (size := int.from_bytes(head, "big")) > MAX_FRAME:
        return None
    data = exactly(channel, size)
    return None if data is None else json.loads(data)


def exactly(channel: socket.socket, size: int) -> bytes | None:
    parts = []
    while size:
        part = channel.recv(min(1 << 20, size))
        if not part:
            return None
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
