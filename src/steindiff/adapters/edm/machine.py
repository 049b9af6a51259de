"""An interpreter of pickles that knows plain containers and nothing else.

`pickle.Unpickler` with a restricted `find_class` would not do: it allocates what lengths and memo
indices claim before it looks whether the file is that long, and every instruction it knows would
have to be harmless. Here an instruction that is not listed does not exist. The standard library's
`pickletools.genops` reads the instructions and checks their lengths against the file; it runs none.
"""

from __future__ import annotations

import io
import pickletools
from collections.abc import Callable, Mapping
from typing import Any

from .guard import Guard

Admitted = Mapping[str, object]
"""Global names ("module name") and what stands for them: a `Function`, or a plain value."""

_SMALL = 2**31


class Function:
    """What a pickle may call: a function of ours under the name of another."""

    def __init__(self, call: Callable[..., Any]) -> None:
        self.call = call


class _Mark:
    """Where a list of operands begins."""


_MARK = _Mark()
_VALUES = frozenset(
    {
        "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT",
        "STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE",
        "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8",
    }
)  # fmt: skip
_PUTS = frozenset(["PUT", "BINPUT", "LONG_BINPUT"])
_GETS = frozenset(["GET", "BINGET", "LONG_BINGET"])
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_EMPTY: dict[str, Callable[[], Any]] = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_SET": set}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class Machine:
    """Runs one pickle.

    Args:
        admitted: the globals that it may name.
        guard: the allowance of the file.
        persistent: what answers a persistent id; None where there are none.
    """

    def __init__(
        self, admitted: Admitted, guard: Guard, persistent: Callable[[Any], Any] | None = None
    ) -> None:
        self._admitted, self._guard, self._persistent = admitted, guard, persistent
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def run(self, stream: io.BytesIO) -> Any:
        """The object of the pickle that begins where `stream` stands; stops behind it.

        Raises:
            UnsafePickleError: it asks for anything that is not admitted.
            ValueError, IndexError, TypeError, KeyError, AttributeError: it is damaged.
        """
        for opcode, argument, _ in pickletools.genops(stream):
            self._guard.count_opcode()
            self._step(opcode.name, argument)
        return self._pop()

    def _step(self, name: str, argument: Any) -> None:
        if name in _VALUES:
            self._stack.append(argument)
        elif name in _CONSTANTS:
            self._stack.append(_CONSTANTS[name])
        elif name in _EMPTY:
            self._stack.append(_EMPTY[name]())
        elif name in _GETS:
            self._stack.append(self._memo[int(argument)])
        elif name in _PUTS:
            self._memo[int(argument)] = self._stack[-1]
        elif name in _TUPLES:
            self._tuple(_TUPLES[name])
        elif (handler := _HANDLERS.get(name)) is not None:
            handler(self, argument)
        else:
            raise self._guard.refused(_described(name, argument))

    def _pop(self) -> Any:
        value = self._stack.pop()
        if value is _MARK:
            raise ValueError("a list of operands begins where a value is needed")
        return value

    def _marked(self) -> list[Any]:
        """The operands since the last mark, which they leave with."""
        items: list[Any] = []
        while (value := self._stack.pop()) is not _MARK:
            items.append(value)
        return items[::-1]

    def _target(self, kind: type) -> Any:
        if type(self._stack[-1]) is not kind:
            raise ValueError(f"a {kind.__name__} is needed to add to")
        return self._stack[-1]

    def _tuple(self, size: int) -> None:
        items = [self._pop() for _ in range(size)]
        self._stack.append(tuple(items[::-1]))

    def _set_items(self, items: list[Any]) -> None:
        target = self._target(dict)
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[self._key(key)] = value

    def _key(self, key: Any) -> Any:
        """Other keys could be made to collide by the thousand: their hashes are not random."""
        if type(key) is str or (type(key) is int and abs(key) < _SMALL):
            return key
        raise self._guard.refused(f"a {type(key).__name__} as a key (str and int are read)")

    def _global(self, module: Any, name: Any) -> None:
        if not (isinstance(module, str) and isinstance(name, str)):
            raise ValueError("a global is named by something that is no text")
        self._named(f"{module} {name}")

    def _named(self, name: str) -> None:
        if name not in self._admitted:
            raise self._guard.refused(name.replace(" ", "."))
        self._stack.append(self._admitted[name])

    def _reduce(self) -> None:
        arguments, function = self._pop(), self._pop()
        if not isinstance(function, Function):
            raise self._guard.refused(f"a call of a {type(function).__name__}")
        if type(arguments) is not tuple:
            raise ValueError("a call whose arguments are no tuple")
        self._stack.append(function.call(*arguments))

    def _build(self) -> None:
        """The attributes of an ordered dictionary, such as `_metadata`, are left out."""
        self._pop()
        if type(self._stack[-1]) is not dict:
            raise self._guard.refused(f"the state of a {type(self._stack[-1]).__name__}")

    def _persistent_id(self, value: Any) -> None:
        if self._persistent is None:
            raise self._guard.refused("a persistent id, where there is no storage")
        self._stack.append(self._persistent(value))

    def _extend(self, items: list[Any]) -> None:
        self._target(list).extend(items)

    def _add(self, items: list[Any]) -> None:
        self._target(set).update(map(self._key, items))

    def _dict(self) -> None:
        items = self._marked()
        self._stack.append({})
        self._set_items(items)


_HANDLERS: dict[str, Callable[[Machine, Any], Any]] = {
    "PROTO": lambda m, _: None,
    "FRAME": lambda m, _: None,
    "STOP": lambda m, _: None,
    "MARK": lambda m, _: m._stack.append(_MARK),
    "POP": lambda m, _: m._stack.pop(),
    "POP_MARK": lambda m, _: m._marked(),
    "DUP": lambda m, _: m._stack.append(m._stack[-1]),
    "MEMOIZE": lambda m, _: m._memo.__setitem__(len(m._memo), m._stack[-1]),
    "TUPLE": lambda m, _: m._stack.append(tuple(m._marked())),
    "LIST": lambda m, _: m._stack.append(m._marked()),
    "DICT": lambda m, _: m._dict(),
    "FROZENSET": lambda m, _: m._stack.append(frozenset(map(m._key, m._marked()))),
    "APPEND": lambda m, _: m._extend([m._pop()]),
    "APPENDS": lambda m, _: m._extend(m._marked()),
    "ADDITEMS": lambda m, _: m._add(m._marked()),
    "SETITEM": lambda m, _: m._set_items([m._pop(), m._pop()][::-1]),
    "SETITEMS": lambda m, _: m._set_items(m._marked()),
    "GLOBAL": lambda m, name: m._named(name),
    "STACK_GLOBAL": lambda m, _: m._global(*[m._pop(), m._pop()][::-1]),
    "REDUCE": lambda m, _: m._reduce(),
    "BUILD": lambda m, _: m._build(),
    "BINPERSID": lambda m, _: m._persistent_id(m._pop()),
    "PERSID": lambda m, name: m._persistent_id(name),
}


def _described(name: str, argument: Any) -> str:
    """What an instruction that does not exist here would have done."""
    if name == "INST":
        return str(argument).replace(" ", ".")
    if name.startswith("EXT"):
        return f"the extension {argument} of the registry of copyreg"
    return f"the instruction {name}"
