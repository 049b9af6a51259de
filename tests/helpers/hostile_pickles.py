"""Pickles that want to run something or to break something, written by hand.

Each entry is the bytes of a file. `ASKS` want something that is not theirs, and say what the
refusal must name; `BROKEN` contradict themselves or claim what they do not hold.
"""

from __future__ import annotations

import copyreg
import io
import os
import pickle
import struct
import subprocess
import zipfile
from collections.abc import Callable
from typing import Any

import cloudpickle
import numpy as np
import torch

COMMAND = "touch hostile_pickle_ran"
"""What the hostile ones run, in the working folder."""

MAGIC = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2)
LEGACY = MAGIC + pickle.dumps({"little_endian": True}, 2)


class Evil:
    """Runs a function when it is loaded."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.reduced = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.reduced


class WithState:
    """Sets its state when it is loaded."""

    def __setstate__(self, state: object) -> None:
        os.system(COMMAND)

    def __getstate__(self) -> dict[str, int]:
        return {"a": 1}


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def number(value: int) -> bytes:
    return pickle.dumps(value, 2)[2:-1]


def name(module: str, attribute: str) -> bytes:
    return f"c{module}\n{attribute}\n".encode()


def stacked(module: str, attribute: str) -> bytes:
    return text(module) + text(attribute) + b"\x93"


def call(function: bytes, *arguments: bytes) -> bytes:
    return function + b"(" + b"".join(arguments) + b"tR"


def storage(key: str, numel: int, kind: str = "FloatStorage") -> bytes:
    """A persistent id."""
    parts = [text("storage"), name("torch", kind), text(key), text("cpu"), number(numel)]
    return b"(" + b"".join(parts) + b"tQ"


def numbers(values: tuple[int, ...]) -> bytes:
    return b"(" + b"".join(map(number, values)) + b"t"


def tensor(inside: bytes, size: tuple[int, ...], stride: tuple[int, ...], offset: int = 0) -> bytes:
    rebuild = name("torch._utils", "_rebuild_tensor_v2")
    return call(rebuild, inside, number(offset), numbers(size), numbers(stride), b"\x89", b"}")


def under_a(value: bytes) -> bytes:
    """{"a": value}"""
    return b"\x80\x02}" + text("a") + value + b"s."


def archive(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as packed:
        for path, content in members.items():
            packed.writestr(path, content)
    return file.getvalue()


def zipped(value: bytes, **storages: bytes) -> bytes:
    """A file of torch.save: {"a": value} and storages by key."""
    members = {f"archive/data/{key.removeprefix('k')}": v for key, v in storages.items()}
    return archive({"archive/data.pkl": under_a(value), "archive/version": b"3\n", **members})


def floats(size: tuple[int, ...], stride: tuple[int, ...], offset: int = 0) -> bytes:
    """A file whose tensor views a storage of four floats."""
    return zipped(tensor(storage("0", 4), size, stride, offset), k0=bytes(16))


def loaded_from(content: bytes) -> bytes:
    """A storage of a plain pickle."""
    inside = b"B" + struct.pack("<I", len(content)) + content
    return call(name("torch.storage", "_load_from_bytes"), inside)


SYSTEM = call(name("os", "system"), text(COMMAND))
"""Runs the command."""

RUNNABLE: dict[str, tuple[bytes, str]] = {
    "os.system": (SYSTEM + b".", "os.system"),
    "posix.system": (call(name("posix", "system"), text(COMMAND)) + b".", "posix.system"),
    "STACK_GLOBAL": (call(stacked("os", "system"), text(COMMAND)) + b".", "os.system"),
    "dotted name": (
        b"\x80\x04" + call(stacked("shutil", "os.system"), text(COMMAND)) + b".",
        "shutil.os.system",
    ),
    "Popen": (
        call(name("subprocess", "Popen"), b"(" + b"".join(map(text, COMMAND.split())) + b"l")
        + b".",
        "subprocess.Popen",
    ),
    "eval": (
        call(name("builtins", "eval"), text(f"__import__('os').system({COMMAND!r})")) + b".",
        "builtins.eval",
    ),
    "exec": (
        call(name("builtins", "exec"), text(f"import os; os.system({COMMAND!r})")) + b".",
        "builtins.exec",
    ),
    "eval of Python 2": (
        call(name("__builtin__", "eval"), text(f"__import__('os').system({COMMAND!r})")) + b".",
        "__builtin__.eval",
    ),
    "getattr chain": (
        call(
            call(
                name("builtins", "getattr"),
                call(name("builtins", "__import__"), text("os")),
                text("system"),
            ),
            text(COMMAND),
        )
        + b".",
        "builtins.getattr",
    ),
    "attrgetter": (
        call(
            call(
                call(name("operator", "attrgetter"), text("system")),
                call(name("importlib", "import_module"), text("os")),
            ),
            text(COMMAND),
        )
        + b".",
        "operator.attrgetter",
    ),
    "partial": (
        call(call(name("functools", "partial"), name("os", "system")), text(COMMAND)) + b".",
        "functools.partial",
    ),
    "nested reduce": (
        call(name("collections", "OrderedDict"), b"(" + SYSTEM + b"l") + b".",
        "os.system",
    ),
    "inside a tensor": (under_a(tensor(SYSTEM, (2,), (1,))), "os.system"),
    "INST": (b"(" + text(COMMAND) + b"ios\nsystem\n.", "os.system"),
    "OBJ": (b"(" + name("os", "system") + text(COMMAND) + b"o.", "os.system"),
    "pickle in a pickle": (
        call(name("pickle", "loads"), b"C" + bytes([len(SYSTEM) + 1]) + SYSTEM + b".") + b".",
        "pickle.loads",
    ),
    "pickle in a storage": (
        loaded_from(LEGACY + SYSTEM + b"." + pickle.dumps([], 2)) + b".",
        "os.system",
    ),
    "legacy file": (LEGACY + SYSTEM + b"." + pickle.dumps([], 2), "os.system"),
    "legacy file, system part": (MAGIC + SYSTEM + b".", "os.system"),
    "zip file": (zipped(SYSTEM), "os.system"),
    "numpy object array": (
        pickle.dumps(np.array([Evil(os.system, COMMAND)], dtype=object), 4),
        "numpy._core.multiarray._reconstruct",
    ),
    "__setstate__": (pickle.dumps(WithState(), 4), "hostile_pickles.WithState"),
    "cloudpickle": (
        cloudpickle.dumps(Evil(lambda command: os.system(command), COMMAND)),
        "cloudpickle.cloudpickle._make_function",
    ),
    "list of Popen's": (
        pickle.dumps([Evil(subprocess.call, COMMAND.split())], 4),
        "subprocess.call",
    ),
    **{
        f"protocol {protocol}": (
            pickle.dumps({"a": Evil(os.system, COMMAND)}, protocol),
            "posix.system",
        )
        for protocol in range(6)
    },
}
"""Files that do run the command when they are loaded the usual way, and what they ask for."""

ASKS: dict[str, tuple[bytes, str]] = {
    **RUNNABLE,
    "numpy scalar": (
        call(name("numpy.core.multiarray", "scalar"), b"NN") + b".",
        "numpy.core.multiarray.scalar",
    ),
    "numpy array": (pickle.dumps(np.ones(3), 2), "numpy._core.multiarray._reconstruct"),
    "dotted STACK_GLOBAL": (stacked("builtins", "os.system") + b".", "builtins.os.system"),
    "dotted into what is admitted": (
        stacked("collections", "OrderedDict.__init__") + b".",
        "collections.OrderedDict.__init__",
    ),
    "space in a name": (stacked("os system", "x") + b".", "os.system.x"),
    "__newobj__": (call(name("copyreg", "__newobj__"), b"N") + b".", "copyreg.__newobj__"),
    "_reconstructor": (
        name("copyreg", "_reconstructor") + b"N.",
        copyreg._reconstructor.__module__ + "._reconstructor",  # type: ignore[attr-defined]
    ),
    "torch.load": (call(name("torch", "load"), text("x")) + b".", "torch.load"),
    "torch.hub": (call(name("torch.hub", "load"), text("x")) + b".", "torch.hub.load"),
    "other rebuild": (
        name("torch._utils", "_rebuild_device_tensor_from_numpy") + b".",
        "torch._utils._rebuild_device_tensor_from_numpy",
    ),
    "EDM's own": (
        name("torch_utils.persistence", "_reconstruct_persistent_obj") + b".",
        "torch_utils.persistence._reconstruct_persistent_obj",
    ),
    "escape sequences": (b"cos\x1b[2J\nsystem\n.", "os?[2J.system"),
    "EXT1": (b"\x82\x01.", "extension 1 "),
    "EXT2": (b"\x83\x01\x01.", "extension 257 "),
    "EXT4": (b"\x84\x01\x00\x00\x01.", "extension 16777217 "),
    "INST of what is admitted": (b"(icollections\nOrderedDict\n.", "collections.OrderedDict"),
    "OBJ of what is admitted": (b"(" + name("collections", "OrderedDict") + b"o.", "OBJ"),
    "NEWOBJ": (name("collections", "OrderedDict") + b")\x81.", "NEWOBJ"),
    "NEWOBJ_EX": (name("collections", "OrderedDict") + b")}\x92.", "NEWOBJ_EX"),
    "NEXT_BUFFER": (b"\x80\x05\x97.", "NEXT_BUFFER"),
    "BYTEARRAY8": (b"\x80\x05\x96" + struct.pack("<Q", 1) + b"x.", "BYTEARRAY8"),
    "call of a text": (call(text("os.system"), text(COMMAND)) + b".", "a call of a str"),
    "call of a dtype": (call(name("torch", "float32"), b"N") + b".", "a call of a dtype"),
    "state of a text": (text("x") + b"}b.", "the state of a str"),
    "state of a function": (name("torch", "Size") + b"}b.", "the state of a Function"),
    "state of a tensor": (
        zipped(tensor(storage("0", 4), (4,), (1,)) + b"}b", k0=bytes(16)),
        "the state of a Tensor",
    ),
    "persistent id in a plain pickle": (storage("0", 4) + b".", "a persistent id"),
    "persistent id as text": (zipped(b"Pos.system\n"), "a persistent id"),
    "persistent id of a number": (zipped(number(7) + b"Q"), "a persistent id"),
    "persistent id of another kind": (
        zipped(b"(" + text("module") + text("os") + b"tQ"),
        "a persistent id",
    ),
    "persistent id with a list": (
        zipped(b"(" + text("storage") + b"]" + text("0") + text("cpu") + b"K\x01tQ"),
        "a persistent id",
    ),
    "quantised storage": (
        zipped(storage("0", 4, "QInt8Storage"), k0=bytes(4)),
        "torch.QInt8Storage",
    ),
    "colliding keys": (
        b"(" + b"".join(number(k * (2**61 - 1)) + b"N" for k in range(1, 1000)) + b"d.",
        "a int as a key",
    ),
    "tuples as keys": (b"(" + b")N" + b"d.", "a tuple as a key"),
}

_FOUR = tensor(storage("0", 4), (4,), (1,))
_LONG = text("x" * 100_000)
_KEY, _ONE = pickle.dumps(["1"], 2), struct.pack("<q", 1) + bytes(4)


def _encrypted() -> bytes:
    content = bytearray(zipped(_FOUR, k0=bytes(16)))
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = content.find(signature)
        while at >= 0:
            content[at + flags] |= 1
            at = content.find(signature, at + 1)
    return bytes(content)


def _lying_archive() -> bytes:
    """A stored member that claims 10 GB in the directory."""
    content = bytearray(zipped(_FOUR, k0=bytes(16)))
    at = content.find(b"PK\x01\x02")
    content[at + 20 : at + 28] = struct.pack("<II", 3_000_000_000, 3_000_000_000)
    return bytes(content)


BROKEN: dict[str, bytes] = {
    "empty": b"",
    "only a protocol": b"\x80\x04",
    "protocol 200": b"\x80\xc8N.",
    "text": b"hello, this is no pickle",
    "picture": b"\xff\xd8\xff\xe0" + bytes(100),
    "nothing to stop with": b".",
    "mark at the end": b"(.",
    "marks": b"(" * 1000 + b"t.",
    "pop of nothing": b"0.",
    "memo of nothing": b"h\x05.",
    "BINUNICODE8 of 2**62": b"\x8d" + struct.pack("<Q", 2**62) + b"x.",
    "BINUNICODE8 of 2**64 - 1": b"\x8d" + struct.pack("<Q", 2**64 - 1) + b"x.",
    "BINBYTES8 of 2**62": b"\x8e" + struct.pack("<Q", 2**62) + b"x.",
    "BYTEARRAY8 of 10 GB": b"\x96" + struct.pack("<Q", 10**10) + b"x.",
    "BINBYTES of 4 GB": b"B" + struct.pack("<I", 2**32 - 1) + b"x.",
    "BINSTRING of -1": b"T" + struct.pack("<i", -1) + b"x.",
    "LONG4 of 2 GB": b"\x8b" + struct.pack("<i", 2**31 - 1) + b"x.",
    "LONG4 of -1": b"\x8b" + struct.pack("<i", -1) + b"x.",
    "INT of a million digits": b"I" + b"9" * 1_000_000 + b"\n.",
    "FRAME of 2**62": b"\x80\x04\x95" + struct.pack("<Q", 2**62) + b"].",
    "memo bomb": b"]r" + struct.pack("<I", 2**32 - 1) + b".",
    "deep nesting": b"]" * 100_000 + b"a" * 99_999 + b".",
    "deep tuples": b")" + b"\x85" * 200_000 + b".",
    "billion laughs": b"]"
    + b"".join(b"q%c(" % k + b"h%c" % k * 10 + b"l" for k in range(1, 60))
    + b".",
    "too many instructions": b"]0" * 3_000_000 + b"N.",
    "bytes by the gigabyte": (
        b"]"
        + _LONG
        + b"q\x010"
        + text("latin1")
        + b"q\x020"
        + (name("_codecs", "encode") + b"(h\x01h\x02tRa") * 10_000
        + b"."
    ),
    "sizes by the gigabyte": call(name("torch", "Size"), _LONG) + b".",
    "arguments by the gigabyte": name("collections", "OrderedDict") + _LONG + b"R.",
    "storages by the gigabyte": (
        b"]B"
        + struct.pack("<I", 2_000_000)
        + bytes(2_000_000)
        + b"q\x010"
        + (name("torch.storage", "_load_from_bytes") + b"(h\x01tRa") * 10_000
        + b"."
    ),
    "bytes of another encoding": call(name("_codecs", "encode"), text("x"), text("rot13")) + b".",
    "ordered dictionary of something": call(name("collections", "OrderedDict"), b"]") + b".",
    "storage of a list": call(name("torch.storage", "_load_from_bytes"), b"]") + b".",
    "storage of garbage": loaded_from(b"garbage") + b".",
    "10 GB claimed, zip": zipped(tensor(storage("0", 2_500_000_000), (4,), (1,)), k0=bytes(16)),
    "10 GB claimed, legacy": LEGACY + storage("1", 2_500_000_000) + b"." + _KEY,
    "10 GB claimed, plain": loaded_from(LEGACY + storage("1", 2_500_000_000) + b"." + _KEY) + b".",
    "2**70 elements": zipped(storage("0", 2**70), k0=bytes(16)),
    "minus four elements": zipped(storage("0", -4), k0=bytes(16)),
    "fewer bytes than elements": zipped(tensor(storage("0", 8), (4,), (1,)), k0=bytes(16)),
    "more bytes than elements": zipped(tensor(storage("0", 2), (2,), (1,)), k0=bytes(16)),
    "odd number of bytes": zipped(_FOUR, k0=bytes(15)),
    "one storage, two sizes": zipped(
        b"(" + storage("0", 4) + storage("0", 8, "HalfStorage") + b"t", k0=bytes(16)
    ),
    "missing storage": zipped(tensor(storage("1", 4), (4,), (1,)), k0=bytes(16)),
    "path outside": zipped(tensor(storage("../../../../etc/passwd", 4), (4,), (1,)), k0=bytes(16)),
    "absolute path": zipped(tensor(storage("/etc/passwd", 4), (4,), (1,)), k0=bytes(16)),
    "view behind the end": floats((2, 3), (3, 1)),
    "view by its stride": floats((2, 2), (3, 1)),
    "view by its offset": floats((2,), (1,), 3),
    "offset of 2**62": floats((1,), (1,), 2**62),
    "negative offset": floats((1,), (1,), -1),
    "negative size": floats((-1,), (1,)),
    "negative sizes of product four": floats((-2, -2), (2, 1)),
    "negative stride": floats((2, 2), (-1, 1), 2),
    "stride that overflows": floats((2, 2), (2**63, 1)),
    "sizes that overflow": floats((2**33, 2**31), (0, 0)),
    "sizes that overflow to nothing": floats((0, 2**62, 2**62), (0, 0, 0)),
    "stride 0, 10 GB": floats((2_500_000_000,), (0,)),
    "a thousand dimensions": floats((1,) * 1000, (1,) * 1000),
    "more sizes than strides": floats((2, 2), (1,)),
    "size of floats": zipped(
        call(
            name("torch._utils", "_rebuild_tensor_v2"),
            storage("0", 4),
            b"K\x00",
            b"G" + struct.pack(">d", 2.0) + b"\x85",
            b"K\x01\x85",
            b"\x89}",
        ),
        k0=bytes(16),
    ),
    "tensor of a text": under_a(tensor(text("x"), (1,), (1,))),
    "tensor of a tensor's dtype": under_a(tensor(name("torch", "float32"), (1,), (1,))),
    "legacy: short data": LEGACY + storage("1", 4) + b"." + _KEY + struct.pack("<q", 4) + bytes(8),
    "legacy: other size": LEGACY
    + storage("1", 4)
    + b"."
    + _KEY
    + struct.pack("<q", -4)
    + bytes(16),
    "legacy: no data": LEGACY + storage("1", 4) + b"." + pickle.dumps([], 2),
    "legacy: twice": LEGACY + storage("1", 1) + b"." + pickle.dumps(["1", "1"], 2) + _ONE * 2,
    "legacy: keys of lists": LEGACY + storage("1", 1) + b"." + pickle.dumps([[]], 2),
    "legacy: big-endian": MAGIC + pickle.dumps({"little_endian": False}, 2) + b"N.].",
    "legacy: other version": MAGIC[:-3]
    + b"\x01\x01."
    + pickle.dumps({"little_endian": True})
    + b"N.].",
    "zip: no pickle": archive({"archive/version": b"3"}),
    "zip: two pickles": archive({"a/data.pkl": b"N.", "b/data.pkl": b"N."}),
    "zip: big-endian": archive({"a/data.pkl": b"N.", "a/byteorder": b"big"}),
    "zip bomb": archive({"a/data.pkl": b"]" * 5_000_000}, zipfile.ZIP_DEFLATED),
    "zip bomb in a storage": archive(
        {
            "a/data.pkl": under_a(tensor(storage("0", 2_500_000), (4,), (1,))),
            "a/data/0": bytes(10**7),
        },
        zipfile.ZIP_DEFLATED,
    ),
    "zip of packed members": archive({"a/data.pkl": b"N."}, zipfile.ZIP_LZMA),
    "zip: 60,000 members": b"PK\x03\x04" + b"PK\x01\x02" * 60_000,
    "zip: encrypted": _encrypted(),
    "zip: lies about sizes": _lying_archive(),
    "zip: wrong checksum": zipped(_FOUR, k0=b"0123456789abcdef").replace(
        b"0123456789", b"9876543210"
    ),
}
"""Files that are no state dict, whatever they claim."""


def good_files() -> dict[str, bytes]:
    """The same state dict in every form, and more containers around it than usual."""
    generator = torch.Generator().manual_seed(0)
    state = {
        "weight": torch.randn(40, 60, generator=generator),
        "turned": torch.randn(8, 5, generator=generator).mT,
        "half": torch.randn(7, generator=generator).half(),
        "bfloat16": torch.randn(7, generator=generator).bfloat16(),
        "count": torch.tensor(12),
        "mask": torch.tensor([True, False]),
        "empty": torch.ones(0, 3),
        "parameter": torch.nn.Parameter(torch.randn(3, generator=generator)),
    }
    files = {f"plain, protocol {p}": pickle.dumps(state, p) for p in range(6)}
    for new in (True, False):
        file = io.BytesIO()
        torch.save(state, file, _use_new_zipfile_serialization=new)
        files["zip" if new else "legacy"] = file.getvalue()
    return files
