"""Verdicts can come out either way: on denoisers whose truth is known, and on changed numbers."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from steindiff.denoisers import Gaussian
from steindiff.diagnosis import CHAPTERS, Outcome, Setting, Verdict

Make = Callable[..., Setting]
Edit = Callable[[dict[str, Any]], object]
HOLDS, CONDITIONS, FAILS = Outcome.HOLDS, Outcome.CONDITIONS, Outcome.FAILS
UNDECIDED = Outcome.UNDECIDED
MANY = {"samples": 200, "levels": 5, "probes": 8, "study": 256, "pairs": 200, "fine_steps": 48}
GAUSSIAN = {"denoiser": Gaussian(variance=0.25, shape=(48,)), "shape": (48,), "modes": None}


def measured(setting: Setting, chapter: str) -> dict[str, Any]:
    return CHAPTERS[chapter].measure(setting, lambda text: None)


def judged(found: dict[str, Any], chapter: str, part: str) -> Verdict:
    """The one verdict whose statement holds these words."""
    (verdict,) = [v for v in CHAPTERS[chapter].judge(found) if part in v.statement]
    return verdict


@pytest.fixture(scope="module")
def euler(make: Make) -> dict[str, dict[str, Any]]:
    """All chapters on the mixture, by Euler; two exact modes, many samples."""
    setting = make(solver="euler", sizes=MANY)
    return {name: measured(setting, name) for name in CHAPTERS}


@pytest.mark.parametrize(
    ("chapter", "part", "outcome"),
    [
        ("contractivity", "h being the step of 1/σ", HOLDS),
        ("contractivity", "h read as the log-SNR step", FAILS),
        ("contractivity", "own weights", HOLDS),
        ("identity", "is a gradient", HOLDS),
        ("coefficient", "residual u", HOLDS),
        ("coefficient", "published coefficient", FAILS),
        ("coefficient", "bounded by the Stein discrepancy", HOLDS),
        ("coefficient", "Error decay", CONDITIONS),
        ("energy", "lose energy and variance", HOLDS),
    ],
)
def test_of_an_exact_mixture(
    euler: dict[str, dict[str, Any]], chapter: str, part: str, outcome: Outcome
) -> None:
    verdict = judged(euler[chapter], chapter, part)
    assert verdict.outcome is outcome, verdict.found


def test_extrapolation_breaks_the_bound_of_first_order(make: Make) -> None:
    found = measured(make(solver="dpmpp_2m", steps=6), "contractivity")
    assert judged(found, "contractivity", "h being the step of 1/σ").outcome is CONDITIONS
    assert judged(found, "contractivity", "own weights").outcome is HOLDS
    assert judged(
        measured(make(solver="heun"), "contractivity"), "contractivity", "own"
    ).outcome is (UNDECIDED)


def test_of_an_isotropic_gaussian(make: Make) -> None:
    """kappa and the ratio hold, and EDM's c_skip is its Stein ratio."""
    setting = make(**GAUSSIAN, exact=None, sizes=MANY)
    identity = measured(setting, "identity")
    for part in ("κ =", "second order", "free Stein ratio"):
        assert judged(identity, "identity", part).outcome is HOLDS
    assert judged(measured(setting, "preconditioning"), "preconditioning", "own").outcome is HOLDS
    assert judged(measured(setting, "modes"), "modes", "collapse modes").outcome is UNDECIDED


def test_of_an_anisotropic_gaussian(make: Make) -> None:
    """Data near a plane: their Stein ratio is not EDM's c_skip."""
    variance = torch.tensor([1.0] * 4 + [1e-4] * 44)
    options = {**GAUSSIAN, "denoiser": Gaussian(variance=variance)}
    found = measured(make(**options, exact=None, sizes=MANY), "preconditioning")
    assert judged(found, "preconditioning", "data's own").outcome is FAILS


def test_of_wrong_denoisers(make: Make) -> None:
    """One that is too large, and one whose Jacobian is not symmetric."""
    exact = GAUSSIAN["denoiser"]
    skew = torch.zeros(48, 48)
    skew[0::2, 1::2], skew[1::2, 0::2] = torch.eye(24), -torch.eye(24)

    def large(x: Tensor, sigma: Tensor, /) -> Tensor:
        return 1.3 * exact(x, sigma)

    def turned(x: Tensor, sigma: Tensor, /) -> Tensor:
        return exact(x, sigma) @ (torch.eye(48) + 0.5 * skew)

    right, wrong, asymmetric = (
        measured(make(**{**GAUSSIAN, "denoiser": denoiser}, exact=None, sizes=MANY), "identity")
        for denoiser in (exact, large, turned)
    )
    assert judged(right, "identity", "second order").outcome is HOLDS
    assert judged(wrong, "identity", "second order").outcome in (CONDITIONS, FAILS)
    assert judged(right, "identity", "gradient").outcome is HOLDS
    assert judged(asymmetric, "identity", "gradient").outcome is FAILS


def levels(key: str, value: float, width: float = 0.001, share: float = 1.0) -> Edit:
    """Sets a figure with its interval at a share of the levels."""

    def edit(found: dict[str, Any]) -> None:
        rows = found["levels"]
        for row in rows[: max(1, round(share * len(rows)))]:
            row[key] = {"value": value, "low": value - width, "high": value + width}

    return edit


def each(path: str, values: dict[str, Any]) -> Edit:
    """Updates every row of a list of the results."""

    def edit(found: dict[str, Any]) -> None:
        for row in found[path]:
            row.update(values)

    return edit


def steps(**parts: float) -> Edit:
    """Sets medians and largest values of the constants of every step."""

    def edit(found: dict[str, Any]) -> None:
        for run in found["runs"]:
            for row in run["rows"]:
                for name, value in parts.items():
                    if name in row and row[name] is not None:
                        row[name] = {**row[name], "median": value, "max": value}

    return edit


def broken(key: str, share: float) -> Edit:
    def edit(found: dict[str, Any]) -> None:
        for run in found["runs"]:
            for row in run["rows"]:
                row["violations"][key] = share

    return edit


def peaks(*values: float) -> Edit:
    def edit(found: dict[str, Any]) -> None:
        for run, value in zip(found["runs"], values, strict=True):
            for row in run["rows"]:
                row["step"] = {**row["step"], "max": value}

    return edit


def relaxing(gamma: float, step: float, frozen: float) -> Edit:
    def edit(found: dict[str, Any]) -> None:
        steps(step=step, frozen=frozen)(found)
        for run in found["runs"]:
            for row in run["rows"]:
                row["gamma"] = gamma

    return edit


def table(**values: Any) -> Edit:
    """Changes the rows of the tables of the coefficient chapter."""

    def edit(found: dict[str, Any]) -> None:
        for rows in found["tables"].values():
            for row in rows:
                for key, value in values.items():
                    row[key] = {**row[key], **value} if isinstance(value, dict) else value

    return edit


def energies(base: float, relaxed: float) -> Edit:
    """Energy, variance and every band at the end."""

    def edit(found: dict[str, Any]) -> None:
        for part in found["tables"].values():
            for kind, value in (("base", base), ("relaxed", relaxed)):
                part[kind]["energy"][-1] = {"value": value, "low": value, "high": value}
                part[kind]["variance"][-1] = value
                part[kind]["spectrum"] = [value] * len(part[kind]["spectrum"])

    return edit


def law(*shares: float) -> Edit:
    """The two-level law's error over the one-level law's, step by step."""

    def edit(found: dict[str, Any]) -> None:
        rows = [row for row in found["law"] if row["rms"]["two_levels"] is not None]
        for k, row in enumerate(rows):
            row["rms"]["two_levels"] = shares[k % len(shares)] * row["rms"]["one_level"]

    return edit


def path(base: list[float], relaxed: list[float]) -> Edit:
    def edit(found: dict[str, Any]) -> None:
        for kind, values in (("base", base), ("relaxed", relaxed)):
            found["errors"][kind] = [{"value": v, "low": v, "high": v} for v in values]

    return edit


def propagation(*relaxed: float) -> Edit:
    def edit(found: dict[str, Any]) -> None:
        for kind, values in (("base", [1.0] * 4), ("relaxed", relaxed), ("flow", [1.0] * 4)):
            found["propagation"][kind] = [
                {"low": v, "median": v, "high": v, "max": v} for v in values
            ]

    return edit


def collapse(base: float, relaxed: float, covered: int = 3, kl: float = 0.1) -> Edit:
    def edit(found: dict[str, Any]) -> None:
        found["fine"]["within"] = 1.0
        for row in found["rows"]:
            row["base"] |= {"within": base, "covered": covered, "modes": 3, "kl": 0.1}
            row["relaxed"] |= {"within": relaxed, "covered": covered, "modes": 3, "kl": kl}

    return edit


def one_row(found: dict[str, Any]) -> None:
    """Relaxing helps at the first number of steps alone."""
    collapse(0.5, 0.4)(found)
    found["rows"][0]["relaxed"]["within"] = 0.6


def plane(within: float, rmse: float) -> Edit:
    def edit(found: dict[str, Any]) -> None:
        found["within"] = {"base": 0.5, "relaxed": within, "exact": 1.0}
        found["rmse"] = {"base": 0.5, "relaxed": rmse}

    return edit


def skips(edm: float, stein: float) -> Edit:
    def edit(found: dict[str, Any]) -> None:
        for row in found["levels"]:
            row["choices"]["edm"]["skip"], row["choices"]["stein"]["skip"] = edm, stein

    return edit


def outs(edm: float, noise: float) -> Edit:
    def edit(found: dict[str, Any]) -> None:
        for row in found["levels"]:
            row["choices"]["edm"]["out"], row["choices"]["vp"]["out"] = edm, noise

    return edit


def ratios(value: float, width: float = 0.001) -> Edit:
    def edit(found: dict[str, Any]) -> None:
        levels("trace", 0.5)(found)
        levels("ratio", value, width)(found)

    return edit


def spreads(measured: float) -> Edit:
    def edit(found: dict[str, Any]) -> None:
        for study in found["study"]:
            study["measured"] = [measured * value for value in study["predicted"]]

    return edit


def asymmetry(value: float, size: float = 1.0) -> Edit:
    def edit(found: dict[str, Any]) -> None:
        levels("frobenius", size)(found)
        each("levels", {"asymmetry": {"low": value, "median": value, "high": value, "max": value}})(
            found
        )

    return edit


def variance(found: dict[str, Any]) -> None:
    """EDM's c_skip not that of one Gaussian."""
    for k, row in enumerate(found["levels"]):
        row["variance"]["edm"] = 1.0 + k


def bound(share: float) -> Edit:
    def edit(found: dict[str, Any]) -> None:
        for row in found["discrepancies"]:
            row["error"] = share * row["bound"]

    return edit


RULES = {"energy": 0.9, "published, 5 probes": 5.0, "oracle": 0.8}
WORSE = {"energy": 1.1, "published, 5 probes": 5.0, "oracle": 0.8}
USEFUL = {"energy": 0.9, "published, 5 probes": 0.5, "oracle": 0.4}
CHANGES: list[tuple[str, str, Edit, Outcome]] = [
    ("contractivity", "trap", peaks(4.0, 3.0, 2.0), HOLDS),
    ("contractivity", "trap", peaks(3.0, 4.0, 2.0), CONDITIONS),
    ("contractivity", "trap", peaks(0.9, 0.8, 0.7), FAILS),
    ("contractivity", "exact flow", steps(step=2.0, flow=1.0), HOLDS),
    ("contractivity", "exact flow", steps(step=1.0, flow=1.0), FAILS),
    ("contractivity", "h being the step", broken("published", 0.5), CONDITIONS),
    ("contractivity", "log-SNR", broken("literal", 0.0), HOLDS),
    ("contractivity", "own weights", broken("own", 0.5), FAILS),
    ("contractivity", "makes expansive", relaxing(0.9, 2.0, 0.9), HOLDS),
    ("contractivity", "makes expansive", relaxing(0.9, 2.0, 1.9), FAILS),
    ("contractivity", "makes expansive", relaxing(0.9, 0.9, 0.9), UNDECIDED),
    ("identity", "κ =", levels("kappa", 1.0), HOLDS),
    ("identity", "κ =", levels("kappa", 1.1), FAILS),
    ("identity", "κ =", levels("kappa", 1.0, 0.5), UNDECIDED),
    ("identity", "second order", levels("second_order", 0.1, share=0.3), CONDITIONS),
    ("identity", "second order", levels("second_order", 0.1), FAILS),
    ("identity", "free Stein ratio", ratios(0.5), HOLDS),
    ("identity", "free Stein ratio", ratios(0.58), CONDITIONS),
    ("identity", "free Stein ratio", ratios(0.8), FAILS),
    ("identity", "free Stein ratio", ratios(0.5, 0.5), FAILS),
    ("identity", "free Stein ratio", levels("trace", 0.0), UNDECIDED),
    ("identity", "Hutchinson", spreads(1.0), HOLDS),
    ("identity", "Hutchinson", spreads(2.0), CONDITIONS),
    ("identity", "gradient", asymmetry(0.01), HOLDS),
    ("identity", "gradient", asymmetry(0.1), CONDITIONS),
    ("identity", "gradient", asymmetry(0.5), FAILS),
    ("identity", "gradient", asymmetry(0.5, 0.0), UNDECIDED),
    ("coefficient", "residual u", table(cosine={"median": 0.9}), CONDITIONS),
    ("coefficient", "residual u", table(cosine={"median": 0.5}), FAILS),
    ("coefficient", "published", table(error=USEFUL), HOLDS),
    ("coefficient", "published", table(error=RULES), FAILS),
    ("coefficient", "brings a step nearer", table(error=RULES), HOLDS),
    ("coefficient", "brings a step nearer", table(error=WORSE), FAILS),
    ("coefficient", "Error decay", table(identity=0.1), FAILS),
    ("coefficient", "bounded", bound(0.9), HOLDS),
    ("coefficient", "bounded", bound(1.1), FAILS),
    ("decay", "decays from step", path([4, 3, 2, 1], [4, 3, 2, 1]), HOLDS),
    ("decay", "decays from step", path([1, 2, 3, 4], [1, 2, 1, 4]), CONDITIONS),
    ("decay", "decays from step", path([1, 2, 3, 4], [1, 2, 3, 4]), FAILS),
    ("decay", "at the end", each("ratios", {"value": 0.9, "low": 0.8, "high": 0.95}), HOLDS),
    ("decay", "at the end", each("ratios", {"value": 1.0, "low": 0.9, "high": 1.1}), UNDECIDED),
    ("decay", "at the end", each("ratios", {"value": 1.2, "low": 1.1, "high": 1.3}), FAILS),
    ("decay", "damps", propagation(0.9, 0.9, 0.9, 1.0), HOLDS),
    ("decay", "damps", propagation(0.9, 1.1, 1.1, 1.0), CONDITIONS),
    ("decay", "damps", propagation(1.1, 1.1, 1.1, 1.0), FAILS),
    ("preconditioning", "are Stein ratios", variance, FAILS),
    ("preconditioning", "data's own", skips(0.5, 0.5), HOLDS),
    ("preconditioning", "data's own", skips(0.5, 0.45), CONDITIONS),
    ("preconditioning", "data's own", skips(0.5, 0.1), FAILS),
    ("preconditioning", "data's own", skips(0.5, -0.1), FAILS),
    ("preconditioning", "stable", outs(0.5, 80.0), CONDITIONS),
    ("preconditioning", "stable", outs(0.5, 0.5), FAILS),
    ("energy", "lose energy", energies(0.5, 0.9), HOLDS),
    ("energy", "lose energy", energies(1.1, 1.1), CONDITIONS),
    ("energy", "two levels", law(0.5), HOLDS),
    ("energy", "two levels", law(0.5, 2.0), CONDITIONS),
    ("energy", "two levels", law(2.0), FAILS),
    ("energy", "restores the energy", energies(0.5, 0.95), HOLDS),
    ("energy", "restores the energy", energies(0.5, 0.7), CONDITIONS),
    ("energy", "restores the energy", energies(0.5, 0.55), FAILS),
    ("energy", "every band", energies(0.5, 0.95), HOLDS),
    ("energy", "every band", energies(0.5, 0.7), CONDITIONS),
    ("energy", "every band", energies(0.5, 0.45), FAILS),
    ("modes", "collapse modes", collapse(0.5, 0.5, covered=2), HOLDS),
    ("modes", "collapse modes", collapse(0.5, 0.5), CONDITIONS),
    ("modes", "collapse modes", collapse(1.0, 1.0), FAILS),
    ("modes", "less collapse", collapse(0.5, 0.6), HOLDS),
    ("modes", "less collapse", one_row, CONDITIONS),
    ("modes", "less collapse", collapse(0.5, 0.4), FAILS),
    ("plane", "plane", plane(0.6, 0.4), HOLDS),
    ("plane", "plane", plane(0.4, 0.4), CONDITIONS),
    ("plane", "plane", plane(0.4, 0.6), FAILS),
]


@pytest.mark.parametrize(
    ("chapter", "part", "edit", "outcome"),
    [pytest.param(*case, id=f"{case[1]}-{case[3].name}-{k}") for k, case in enumerate(CHANGES)],
)
def test_numbers_decide(
    euler: dict[str, dict[str, Any]], chapter: str, part: str, edit: Edit, outcome: Outcome
) -> None:
    found = copy.deepcopy(euler[chapter])
    edit(found)
    verdict = judged(found, chapter, part)
    assert verdict.outcome is outcome, verdict.found
