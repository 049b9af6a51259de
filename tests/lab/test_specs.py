"""Texts that name solvers, coefficients, ranges and schedules."""

from __future__ import annotations

import pytest
import torch

import steindiff as sd
from steindiff.lab.specs import (
    make_schedule,
    parse_coefficient,
    parse_range,
    parse_solver,
    parse_spec,
)
from steindiff.schedules import SCHEDULES
from steindiff.solvers import SOLVERS
from steindiff.stein import COEFFICIENTS


@pytest.mark.parametrize(
    ("text", "name", "options"),
    [
        ("a", "a", {}),
        ("a:", "a", {}),
        ("a:b=1", "a", {"b": 1}),
        ("a:b=1.5,c=x", "a", {"b": 1.5, "c": "x"}),
        ("a:b=true,c=False", "a", {"b": True, "c": False}),
        ("a: b=1, c=-2e-3", "a", {"b": 1, "c": -2e-3}),
        ("a:b=x=y", "a", {"b": "x=y"}),
    ],
)
def test_specs(text: str, name: str, options: dict[str, object]) -> None:
    found = parse_spec(text, "thing")
    assert found == (name, options)
    assert [type(v) for v in found[1].values()] == [type(v) for v in options.values()]


@pytest.mark.parametrize("text", ["a:b", "a:b=", "a:=1", "a:b=1,c"])
def test_what_is_no_spec(text: str) -> None:
    with pytest.raises(ValueError, match=f"thing {text!r} is not of the form NAME:option=value"):
        parse_spec(text, "thing")


def test_an_option_is_said_once() -> None:
    with pytest.raises(ValueError, match="solver 'unipc:order=2, order=3' says an option twice"):
        parse_solver("unipc:order=2, order=3")


def test_solvers() -> None:
    for name in SOLVERS:
        assert parse_solver(name) == SOLVERS[name]()
    assert parse_solver("ipndm:2") == sd.solvers.IPNDM(order=2)
    assert parse_solver("unipc:order=2,variant=bh1,corrector=False") == sd.solvers.UniPC(
        order=2, variant="bh1", corrector=False
    )
    for text, said in (
        ("ipmdn", "solver 'ipmdn' is unknown"),
        ("ipndm:order", "solver 'ipndm:order' is not of the form"),
        ("unipc:corrector=1", "option 'corrector' is 1; true or false is needed"),
    ):
        with pytest.raises(ValueError, match=said):
            parse_solver(text)


def test_coefficients() -> None:
    for name in COEFFICIENTS:
        assert parse_coefficient(name) == COEFFICIENTS[name]()
    assert parse_coefficient("constant:value=0.95") == sd.stein.Constant(0.95)
    assert parse_coefficient("none") is None
    with pytest.raises(ValueError, match="coefficient 'enrgy' is unknown"):
        parse_coefficient("enrgy")


def test_ranges() -> None:
    assert parse_range("0-3,7", "seeds") == [0, 1, 2, 3, 7]
    assert parse_range(" 5 , 5-5", "seeds") == [5, 5]
    for text in ("", "a", "1,,2", "1.5", "-3", "4-", "1-2-3"):
        with pytest.raises(ValueError, match=f"seeds is {text!r}; numbers and ranges"):
            parse_range(text, "seeds")
    with pytest.raises(ValueError, match="seeds is '5,9-3': 9-3 is an empty range"):
        parse_range("5,9-3", "seeds")
    with pytest.raises(ValueError, match="seeds is '0-99999999999', which is more than 1,000,000"):
        parse_range("0-99999999999", "seeds")


def test_schedules() -> None:
    for name, schedule in SCHEDULES.items():
        for final in ("sigma_min", "zero"):
            wanted = schedule(4, 0.01, 50.0, final=final)
            assert torch.equal(make_schedule(name, 4, 0.01, 50.0, final), wanted)
    with pytest.raises(ValueError, match="schedule 'karas' is unknown"):
        make_schedule("karas", 4, 0.01, 50.0, "zero")
