"""What a file may ask for and how much: every refusal is raised from here."""

from __future__ import annotations

from pathlib import Path

_OPCODES = 250_000
_SLACK = 1 << 20


class UnsafePickleError(ValueError):
    """A pickle that asks for more than tensors and plain containers. Nothing of it was run.

    Attributes:
        path: the file.
        asked_for: what it asked for: "module.name", or the kind of instruction.
    """

    def __init__(self, path: Path, asked_for: str) -> None:
        self.path, self.asked_for = path, asked_for
        super().__init__(
            f"{path} asks for {asked_for}, which is no tensor or plain container; nothing of the "
            "file was run. Pickles run code when they are loaded: pass trust=True only if you "
            "trust whoever made this one"
        )


class Guard:
    """The allowance of one file: instructions, and bytes to be made.

    Shared by all pickles inside the file, so that nesting them wins nothing. An honest file of n
    bytes makes up to 3n: a storage is text, then bytes, then a tensor.
    """

    def __init__(self, path: Path, size: int) -> None:
        self.path = path
        self._bytes_left = 4 * size + _SLACK
        self._opcodes_left = _OPCODES

    def count_opcode(self) -> None:
        """Raises ValueError after 250,000 instructions; a network needs thirty thousand."""
        self._opcodes_left -= 1
        if self._opcodes_left < 0:
            raise self.damaged(f"it has more than {_OPCODES} instructions")

    def take(self, count: int) -> None:
        """Raises ValueError when more bytes are to be made than the file can account for."""
        self._bytes_left -= count
        if self._bytes_left < 0:
            raise self.damaged("its tensors claim more bytes than the file holds")

    def refused(self, asked_for: str) -> UnsafePickleError:
        """The error for something that is never done; a name may be anything, so it is cleaned."""
        shown = "".join(c if c.isprintable() else "?" for c in asked_for[:200])
        return UnsafePickleError(self.path, shown)

    def damaged(self, why: str) -> ValueError:
        """The error for a file that is not whole, or contradicts itself."""
        return ValueError(f"{self.path} is damaged: {why}")
