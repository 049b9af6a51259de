"""Verdicts can come out either way: on denoisers whose truth is known, and on changed numbers."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from steindiff.denoisers import Gaussian, GaussianMixture
from steindiff.lab.theory import CHAPTERS, Diagnosis, Grade, Verdict
from steindiff.lab.theory.chapters.coefficient import PUBLISHED

Make = Callable[..., Diagnosis]
Edit = Callable[[dict[str, Any]], object]
HOLDS, CONDITIONS, FAILS = Grade.HOLDS, Grade.CONDITIONS, Grade.FAILS
UNDECIDED = Grade.UNDECIDED
MANY = {"samples": 200, "levels": 5, "probes": 8, "study": 32, "pairs": 200, "fine_steps": 48}
GAUSSIAN = {"denoiser": Gaussian(variance=0.25, shape=(48,)), "shape": (48,), "modes": None}


def measured(diagnosis: Diagnosis, chapter: str) -> dict[str, Any]:
    return CHAPTERS[chapter].measure(diagnosis, lambda text: None)


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
    ("chapter", "part", "grade"),
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
    euler: dict[str, dict[str, Any]], chapter: str, part: str, grade: Grade
) -> None:
    verdict = judged(euler[chapter], chapter, part)
    assert verdict.grade is grade, verdict.found


def test_extrapolation_breaks_the_bound_of_first_order(make: Make) -> None:
    found = measured(make(solver="dpmpp_2m", steps=6), "contractivity")
    assert judged(found, "contractivity", "h being the step of 1/σ").grade is CONDITIONS
    assert judged(found, "contractivity", "own weights").grade is HOLDS
    assert judged(measured(make(solver="heun"), "contractivity"), "contractivity", "own").grade is (
        UNDECIDED
    )


def test_of_an_isotropic_gaussian(make: Make) -> None:
    """kappa and the ratio hold, and EDM's c_skip is its Stein ratio."""
    setting = make(**GAUSSIAN, exact=None, sizes=MANY)
    identity = measured(setting, "identity")
    for part in ("κ =", "second order", "free Stein ratio"):
        assert judged(identity, "identity", part).grade is HOLDS
    assert judged(measured(setting, "preconditioning"), "preconditioning", "own").grade is HOLDS
    assert judged(measured(setting, "modes"), "modes", "collapse modes").grade is UNDECIDED


def test_numbers_of_an_isotropic_gaussian(make: Make) -> None:
    """Its Jacobian is c = v/(v + σ²) times the identity: Euler's is r + (1 − r)c."""
    setting = make(**GAUSSIAN, exact=None, solver="euler", sizes={"samples": 24})
    found = {name: measured(setting, name) for name in ("contractivity", "identity")}
    for row in found["contractivity"]["denoiser"]:
        assert row["constant"]["median"] == pytest.approx(shrinkage(row["sigma"]), rel=1e-5)
    for run in found["contractivity"]["runs"]:
        for row in run["rows"]:
            ratio = row["sigma_next"] / row["sigma"]
            exact = ratio + (1 - ratio) * shrinkage(row["sigma"])
            gamma = 1 + row["gamma"] * (exact - 1)
            assert row["step"]["median"] == pytest.approx(exact, rel=1e-4)
            assert row["own"]["median"] == pytest.approx(exact, rel=1e-4)
            assert row["published"]["median"] == pytest.approx(exact, rel=1e-4)
            assert row["frozen"]["median"] == pytest.approx(gamma, rel=1e-3)
            if "flow" in row:
                last, first = ((0.25 + row[key] ** 2) ** 0.5 for key in ("sigma_next", "sigma"))
                assert row["flow"]["median"] == pytest.approx(last / first, rel=0.15)
    for row in found["identity"]["levels"]:
        exact = shrinkage(row["sigma"])
        assert row["trace"]["value"] == pytest.approx(exact, rel=1e-5)
        assert row["ratio"]["value"] == pytest.approx(exact, rel=1e-2, abs=1e-4)
        assert row["frobenius"]["value"] == pytest.approx(exact**2, rel=1e-4, abs=1e-9)
        assert row["asymmetry"]["max"] < 1e-6
    for row in found["identity"]["dimensions"]:
        assert row["measured"] == pytest.approx(row["closed"], rel=0.6)  # of 8 probes


def shrinkage(sigma: float) -> float:
    """c of a Gaussian of variance 1/4."""
    return 0.25 / (0.25 + sigma**2)


def test_of_an_anisotropic_gaussian(make: Make) -> None:
    """Data near a plane: their Stein ratio is not EDM's c_skip."""
    variance = torch.tensor([1.0] * 4 + [1e-4] * 44)
    options = {**GAUSSIAN, "denoiser": Gaussian(variance=variance)}
    found = measured(make(**options, exact=None, sizes=MANY), "preconditioning")
    assert judged(found, "preconditioning", "data's own").grade is FAILS


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
    for part in ("κ =", "second order"):
        assert judged(right, "identity", part).grade is HOLDS
        verdict = judged(wrong, "identity", part)
        assert verdict.grade is not HOLDS
        assert "Outside" in verdict.found
        assert verdict.found.endswith("0.01.")
    assert judged(right, "identity", "gradient").grade is HOLDS
    assert judged(asymmetric, "identity", "gradient").grade is FAILS


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


def law(*shares: float, along: str = "law") -> Edit:
    """The two-level law's error over the one-level law's, step by step."""

    def edit(found: dict[str, Any]) -> None:
        rows = [row for row in found[along] if row["rms"]["two_levels"] is not None]
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


def first(path: str, edit: Edit, other: Edit) -> Edit:
    """One edit, but another for the first row of the list at a path with dots."""

    def both(found: dict[str, Any]) -> None:
        changed = copy.deepcopy(found)
        other(changed)
        edit(found)
        *outer, last = path.split(".")
        place, source = found, changed
        for key in outer:
            index: Any = int(key) if key.isdecimal() else key
            place, source = place[index], source[index]
        place[last][0] = source[last][0]

    return both


def modes_lost(found: dict[str, Any]) -> None:
    """A mode missed at one number of steps, no variance lost."""
    collapse(1.0, 1.0)(found)
    found["rows"][-1]["base"]["covered"] = 2


def no_modes(found: dict[str, Any]) -> None:
    found.update(what=None, rows=[])


def many_steps(found: dict[str, Any]) -> None:
    """Only the sampling of 20 steps has one that expands."""
    peaks(1.0, 1.0, 5.0)(found)
    found["runs"][-1]["steps"] = 20


def one_step(key: str, value: float) -> Edit:
    """A share of violations in a single step of all."""

    def edit(found: dict[str, Any]) -> None:
        broken(key, 0.0)(found)
        found["runs"][0]["rows"][0]["violations"][key] = value

    return edit


def several_evaluations(found: dict[str, Any]) -> None:
    """As of Heun: no weights of one's own."""
    for run in found["runs"]:
        for row in run["rows"]:
            row["own"] = row["violations"]["own"] = None


def only_variance(found: dict[str, Any]) -> None:
    """Less energy than the fine solution, but more variance."""
    energies(0.5, 0.9)(found)
    for part in found["tables"].values():
        part["base"]["variance"][-1] = 1.01


def perhaps(found: dict[str, Any]) -> None:
    """Energy below the fine solution's, but with an interval that reaches above."""
    energies(0.9, 0.95)(found)
    for part in found["tables"].values():
        part["base"]["energy"][-1]["high"] = 1.01


def below_one(found: dict[str, Any]) -> None:
    """A published γ that its clamp leaves, though it does harm unclamped elsewhere."""
    table(error=RULES)(found)
    for rows in found["tables"].values():
        for row in rows:
            row["gamma"][PUBLISHED]["median"] = 1.0


def small_at_first(found: dict[str, Any]) -> None:
    """A skew Jacobian where there is next to none."""
    asymmetry(0.01)(found)
    found["levels"][0]["frobenius"]["value"] = 0.0
    found["levels"][0]["asymmetry"] = {"low": 1.0, "median": 1.0, "high": 1.0, "max": 1.0}


def unseen(found: dict[str, Any]) -> None:
    """A Stein ratio far off where EDM's is below what is looked at."""
    skips(0.5, 0.5)(found)
    found["levels"][0]["choices"]["edm"]["skip"] = 0.009


def one_solver(found: dict[str, Any]) -> None:
    """Restored by one solver, by another not."""
    energies(0.5, 0.95)(found)
    found["tables"]["other"] = copy.deepcopy(found["tables"]["euler"])
    for kind in ("energy", "spectrum"):
        found["tables"]["other"]["relaxed"][kind] = found["tables"]["other"]["base"][kind]


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


def one_variance(found: dict[str, Any]) -> None:
    for row in found["levels"]:
        row["variance"]["edm"] = 1.0


def variance(found: dict[str, Any]) -> None:
    """EDM's c_skip not that of one Gaussian."""
    for k, row in enumerate(found["levels"]):
        row["variance"]["edm"] = 1.0 + k


def bound(share: float) -> Edit:
    def edit(found: dict[str, Any]) -> None:
        for row in found["discrepancies"]:
            row["error"] = share * row["bound"]

    return edit


RULES = {"energy": 0.9, PUBLISHED: 5.0, "oracle": 0.8}
WORSE = {"energy": 1.1, PUBLISHED: 5.0, "oracle": 0.8}
USEFUL = {"energy": 0.9, PUBLISHED: 0.99, "oracle": 0.4}
MUCH_WORSE = {"energy": 9.0, PUBLISHED: 5.0, "oracle": 0.8}
OUTSIDE, INSIDE = levels("kappa", 1.022), levels("kappa", 1.02)
CHANGES: list[tuple[str, str, Edit, Grade]] = [
    ("contractivity", "trap", peaks(4.0, 3.0, 1.01), HOLDS),
    ("contractivity", "trap", peaks(3.0, 4.0, 2.0), CONDITIONS),
    ("contractivity", "trap", peaks(4.0, 3.0, 1.0), CONDITIONS),
    ("contractivity", "trap", peaks(1.0, 1.0, 1.0), FAILS),
    ("contractivity", "trap", many_steps, FAILS),
    ("contractivity", "exact flow", steps(step=1.03, flow=1.0), HOLDS),
    ("contractivity", "exact flow", steps(step=1.01, flow=1.0), FAILS),
    (
        "contractivity", "exact flow",
        first("runs.1.rows", steps(step=1.01, flow=1.0), steps(step=1.03, flow=1.0)), CONDITIONS,
    ),
    ("contractivity", "h being the step", broken("published", 0.0), HOLDS),
    ("contractivity", "h being the step", one_step("published", 0.3), CONDITIONS),
    ("contractivity", "log-SNR", broken("literal", 0.0), HOLDS),
    ("contractivity", "log-SNR", one_step("literal", 0.3), FAILS),
    ("contractivity", "own weights", broken("own", 0.0), HOLDS),
    ("contractivity", "own weights", one_step("own", 0.3), FAILS),
    ("contractivity", "own weights", several_evaluations, UNDECIDED),
    ("contractivity", "makes expansive", relaxing(0.9, 1.1, 1.0), HOLDS),
    ("contractivity", "makes expansive", relaxing(0.9, 1.1, 1.01), FAILS),
    (
        "contractivity", "makes expansive",
        first("runs.0.rows", relaxing(0.9, 1.1, 1.0), relaxing(0.9, 1.1, 1.01)), FAILS,
    ),
    ("contractivity", "makes expansive", relaxing(0.9, 1.0, 0.9), UNDECIDED),
    ("contractivity", "makes expansive", relaxing(1.0, 2.0, 2.0), UNDECIDED),
    ("identity", "κ =", INSIDE, HOLDS),
    ("identity", "κ =", levels("kappa", 0.98), HOLDS),
    ("identity", "κ =", OUTSIDE, FAILS),
    ("identity", "κ =", levels("kappa", 0.978), FAILS),
    ("identity", "κ =", first("levels", INSIDE, OUTSIDE), CONDITIONS),
    ("identity", "κ =", first("levels", INSIDE, levels("kappa", 1.0, 0.021)), CONDITIONS),
    ("identity", "κ =", levels("kappa", 1.0, 0.021), UNDECIDED),
    ("identity", "second order", levels("second_order", 0.02), HOLDS),
    ("identity", "second order", levels("second_order", 0.1, share=0.3), CONDITIONS),
    ("identity", "second order", levels("second_order", -0.022), FAILS),
    ("identity", "second order", levels("second_order", 0.0, 0.021), UNDECIDED),
    ("identity", "free Stein ratio", ratios(0.54), HOLDS),
    ("identity", "free Stein ratio", ratios(0.46), HOLDS),
    ("identity", "free Stein ratio", ratios(0.56), CONDITIONS),
    ("identity", "free Stein ratio", first("levels", ratios(0.5), ratios(0.5, 0.2)), CONDITIONS),
    ("identity", "free Stein ratio", ratios(0.63), FAILS),
    ("identity", "free Stein ratio", ratios(0.37), FAILS),
    ("identity", "free Stein ratio", ratios(0.5, 0.13), FAILS),
    ("identity", "free Stein ratio", levels("trace", 0.01), UNDECIDED),
    ("identity", "Hutchinson", spreads(1.14), HOLDS),
    ("identity", "Hutchinson", spreads(1.16), CONDITIONS),
    ("identity", "Hutchinson", spreads(0.84), CONDITIONS),
    ("identity", "gradient", asymmetry(0.019), HOLDS),
    ("identity", "gradient", small_at_first, HOLDS),
    ("identity", "gradient", first("levels", asymmetry(0.019), asymmetry(0.021)), CONDITIONS),
    ("identity", "gradient", first("levels", asymmetry(0.019), asymmetry(0.21)), FAILS),
    ("identity", "gradient", asymmetry(0.5, 0.002), UNDECIDED),
    ("coefficient", "residual u", table(cosine={"median": 0.9991}), HOLDS),
    ("coefficient", "residual u", table(cosine={"median": 0.9989}), CONDITIONS),
    (
        "coefficient", "residual u",
        first("tables.euler", table(cosine={"median": 1.0}), table(cosine={"median": 0.79})), FAILS,
    ),
    ("coefficient", "published", table(error=USEFUL), HOLDS),
    ("coefficient", "published", below_one, HOLDS),
    ("coefficient", "published", table(error=RULES), FAILS),
    ("coefficient", "published", first("tables.euler", below_one, table(error=RULES)), FAILS),
    ("coefficient", "brings a step nearer", table(error=RULES), HOLDS),
    (
        "coefficient", "brings a step nearer",
        first("tables.euler", table(error=RULES), table(error=WORSE)), CONDITIONS,
    ),
    (
        "coefficient", "brings a step nearer",
        first("tables.euler", table(error=RULES), table(error=MUCH_WORSE)), CONDITIONS,
    ),
    ("coefficient", "brings a step nearer", table(error=WORSE), FAILS),
    ("coefficient", "Error decay", table(identity=1e-4), CONDITIONS),
    ("coefficient", "Error decay", table(identity=0.1), FAILS),
    (
        "coefficient", "Error decay",
        first("tables.euler", table(identity=1e-4), table(identity=0.1)), FAILS,
    ),
    ("coefficient", "bounded", bound(0.99), HOLDS),
    ("coefficient", "bounded", bound(1.01), FAILS),
    ("decay", "decays from step", path([4, 3, 2, 1], [4, 3, 2, 1]), HOLDS),
    ("decay", "decays from step", path([1, 2, 3, 4], [1, 2, 1, 4]), CONDITIONS),
    ("decay", "decays from step", path([1, 2, 1, 4], [1, 2, 1, 4]), FAILS),
    ("decay", "decays from step", path([4, 3, 2, 3], [4, 3, 2, 3]), FAILS),
    ("decay", "at the end", each("ratios", {"value": 0.9, "low": 0.8, "high": 0.99}), HOLDS),
    ("decay", "at the end", each("ratios", {"value": 1.0, "low": 0.99, "high": 1.01}), UNDECIDED),
    ("decay", "at the end", each("ratios", {"value": 0.9, "low": 0.8, "high": 1.01}), UNDECIDED),
    ("decay", "at the end", each("ratios", {"value": 1.1, "low": 0.99, "high": 1.2}), UNDECIDED),
    ("decay", "at the end", each("ratios", {"value": 1.2, "low": 1.01, "high": 1.3}), FAILS),
    ("decay", "damps", propagation(0.99, 0.99, 0.99, 1.0), HOLDS),
    ("decay", "damps", propagation(1.1, 0.99, 1.1, 1.0), CONDITIONS),
    ("decay", "damps", propagation(1.0, 1.0, 1.0, 1.0), FAILS),
    ("preconditioning", "are Stein ratios", one_variance, CONDITIONS),
    ("preconditioning", "are Stein ratios", variance, FAILS),
    ("preconditioning", "data's own", skips(0.5, 0.52), HOLDS),
    ("preconditioning", "data's own", skips(0.5, 0.48), HOLDS),
    ("preconditioning", "data's own", unseen, HOLDS),
    ("preconditioning", "data's own", skips(0.5, 0.53), CONDITIONS),
    ("preconditioning", "data's own", skips(0.5, 0.47), CONDITIONS),
    ("preconditioning", "data's own", first("levels", skips(0.5, 0.5), skips(0.5, 0.63)), FAILS),
    ("preconditioning", "data's own", skips(0.5, 0.39), FAILS),
    ("preconditioning", "data's own", skips(0.5, -0.1), FAILS),
    ("preconditioning", "stable", outs(0.49, 1.0), CONDITIONS),
    ("preconditioning", "stable", outs(0.51, 1.0), FAILS),
    ("energy", "lose energy", energies(0.99, 0.9), HOLDS),
    ("energy", "lose energy", energies(1.01, 1.1), CONDITIONS),
    ("energy", "lose energy", only_variance, CONDITIONS),
    ("energy", "lose energy", perhaps, CONDITIONS),
    ("energy", "two levels", law(0.99), HOLDS),
    ("energy", "two levels", law(0.5, 2.0), CONDITIONS),
    ("energy", "two levels", law(1.01), FAILS),
    ("energy", "of one level", law(1.01, along="coarse"), HOLDS),
    ("energy", "of one level", law(0.5, 2.0, along="coarse"), CONDITIONS),
    ("energy", "of one level", law(0.99, along="coarse"), FAILS),
    ("energy", "restores the energy", energies(0.5, 0.91), HOLDS),
    ("energy", "restores the energy", energies(1.5, 1.09), HOLDS),
    ("energy", "restores the energy", energies(0.5, 0.89), CONDITIONS),
    ("energy", "restores the energy", one_solver, CONDITIONS),
    ("energy", "restores the energy", energies(0.5, 0.62), FAILS),
    ("energy", "restores the energy", energies(0.5, 1.5), FAILS),
    ("energy", "every band", energies(0.5, 0.91), HOLDS),
    ("energy", "every band", energies(0.5, 0.89), CONDITIONS),
    ("energy", "every band", one_solver, CONDITIONS),
    ("energy", "every band", energies(0.5, 0.62), FAILS),
    ("modes", "collapse modes", collapse(0.97, 0.5, covered=2), HOLDS),
    ("modes", "collapse modes", collapse(0.97, 0.5), CONDITIONS),
    ("modes", "collapse modes", modes_lost, CONDITIONS),
    (
        "modes", "collapse modes",
        first("rows", collapse(0.97, 1.0, covered=2), collapse(0.99, 1.0, covered=2)), CONDITIONS,
    ),
    ("modes", "collapse modes", collapse(0.99, 1.0), FAILS),
    ("modes", "collapse modes", no_modes, UNDECIDED),
    ("modes", "less collapse", collapse(0.5, 0.6), HOLDS),
    ("modes", "less collapse", collapse(1.5, 1.4), HOLDS),
    ("modes", "less collapse", first("rows", collapse(0.5, 0.4), collapse(0.5, 0.6)), CONDITIONS),
    ("modes", "less collapse", collapse(0.5, 1.6), FAILS),
]  # fmt: skip


@pytest.mark.parametrize(
    ("chapter", "part", "edit", "grade"),
    [pytest.param(*case, id=f"{case[1]}-{case[3].name}-{k}") for k, case in enumerate(CHANGES)],
)
def test_numbers_decide(
    euler: dict[str, dict[str, Any]], chapter: str, part: str, edit: Edit, grade: Grade
) -> None:
    found = copy.deepcopy(euler[chapter])
    edit(found)
    verdict = judged(found, chapter, part)
    assert verdict.grade is grade, verdict.found


def test_every_verdict_is_in_the_table(euler: dict[str, dict[str, Any]]) -> None:
    """With two grades or more, each reached by numbers alone."""
    reached: dict[tuple[str, str], set[Grade]] = {}
    for chapter, part, _, grade in CHANGES:
        statement = judged(euler[chapter], chapter, part).statement
        reached.setdefault((chapter, statement), set()).add(grade)
    every = [(name, v.statement) for name in CHAPTERS for v in CHAPTERS[name].judge(euler[name])]
    assert set(every) == set(reached)
    assert all(len(grades) > 1 for grades in reached.values())


def test_words_follow_the_numbers(euler: dict[str, dict[str, Any]]) -> None:
    """Figures in what a verdict says are those of the results."""

    def words(chapter: str, part: str, edit: Edit) -> str:
        found = copy.deepcopy(euler[chapter])
        edit(found)
        return judged(found, chapter, part).found

    assert "3 steps: 4, 4 steps: 3, 6 steps: 1.01" in words(
        "contractivity", "trap", peaks(4.0, 3.0, 1.01)
    )
    assert "Broken in 9 of 9 steps" in words(
        "contractivity", "h being the step", broken("published", 1.0)
    )
    assert "Of 9 relaxed steps 9 expand" in words(
        "contractivity", "makes expansive", relaxing(0.9, 2.0, 1.9)
    )
    assert "0 of 5 levels are known" in words("identity", "κ =", levels("kappa", 1.0, 0.5))
    assert "κ = 1.1 [1.1, 1.1]" in words("identity", "κ =", levels("kappa", 1.1))
    assert "0.900 with energy, 0.800 with the oracle; energy lowers it in 3 of 3" in words(
        "coefficient", "brings a step nearer", table(error=RULES)
    )
    assert "It falls in 0 of 3 steps without relaxing and in 1 with it" in words(
        "decay", "decays from step", path([1, 2, 3, 4], [1, 2, 1, 4])
    )
    assert "takes away 80%" in words("energy", "restores the energy", energies(0.5, 0.9))
    assert "Missed: 1 of 3 at 4 steps." in words("modes", "collapse modes", modes_lost)


# -- what a judge should do -----------------------------------------------------------------------


def test_an_identity_does_not_fail_by_rounding(make: Make) -> None:
    """E' = (1 − ρ)E is algebra: it holds for 20 steps as for 4."""
    found = measured(make(steps=20, sizes={"samples": 96, "fine_steps": 64}), "coefficient")
    assert judged(found, "coefficient", "Error decay").grade is CONDITIONS


def test_data_that_are_tiny_are_judged(make: Make, mixture: GaussianMixture) -> None:
    """Data of a thousandth of the scale that the levels are made for."""
    tiny = GaussianMixture(mixture.means / 1000, 1e-7)
    found = measured(make(denoiser=tiny, exact=tiny, modes=None), "preconditioning")
    assert judged(found, "preconditioning", "data's own").grade is UNDECIDED


def test_many_steps_alone_are_judged(make: Make) -> None:
    found = measured(make(steps=12, sizes={"counts": (11,), "dense": ()}), "contractivity")
    verdict = judged(found, "contractivity", "trap")
    assert verdict.grade is UNDECIDED
    assert "No sampling of 10 steps or fewer was looked at" in verdict.found


def test_published_coefficient_below_one_is_not_said_to_be_above(
    euler: dict[str, dict[str, Any]],
) -> None:
    found = copy.deepcopy(euler["coefficient"])
    below_one(found)
    assert "above 1 in 0 of 3 steps" in judged(found, "coefficient", "published").found
    assert "above 1 in every step" in judged(euler["coefficient"], "coefficient", "published").found


def test_a_level_that_is_broken_is_not_undecided(euler: dict[str, dict[str, Any]]) -> None:
    """Two levels of five outside for certain, all of them known to less than ± 0.02."""
    found = copy.deepcopy(euler["identity"])
    levels("kappa", 1.0, 0.5)(found)
    levels("kappa", 3.0, 0.5, share=0.4)(found)
    verdict = judged(found, "identity", "κ =")
    assert "Outside 1 ± 0.02 with the whole interval" in verdict.found
    assert verdict.grade is CONDITIONS
