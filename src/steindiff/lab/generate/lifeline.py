"""Tells a process at once that another one of its run has died, whatever killed it."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Callable

GRACE = 5.0
"""Seconds that a process has to end by itself once it knows of a death."""
PATIENCE = 10.0
"""Seconds after which rank 0 says whom it waits for."""
_LEFT = b"."  # the last byte of a process that ends in order
_HANDSHAKE = 10.0  # seconds: a connection that says nothing is not of this run


class LostError(OSError):
    """Another process of the run has ended, or cannot be reached."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"another process of this run has ended or cannot be reached ({what}); "
            "the same command goes on where it was"
        )


class Lifeline:
    """A connection between rank 0 and each other rank: the system closes it when one of them dies.

    A process that learns of a death fails at its next `check`. Where it does not end within
    `GRACE` seconds, because it waits for the dead one or computes, it is ended as it stands: what
    it was writing is no more than what a killed run leaves. Its own end tells the others.
    """

    def __init__(self) -> None:
        self._connections: list[socket.socket] = []
        self._lost = threading.Event()

    def host(self, others: int, publish: Callable[[str], object], timeout: float) -> None:
        """Rank 0: waits until all others have joined.

        Args:
            others: how many there are.
            publish: is given the address for `join`; only who knows it can join.
            timeout: in seconds.

        Raises:
            LostError: they have not within `timeout`, or one of them has died since it joined.
        """
        token = secrets.token_hex(16)
        begin, told = time.monotonic(), False
        with socket.create_server(("", 0)) as server:
            server.settimeout(0.5)
            publish(f"{server.getsockname()[1]} {token}")
            while len(self._connections) < others:
                self.check()
                waited, missing = time.monotonic() - begin, others - len(self._connections)
                if waited > timeout:
                    raise LostError(f"{missing} have not joined within {timeout:g} s")
                if waited > PATIENCE and not told:
                    told = True  # one that died before it came here cannot be told from a slow one
                    sys.stderr.write(
                        f"waiting for {missing} of {others + 1} processes to start, for "
                        f"{timeout:g} s at most\n"
                    )
                with contextlib.suppress(TimeoutError):
                    self._admit(server.accept()[0], token)

    def join(self, host: str, address: str, timeout: float) -> None:
        """Every other rank.

        Args:
            host: rank 0's machine.
        address: what it published.
            timeout: in seconds.
        """
        port, token = address.split()
        try:
            connection = socket.create_connection((host, int(port)), timeout)
            connection.sendall(token.encode())
        except OSError as error:
            raise LostError(str(error)) from error
        self._keep(connection)

    def check(self) -> None:
        """Raises LostError if another process has died."""
        if self._lost.is_set():
            raise LostError("its connection is closed")

    def leave(self) -> None:
        """Says to the others that this process ends in order."""
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.sendall(_LEFT)

    def _admit(self, connection: socket.socket, token: str) -> None:
        connection.settimeout(_HANDSHAKE)
        try:
            said = connection.recv(len(token), socket.MSG_WAITALL)
        except OSError:
            said = b""
        if secrets.compare_digest(said, token.encode()):
            self._keep(connection)
        else:
            connection.close()

    def _keep(self, connection: socket.socket) -> None:
        connection.settimeout(None)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._connections.append(connection)
        threading.Thread(target=self._watch, args=(connection,), daemon=True).start()

    def _watch(self, connection: socket.socket) -> None:
        try:
            said = connection.recv(1)
        except OSError:
            said = b""
        if said != _LEFT and not self._lost.is_set():
            self._lost.set()
            time.sleep(GRACE)
            _end()


def _end() -> None:
    sys.stderr.write(f"Error: {LostError('its connection is closed')}\n")
    sys.stderr.flush()
    os._exit(2)
