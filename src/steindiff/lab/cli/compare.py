"""Does `steindiff compare`: base beside relaxed beside the fine solution, from the same noise."""

from __future__ import annotations

from ...composition import AUTO
from ..bench.grid import LEAST, RECIPE
from ..comparison import ComparisonSetting, draw, grid_of
from ..devices import check_device
from ..specs import parse_solver
from . import bench
from .commands.compare import SOLVERS, Compared, Measuring, Results
from .method import note_alias
from .models import model_of
from .options import STEPS, AnyModel, Device, check_output
from .show import check_format, remark


def compare(
    results: Results, network: AnyModel, compared: Compared, measuring: Measuring, device: Device
) -> None:
    """Measures, draws, and shows the figures."""
    check_format(results.format)
    if measuring.samples is not None and measuring.samples < LEAST:
        raise ValueError(f"--samples is {measuring.samples}; at least {LEAST} are needed")
    solvers = compared.solver or SOLVERS
    setting = ComparisonSetting(
        nfe=_nfe(compared, solvers),
        solvers=solvers,
        coefficient=compared.coefficient or AUTO,
        end=compared.end,
        schedules=compared.schedule or ["karras"],
        final=compared.final,
        sigma_min=compared.sigma_min,
        sigma_max=compared.sigma_max,
        samples=measuring.samples,
        first_seed=measuring.first_seed,
        resamples=measuring.resamples,
    )
    place = str(check_device(device.device))
    subject = model_of(network, place)
    if subject.note:
        remark(subject.note, results.format)
    grid = grid_of(subject, setting)
    check_output(results.out / "compare.png", overwrite=True)
    bench.run(grid, results.out, None, place, results.overwrite, results.format)
    picture = draw(results.out, grid, subject)
    shown = f"picture: {picture}" if picture else "no picture: the samples are no images"
    remark(shown, results.format)


def _nfe(compared: Compared, solvers: list[str]) -> list[int]:
    """The numbers of model calls, from --nfe or from --steps where a step is one call.

    Raises:
        ValueError: both are given, or --steps with a solver whose steps are more calls.
    """
    if not compared.steps:
        return compared.nfe or [STEPS]
    given = ", ".join(map(str, compared.steps))
    if compared.nfe:
        raise ValueError(f"--nfe and --steps ({given}) are both given; --nfe is enough")
    for solver in solvers:
        calls = 1 if solver == RECIPE else parse_solver(solver).calls_per_step
        if calls != 1:
            raise ValueError(
                f"--steps is {given}, but a step of {solver} is {calls} model calls, and solvers "
                f"are compared at equal calls: pass --nfe"
            )
    for steps in compared.steps:
        note_alias("--nfe", "--steps", steps)
    return compared.steps
