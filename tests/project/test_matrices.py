"""The part of a matrix that `make test` keeps."""

from itertools import product

from matrices import covering


def test_every_value_is_kept() -> None:
    axes = {"a": range(5), "b": "xyz", "c": (True, False)}
    cases = [dict(zip(axes, choice, strict=True)) for choice in product(*axes.values())]
    kept = covering((case, case.items()) for case in cases)
    assert len(kept) < len(cases) / 3
    for name, wanted in axes.items():
        assert {case[name] for case in kept} == {*wanted}
