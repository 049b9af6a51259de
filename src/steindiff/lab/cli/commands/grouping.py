"""Options declared once, in groups: commands take a dataclass for each group, not each option."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator
from dataclasses import MISSING, fields
from typing import Annotated, Any, get_args, get_origin, get_type_hints


def grouped(body: Callable[..., None]) -> Callable[..., None]:
    """The command whose options are the fields of the dataclasses that `body` takes.

    A dataclass says in `panel` under which heading the help shows its options; a field is
    Annotated with a `typer.Option` or a `typer.Argument`.
    """
    kinds = {name: kind for name, kind in get_type_hints(body).items() if name != "return"}

    def command(**values: Any) -> None:
        groups = {
            name: kind(**{field.name: values[field.name] for field in fields(kind)})
            for name, kind in kinds.items()
        }
        body(**groups)

    parameters = [parameter for kind in kinds.values() for parameter in _parameters(kind)]
    command.__doc__, command.__name__ = _flowing(body), body.__name__
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return command


def _flowing(body: Callable[..., None]) -> str:
    """Its docstring with a line for each paragraph, to be broken where the terminal ends.

    A bracket is escaped, which rich would take for markup.
    """
    paragraphs = (inspect.getdoc(body) or "").split("\n\n")
    return "\n\n".join(" ".join(text.split()) for text in paragraphs).replace("[", r"\[")


def _parameters(kind: type) -> Iterator[inspect.Parameter]:
    hints = get_type_hints(kind, include_extras=True)
    for field in fields(kind):
        value = field.default_factory() if field.default_factory is not MISSING else field.default
        yield inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if value is MISSING else value,
            annotation=_in_panel(hints[field.name], getattr(kind, "panel", None)),
        )


def _in_panel(hint: Any, panel: str | None) -> Any:
    assert get_origin(hint) is Annotated, hint
    kind, option = get_args(hint)
    option = copy.copy(option)  # one declaration may stand in several groups
    option.rich_help_panel = panel
    if bool in (kind, *get_args(kind)):
        option.metavar = ""  # a flag takes no value, and typer would show <bool>
    return Annotated[kind, option]
