"""Tensors out of pickles: storages whose claims are held against the file, and views within them.

Three forms hold tensors: a zip archive (torch.save), five pickles followed by raw bytes (torch.save
before 1.6), and a plain pickle in which every storage is a file of the second form.
"""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .guard import Guard
from .machine import Function, Machine

_MAGIC, _VERSION = 0x1950A86A20F9469CFC6C, 1001
LEGACY_MAGIC = b"\x80\x02\x8a\n" + _MAGIC.to_bytes(10, "little") + b"."
"""What a file of torch.save before 1.6 begins with: a pickle of one number."""

_MEMBERS = 50_000
_DIMENSIONS, _LARGEST = 32, 2**40
_STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
_DTYPES = ("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8")


def read_plain(data: bytes, guard: Guard) -> Any:
    """A plain pickle."""

    def load_from_bytes(content: bytes) -> Any:
        if not isinstance(content, bytes):
            raise guard.damaged("a storage that is not made of bytes")
        guard.take(len(content))
        return read_legacy(content, guard)

    names = _admitted(guard) | {"torch.storage _load_from_bytes": Function(load_from_bytes)}
    return Machine(names, guard).run(io.BytesIO(data))


def read_legacy(data: bytes, guard: Guard) -> Any:
    """torch.save before 1.6: magic, version, system, object, keys; then the storages' bytes."""
    stream, storages = io.BytesIO(data), _Storages(guard, None)
    magic, version, system = (Machine({}, guard).run(stream) for _ in range(3))
    if magic != _MAGIC or version != _VERSION or not isinstance(system, dict):
        raise guard.damaged("it is no file of torch.save")
    if system.get("little_endian") is not True:
        raise guard.damaged("it was not written on a little-endian machine")
    value = Machine(_admitted(guard), guard, storages.persistent).run(stream)
    for key in Machine({}, guard).run(stream):
        storages.fill(key, stream)
    storages.check_filled()
    return value


def read_zip(data: bytes, guard: Guard) -> Any:
    """torch.save: an archive that holds data.pkl and a member for each storage."""
    if data.count(b"PK\x01\x02") > _MEMBERS:
        raise guard.damaged(f"it has more than {_MEMBERS} members")
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        if len(names) != 1:
            raise guard.damaged(f"it has {len(names)} members data.pkl, not 1")
        folder = names[0].removesuffix("data.pkl")

        def member(name: str) -> bytes:
            return _member(archive, folder + name, guard, len(data))

        if folder + "byteorder" in archive.NameToInfo and member("byteorder") != b"little":
            raise guard.damaged("it was not written on a little-endian machine")
        storages = _Storages(guard, lambda key: member(f"data/{key}"))
        machine = Machine(_admitted(guard), guard, storages.persistent)
        return machine.run(io.BytesIO(member("data.pkl")))


def _member(archive: zipfile.ZipFile, name: str, guard: Guard, size: int) -> bytes:
    """A member by its exact name; packed ones are refused, as torch never writes them."""
    info = archive.NameToInfo.get(name)
    if info is None:
        raise guard.damaged("a storage is missing from the archive")
    if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
        raise guard.damaged("a member of the archive is compressed, which torch never does")
    if info.file_size > size:
        raise guard.damaged("a member of the archive claims more bytes than the file holds")
    guard.take(info.file_size)
    return archive.read(info)


class _Storages:
    """The storages of one file: flat tensors, filled at once (`read`) or later (`fill`)."""

    def __init__(self, guard: Guard, read: Callable[[str], bytes] | None) -> None:
        self._guard, self._read = guard, read
        self._known: dict[str, Tensor] = {}
        self._empty: set[str] = set()

    def persistent(self, identity: Any) -> Tensor:
        """The storage that a persistent id names: ("storage", type, key, device, numel, ...)."""
        match identity:
            case ("storage", torch.dtype() as dtype, str(key), str(), int(numel), *view):
                if any(part is not None for part in view):
                    raise self._guard.damaged("it holds views of storages, a form no longer used")
                return self._storage(key, dtype, numel)
        raise self._guard.refused("a persistent id that is not a storage's")

    def _storage(self, key: str, dtype: torch.dtype, numel: int) -> Tensor:
        if key not in self._known:
            if not 0 <= numel < _LARGEST:
                raise self._guard.damaged(f"a storage of {numel} elements")
            self._guard.take(numel * dtype.itemsize)
            content = bytearray(self._read(key)) if self._read else None
            self._known[key] = self._flat(content, dtype, numel)
            if content is None:
                self._empty.add(key)
        flat = self._known[key]
        if flat.dtype != dtype or len(flat) != numel:
            raise self._guard.damaged("one storage is claimed with two sizes or dtypes")
        return flat

    def _flat(self, content: bytearray | None, dtype: torch.dtype, numel: int) -> Tensor:
        if content is None or not numel:
            return torch.zeros(numel, dtype=dtype)
        if len(content) != numel * dtype.itemsize:
            raise self._guard.damaged(
                f"a storage of {len(content)} bytes claims {numel} elements of {dtype}"
            )
        return torch.frombuffer(content, dtype=dtype)

    def fill(self, key: Any, stream: io.BytesIO) -> None:
        """Reads the next storage: its number of elements, in 8 bytes, and the elements."""
        if key not in self._empty:
            raise self._guard.damaged("it holds a storage twice, or one that nothing refers to")
        self._empty.discard(key)
        flat = self._known[key]
        (numel,) = struct.unpack("<q", stream.read(8))
        content = bytearray(stream.read(flat.nbytes))
        if numel != len(flat) or len(content) != flat.nbytes:
            raise self._guard.damaged("a storage is shorter or longer than claimed")
        flat.copy_(self._flat(content, flat.dtype, numel))

    def check_filled(self) -> None:
        """Raises ValueError when a storage was claimed and not delivered."""
        if self._empty:
            raise self._guard.damaged("a storage is missing")


def _admitted(guard: Guard) -> dict[str, object]:
    """Every name that a pickle of tensors needs, and what stands for it here."""

    def view(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Tensor:
        return _view(guard, storage, offset, size, stride)

    def encode(text: Any, encoding: Any) -> bytes:
        """How protocols 0 to 2 write bytes."""
        if type(text) is not str or encoding != "latin1":
            raise guard.damaged("bytes that are not latin-1 text")
        guard.take(len(text))
        return text.encode("latin1")

    def size(lengths: Any) -> tuple[Any, ...]:
        if type(lengths) is not tuple:
            raise guard.damaged("a size that is no tuple")
        return lengths

    storages = {f"torch {name}": dtype for name, dtype in _STORAGES.items()}
    dtypes = {f"torch {name}": getattr(torch, name) for name in _DTYPES}
    return {
        **storages,
        **dtypes,
        "torch._utils _rebuild_tensor_v2": Function(view),
        "torch._utils _rebuild_tensor": Function(view),
        "torch._utils _rebuild_parameter": Function(lambda data, *_: data),
        "torch Size": Function(size),
        "collections OrderedDict": Function(lambda: {}),
        "_codecs encode": Function(encode),
    }


def _view(guard: Guard, storage: Any, offset: Any, size: Any, stride: Any) -> Tensor:
    """A tensor inside its storage. One that repeats elements is not: it could claim any size."""
    numbers = _numbers(offset, size, stride)
    if type(storage) is not Tensor or not numbers or len(size) != len(stride):
        raise guard.damaged("a tensor whose storage, offset, size or stride is of another kind")
    count, last = 1, offset
    for length, step in zip(size, stride, strict=True):
        count *= length
        last += (length - 1) * step
    if count > len(storage) or (count and last >= len(storage)):
        raise guard.damaged(
            f"a tensor of size {_short(size)}, stride {_short(stride)} and offset {offset} lies "
            f"outside of its storage of {len(storage)} elements"
        )
    return torch.as_strided(storage, size, stride, offset if count else 0)


def _numbers(offset: Any, size: Any, stride: Any) -> bool:
    """Whether these are an index and two lists of lengths, each in reason."""
    if type(size) is not tuple or type(stride) is not tuple or len(size) > _DIMENSIONS:
        return False
    return all(type(n) is int and 0 <= n < _LARGEST for n in (offset, *size, *stride))


def _short(numbers: tuple[int, ...]) -> str:
    return f"({', '.join(map(str, numbers))})"
