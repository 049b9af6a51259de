"""What the commands declare: light to import, the same names everywhere, every default shown."""

from __future__ import annotations

import ast
import inspect
import json
import pkgutil
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, ClassVar, get_args, get_origin

import pytest
import typer
from command import Command
from forked import Forked
from typer.testing import CliRunner

import steindiff as sd
from steindiff.calibrated import SEED as CALIBRATION_SEED
from steindiff.lab import cli
from steindiff.lab.bench.grid import presets
from steindiff.lab.cli import LAB_PACKAGES, info, options
from steindiff.lab.cli.commands import app
from steindiff.lab.cli.commands import bench as bench_options
from steindiff.lab.cli.commands.grouping import grouped
from steindiff.lab.cli.installed import ADAPTERS
from steindiff.lab.cli.method import _default_method, calls_per_step, choose
from steindiff.lab.cli.show import legend, show, texts
from steindiff.lab.devices import check_device
from steindiff.tuning import SEED as TUNING_SEED

COMMANDS = [str(command.name) for command in app.registered_commands]
PROJECT = Path(__file__).parents[2]
HEAVY = ("torch", "numpy", "matplotlib", "jinja2", "PIL", "safetensors", "diffusers")


def python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A fresh interpreter."""
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)


def signature(name: str) -> dict[str, inspect.Parameter]:
    (command,) = [c for c in app.registered_commands if c.name == name]
    assert command.callback is not None
    return dict(inspect.signature(command.callback).parameters)


def option(parameter: inspect.Parameter) -> Any:
    return parameter.annotation.__metadata__[0]


# -- what is imported -----------------------------------------------------------------------------

MEASURED = f"""
import json, sys
from steindiff.lab.cli import main
for arguments in json.loads(sys.argv[1]):
    sys.argv = ["steindiff", *arguments]
    try:
        main()
    except SystemExit as end:
        code = end.code or 0
    loaded = [name for name in {HEAVY!r} if name in sys.modules]
    print("\\nmeasured " + json.dumps([arguments, code, loaded]))
"""
LIGHT = [
    ["--help"], ["--version"], ["info"], ["info", "--format", "csv"], ["sample", "--sedes"],
    *([name, "--help"] for name in COMMANDS),
]  # fmt: skip
IMPORTING = ["info", "schedules"]


@pytest.fixture(scope="module")
def answers() -> dict[str, tuple[int, list[str]]]:
    """Exit code and what was loaded after each command, one after the other in a new process."""
    done = python(MEASURED, json.dumps([*LIGHT, IMPORTING]))
    lines = [line for line in done.stdout.splitlines() if line.startswith("measured ")]
    assert len(lines) == len(LIGHT) + 1, done
    found = [json.loads(line.removeprefix("measured ")) for line in lines]
    return {" ".join(arguments): (code, loaded) for arguments, code, loaded in found}


@pytest.mark.parametrize("arguments", LIGHT, ids=" ".join)
def test_answers_without_torch(
    answers: dict[str, tuple[int, list[str]]], arguments: list[str]
) -> None:
    code, loaded = answers[" ".join(arguments)]
    assert code == (2 if "--sedes" in arguments else 0)
    assert loaded == []


def test_the_measure_sees_torch(answers: dict[str, tuple[int, list[str]]]) -> None:
    """Or the test above could not fail."""
    code, loaded = answers[" ".join(IMPORTING)]
    assert code == 0
    assert {"torch", "numpy"} <= set(loaded)


MODULES = sorted(
    module.name.removeprefix("steindiff.lab.cli.")
    for module in pkgutil.walk_packages(cli.__path__, "steindiff.lab.cli.")
    if not module.name.endswith("__main__")
)
POSIX = ("fcntl", "resource", "pwd")


@pytest.fixture(scope="module")
def forked() -> Iterator[Forked]:
    server = Forked()
    yield server
    server.close()


IMPORTED = """
import importlib, json, traceback
failed = {{}}
for name in {modules!r}:
    try:
        importlib.import_module(name)
    except Exception:
        failed[name] = traceback.format_exc()
print(json.dumps(failed))
"""


@pytest.fixture(scope="module")
def failed(forked: Forked) -> dict[str, str]:
    """What is said of modules that cannot be imported, by their names."""
    names = [f"steindiff.lab.cli.{module}" for module in MODULES]
    code = IMPORTED.format(modules=[*names, *POSIX])
    done = forked.run(code, path=PROJECT / "src", cwd=PROJECT, blocked=POSIX)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("module", MODULES)
def test_imports_without_what_windows_lacks(failed: dict[str, str], module: str) -> None:
    assert failed.get(f"steindiff.lab.cli.{module}") is None
    assert failed.keys() >= {*POSIX}  # or it could not fail


def test_the_laboratorys_packages_are_named_when_they_are_missing() -> None:
    for missing in ("typer", "rich"):
        block = f"import sys; sys.modules[{missing!r}] = None; sys.argv = ['steindiff', '--help']\n"
        done = python(f"{block}from steindiff.lab.cli import main; main()")
        assert done.returncode == 2
        assert done.stdout == ""
        (line,) = done.stderr.splitlines()
        assert line == (
            f"Error: {missing} is missing, which the commands need: pip install 'steindiff[lab]'"
        )


def test_a_bug_is_not_taken_for_a_missing_package() -> None:
    block = "import sys; sys.modules['steindiff.lab.cli.commands'] = None\n"
    done = python(f"{block}from steindiff.lab.cli import main; main()")
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_packages_of_the_extra() -> None:
    """`LAB_PACKAGES` are those of pyproject.toml, by the names that they are imported by."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    names = [re.split(r"[<>=~\[]", text)[0] for text in project["optional-dependencies"]["lab"]]
    assert sorted({"pillow": "PIL"}.get(name, name) for name in names) == sorted(LAB_PACKAGES)


def test_the_face_of_the_package() -> None:
    """Every public name is there, and the lazy table holds what type checkers read."""
    for name in sd.__all__:
        assert getattr(sd, name) is not None
    tree = ast.parse(Path(str(sd.__file__)).read_text())
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    read = {
        (node.module or "", alias.name)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    lazy = {(home, name) for home, names in sd._HOMES.items() for name in names}
    assert read == lazy | {("", part) for part in sd._PARTS}
    assert {name for _, name in read} | {"__version__"} == set(sd.__all__)
    with pytest.raises(AttributeError, match="no attribute 'sampel'"):
        _ = sd.sampel


def test_fitted_solvers_are_known_whatever_was_imported(forked: Forked) -> None:
    code = "from steindiff.solvers import resolve_solver; print(resolve_solver('prior'))"
    done = forked.run(code, path=PROJECT / "src", cwd=PROJECT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Shared(")


# -- names and defaults ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_every_default(name: str) -> None:
    result = CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "300", "NO_COLOR": "1"})
    assert result.exit_code == 0
    plain = re.sub(r"\x1b\[[0-9;]*m", "", result.output)
    for parameter in signature(name).values():
        if getattr(option(parameter), "hidden", False) or isinstance(
            option(parameter), type(typer.Argument())
        ):
            continue
        flag = "--" + parameter.name.replace("_", "-")
        (line,) = [line for line in plain.splitlines() if re.match(rf"│ [* ]*{flag} ", line)]
        required = parameter.default is inspect.Parameter.empty
        plain_flag = parameter.default is False  # off, as every flag
        assert plain_flag or ("[required]" if required else "[default: ") in line, line


@pytest.mark.parametrize("name", COMMANDS)
def test_help_fits_80_columns_in_panels(name: str) -> None:
    result = CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "80", "NO_COLOR": "1"})
    assert all(len(line) <= 80 for line in result.output.splitlines())
    panels = {
        option(p).rich_help_panel
        for p in signature(name).values()
        if isinstance(option(p), type(typer.Option()))
    }
    assert None not in panels
    assert all(panel in result.output for panel in panels)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_breaks_its_lines_where_the_terminal_ends(name: str) -> None:
    result = CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "80", "NO_COLOR": "1"})
    lines = [line.strip() for line in result.output.partition("╭")[0].splitlines()]
    broken = [
        (line, after)
        for line, after in pairwise(lines)
        if line and after and len(line) + 1 + len(after.split()[0]) <= 78
    ]
    assert broken == []


def test_help_keeps_the_name_of_an_extra() -> None:
    """Rich takes brackets for markup."""
    result = CliRunner().invoke(app, ["lab", "--help"], env={"COLUMNS": "80", "NO_COLOR": "1"})
    assert "'steindiff[web]'" in result.output


def test_options_of_one_name_are_of_one_kind() -> None:
    """A name means the same in every command, whether it may be left out or repeated."""
    kinds: dict[str, set[Any]] = {}
    for command in COMMANDS:
        for name, parameter in signature(command).items():
            kinds.setdefault(name, set()).add(_of_one(parameter.annotation.__origin__))
    assert all(len(found) == 1 for found in kinds.values()), kinds
    for command in ("sample", "generate", "calibrate", "diagnose", "compare"):
        found = signature(command)
        assert {"steps", "nfe"} <= found.keys()
        alias = "steps" if command == "compare" else "nfe"
        assert [option(found[n]).hidden for n in ("steps", "nfe")] == [
            n == alias for n in ("steps", "nfe")
        ]
        other = option(found["nfe" if alias == "steps" else "steps"])
        assert f"--{alias} N is the same where a step is one" in other.help


def test_device_and_first_seed_are_declared_once(steindiff: Command) -> None:
    """The same words and the same name everywhere; who tries another name is told this one."""
    found = [signature(command) for command in COMMANDS]
    devices = [parameters["device"] for parameters in found if "device" in parameters]
    assert len(devices) > 8
    assert {(one.default, option(one).help) for one in devices} == {
        ("auto", option(devices[0]).help)
    }
    seeds = {name: option(p) for one in found for name, p in one.items() if "seed" in name}
    assert seeds.keys() == {"first_seed", "seeds"}  # a number, and ranges
    for command in ("compare", "tune", "recommend", "calibrate", "diagnose", "generate"):
        outcome = steindiff(command, "--seed", 3)
        assert outcome.code == 2
        assert "No such option: --seed" in outcome.err
        assert "--first-seed" in outcome.err


def _of_one(kind: Any) -> Any:
    """The kind of a single value of an option that may be None or a list."""
    if type(None) in get_args(kind):
        (kind,) = [part for part in get_args(kind) if part is not type(None)]
    return get_args(kind)[0] if get_origin(kind) is list else kind


def test_what_help_names_is_there() -> None:
    assert presets() == bench_options._PRESETS
    assert signature("calibrate")["first_seed"].default == CALIBRATION_SEED
    assert signature("tune")["first_seed"].default == TUNING_SEED
    said = re.findall(r"steindiff info (\w+)", "".join(
        option(p).help or "" for name in COMMANDS for p in signature(name).values()
    ))  # fmt: skip
    assert {"solvers", "coefficients", "schedules", "priors", "chapters"} == set(said)
    assert set(said) <= info.TOPICS.keys()
    for topic in info.TOPICS:
        assert topic in option(signature("info")["topic"]).help


def test_version(steindiff: Command) -> None:
    done = steindiff("--version")
    assert (done.code, done.out) == (0, f"steindiff {sd.__version__}\n")


def test_info_says_what_is_installed(steindiff: Command) -> None:
    import torch

    done = steindiff("info", "--format", "csv")
    assert done.code == 0
    rows = dict(line.split(",", 1) for line in done.out.splitlines())
    assert rows["steindiff"] == sd.__version__
    assert rows["torch"] == torch.__version__
    for name in ADAPTERS:
        assert name in rows[f"adapter {name}"]
    if torch.version.cuda is None and torch.version.hip is None and sys.platform == "linux":
        assert rows["device"] == "cpu: this torch is built without CUDA"
    steindiff("info", "solver").refused("topic 'solver' is unknown", "'solvers'")
    steindiff("info", "--format", "cvs").refused("format is 'cvs'", "csv")


@pytest.mark.parametrize("topic", sorted(info.TOPICS))
def test_tables_of_info_fit_80_columns(
    steindiff: Command, monkeypatch: pytest.MonkeyPatch, topic: str
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    done = steindiff("info", topic)
    assert done.code == 0
    lines = done.out.splitlines()
    assert all(len(line) <= 80 for line in lines)
    table = info.TOPICS[topic]()
    heads = next(line for line in lines[1:] if line.strip())
    assert heads.split("  ")[0].strip() == table.headings[0]
    assert all(heading in heads for heading in table.headings)  # no head is broken


# -- groups ---------------------------------------------------------------------------------------


Count = Annotated[int, typer.Option(help="How many.")]


@dataclass(frozen=True, kw_only=True)
class Left:
    panel: ClassVar[str] = "Left"
    a: Count
    b: Annotated[str, typer.Option(help="b")] = "x"


@dataclass(frozen=True, kw_only=True)
class Right:
    panel: ClassVar[str] = "Right"
    c: Count = 3


def test_groups_become_options() -> None:
    taken: list[Any] = []

    def body(left: Left, right: Right) -> None:
        """Does it."""
        taken.append((left, right))

    command = grouped(body)
    command(a=1, b="y", c=2)
    assert taken == [(Left(a=1, b="y"), Right(c=2))]
    parameters = inspect.signature(command).parameters
    assert list(parameters) == ["a", "b", "c"]
    assert parameters["a"].default is inspect.Parameter.empty
    assert [option(p).rich_help_panel for p in parameters.values()] == ["Left", "Left", "Right"]
    assert get_args(Count)[1].rich_help_panel is None  # the declaration itself is as it was


# -- the method -----------------------------------------------------------------------------------


def test_what_is_not_said_is_the_default_method() -> None:
    chosen = choose(options.Sampling(), 1.0)
    assert chosen.steps == options.STEPS
    plan = sd.recipe(options.STEPS)
    assert chosen.method == _default_method(plan, False)
    assert chosen.levels().tolist() == list(plan.sigmas)
    assert (chosen.solver, chosen.coefficient) == (plan.solver, plan.coefficient)
    assert chosen.method.end == plan.end
    guided = choose(options.Sampling(), 4.0)
    assert guided.levels().tolist() == list(sd.recipe(options.STEPS, 4.0).sigmas)
    assert guided.solver == sd.recipe(options.STEPS, 4.0).solver
    part = choose(options.Sampling(steps=7, schedule="log_snr", sigma_min=0.1, final="zero"), 2.0)
    assert part.levels().tolist() == sd.schedules.log_snr(7, 0.1, final="zero").tolist()
    assert part.solver == sd.recipe(7, 2.0).solver
    plain = choose(options.Sampling(coefficient="none"), 1.0)
    assert plain.coefficient is None
    assert plain.method.end == "none"
    assert choose(options.Sampling(coefficient="none", end="stein"), 1.0).method.end == "stein"
    with pytest.raises(ValueError, match=r"end 'stien' is unknown\. Did you mean 'stein'"):
        choose(options.Sampling(end="stien"), 1.0)


def test_nfe_is_steps_where_a_step_is_one_call(capsys: pytest.CaptureFixture[str]) -> None:
    assert choose(options.Sampling(nfe=8), 1.0).steps == 8
    assert "--nfe 8 is --steps 8 here" in capsys.readouterr().err
    assert choose(options.Sampling(steps=8), 1.0).steps == 8
    assert capsys.readouterr().err == ""
    with pytest.raises(ValueError, match=r"--nfe is 8.*heun takes 2 a step: pass --steps 4 for 8"):
        choose(options.Sampling(nfe=8, solver="heun"), 1.0)
    with pytest.raises(ValueError, match="--steps 4 and --nfe 8 are both given"):
        choose(options.Sampling(steps=4, nfe=8), 1.0)
    extra = sd.stein.COEFFICIENTS["published"]()
    assert calls_per_step(sd.Heun(), extra) == sd.Relaxed(sd.Heun(), extra).calls_per_step


def test_the_other_names_in_commands(steindiff: Command, tmp_path: Path) -> None:
    out = tmp_path / "out"
    steindiff("compare", "--out", out, "--steps", 3).refused(
        "--steps is 3", "a step of heun is 2 model calls", "--nfe"
    )
    steindiff("compare", "--out", out, "--steps", 3, "--nfe", 3).refused("both given")
    steindiff("diagnose", "--out", out, "--nfe", 6, "--solver", "heun").refused(
        "heun takes 2 a step"
    )
    steindiff("calibrate", "--out", out, "--nfe", 6, "--steps", 6).refused("both given")
    for name in ("sample", "generate"):
        steindiff(name, "--out", out, "--nfe", 6, "--solver", "heun", "--device", "cpu").refused(
            "heun takes 2 a step"
        )
    assert not out.exists()


@pytest.mark.parametrize(
    "command", ["sample", "generate", "calibrate", "compare", "diagnose", "bench"]
)
@pytest.mark.parametrize("device", ["cuda:99", "tpu", "meta"])
def test_a_device_that_is_not_there(
    steindiff: Command, tmp_path: Path, command: str, device: str
) -> None:
    out = tmp_path / "out"
    more = ("--preset", "smoke") if command == "bench" else ()
    steindiff(command, "--out", out, "--device", device, *more).refused(f"device is '{device}'")
    assert not out.is_file()


def test_auto_is_a_device_that_is_there() -> None:
    import torch

    assert check_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


# -- tables ---------------------------------------------------------------------------------------


def test_show_in_every_format(capsys: pytest.CaptureFixture[str]) -> None:
    table = texts("Title", ["a", "b"], [["1, 2", "x_y"], ["3", "p|q"]])
    shown = {}
    for format in ("table", "csv", "markdown", "latex"):
        show([table, table], format)
        shown[format] = capsys.readouterr().out
    assert shown["csv"].startswith('a,b\n"1, 2",x_y\n3,p|q\n\na,b\n')
    assert shown["markdown"].startswith("| a | b |\n| --- | --- |\n| 1, 2 | x_y |\n| 3 | p\\|q |")
    assert r"1, 2 & x\_y \\" in shown["latex"]
    assert "Title" in shown["table"]
    with pytest.raises(ValueError, match="format is 'html'; one of table, csv"):
        show([table], "html")


def test_signs_are_explained_under_the_table_that_has_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    from steindiff.lab.cli.bench import SIGNS

    plain = texts("Plain", ["a"], [["1"]])
    marked = texts("Marked", ["a"], [["▼ -4%"], ["≈ 0%"]])
    show([plain, marked], "table", SIGNS)
    before, _, after = capsys.readouterr().out.partition("Marked")
    assert "better" not in before
    assert "▼ better  ≈ no significant difference" in after
    assert "worse" not in after
    assert legend(plain, SIGNS) == ""
    assert {SIGNS[sign] for sign in "▼▲≈✕◇"} == {
        "better", "worse", "no significant difference", "diverged", "base diverged"
    }  # fmt: skip
