"""The names that tables and figures show for solvers, schedules, coefficients and cells."""

from __future__ import annotations

from pathlib import Path

from .results import BASE, PRODUCT, CellRecord

SOLVERS = {
    "euler": "Euler / DDIM",
    "heun": "Heun",
    "dpmpp_2m": "DPM++ 2M",
    "dpmpp_3m": "DPM++ 3M",
    "ipndm": "iPNDM",
    "deis": "DEIS",
    "unipc": "UniPC",
    "res_multistep": "RES multistep",
    "res_2s": "RES 2S",
    "gradient_estimation": "gradient est.",
    "power": "power multistep",
    "recipe": "Recipe: steps=N",
}
SCHEDULES = {
    "karras": "EDM (ρ=7)",
    "log_snr": "log-SNR",
    "linear": "linear",
    "vp_time": "VP time",
    "flow_shift": "flow",
    "kl_optimal": "KL-optimal",
    "simple": "simple (flow)",
    "sgm_uniform": "sgm_uniform (flow)",
    "beta": "Beta (flow)",
    "linear_quadratic": "linear-quadratic (flow)",
    "bong_tangent": "bong_tangent (flow)",
    "recipe": "the recipe's",
}
COEFFICIENTS = {
    BASE: "base",
    PRODUCT: "SteinDiff",
    "constant": "best constant γ",
    "one": "γ = 1",
    "random": "random γ",
    "oracle": "oracle γ",
    "end": "the end alone",
    "tsr": "TSR",
    "epsilon_scaling": "ε / 1.005",
    "more_noise": "noise × 1.01",
    "published": "published γ",
}


def solver_title(spec: str) -> str:
    """The display name of a solver: "ipndm:order=3,lower_order_final=true" -> "iPNDM-3, l.o.f."."""
    name, _, options = spec.partition(":")
    shown = SOLVERS.get(name, name)
    if name == "calibrated":  # the text goes on with the path of a file
        return f"{name} ({Path(options).stem})"
    for option in filter(None, options.split(",")):
        key, _, value = option.rpartition("=")
        if key == "lower_order_final":
            shown += ", l.o.f." if value == "true" else ", no l.o.f."
        else:
            shown += f"-{value}"
    return shown


def schedule_title(schedule: str) -> str:
    """The display name of a schedule."""
    return SCHEDULES.get(schedule, schedule)


def coefficient_title(coefficient: str) -> str:
    """The display name of a coefficient, a control, or the base."""
    return COEFFICIENTS.get(coefficient, coefficient)


def cell_title(cell: CellRecord) -> str:
    """ "iPNDM-3, 5 NFE, EDM (ρ=7), fashion-mnist, guidance 1"."""
    return (
        f"{solver_title(cell.solver)}, {cell.nfe} NFE, {schedule_title(cell.schedule)}, "
        f"{cell.model}, guidance {cell.guidance:g}"
    )
