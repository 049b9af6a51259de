"""What an import needs: PyTorch, NumPy, safetensors, and nothing of an installation."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from forked import Forked
from matrices import slow

ROOT = Path(__file__).parents[2]
LABORATORY = (
    "typer", "rich", "PIL", "matplotlib", "jinja2", "markupsafe", "filelock", "msgspec", "scipy",
    "tqdm",
)  # fmt: skip
OTHERS = ("diffusers", "accelerate", "k_diffusion", "transformers")
ADAPTERS = {"callable": (), "edm": (), "k_diffusion": ("tqdm",), "relaxation": ()}
POSIX = ("fcntl", "resource", "pwd", "grp")


Run = Callable[..., str]


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    """What code prints in a new process in which these modules cannot be imported."""
    forked = Forked()

    def code(text: str, *blocked: str, path: Path = ROOT / "src", cwd: Path = ROOT) -> str:
        done = forked.run(text, path=path, cwd=cwd, blocked=blocked, COLUMNS="200")
        assert done.returncode == 0, done.stderr
        return done.stdout

    yield code
    forked.close()


SAMPLE = """
import torch, steindiff as sd
net = sd.denoisers.Gaussian(torch.zeros(4), torch.ones(4))
x = sd.sample(net, sd.noise((4,), 80.0, range(3)), sd.schedules.karras(5, 0.002, 80.0)).x
print(tuple(x.shape))
"""


def test_the_core_samples_without_the_laboratorys_packages(run: Run) -> None:
    assert run(SAMPLE, *LABORATORY, *OTHERS, "steindiff.lab") == "(3, 4)\n"


@pytest.mark.parametrize("name", ADAPTERS)
def test_an_adapter_needs_its_own_library_only(run: Run, name: str) -> None:
    blocked = {*LABORATORY, *OTHERS, "steindiff.lab"} - {*ADAPTERS[name]}
    assert run(f"import steindiff.adapters.{name}; print('there')", *blocked) == "there\n"


@pytest.mark.upstream
def test_the_diffusers_adapter_needs_diffusers_only(run: Run) -> None:
    """diffusers itself wants pillow, and reports with tqdm."""
    pytest.importorskip("diffusers")
    blocked = {*LABORATORY, "steindiff.lab"} - {"PIL", "tqdm", "filelock", "scipy"}
    code = "import steindiff.adapters.diffusers as a; print(callable(a.relax))"
    assert run(code, *sorted(blocked)) == "True\n"


VERSION = """
from importlib.metadata import PackageNotFoundError, distribution
import importlib.metadata
def missing(name):
    raise PackageNotFoundError(name)
importlib.metadata.version = missing
"""


@pytest.mark.parametrize("kind", ["copy", "archive"])
def test_it_works_where_it_is_only_on_the_path(run: Run, tmp_path: Path, kind: str) -> None:
    """No metadata: a copied folder, and a zip file."""
    copied = tmp_path / "there" / "steindiff"
    shutil.copytree(ROOT / "src/steindiff", copied, ignore=shutil.ignore_patterns("__pycache__"))
    place = copied.parent
    if kind == "archive":
        place = tmp_path / "steindiff.zip"
        with zipfile.ZipFile(place, "w") as archive:
            for path in copied.rglob("*"):
                archive.write(path, path.relative_to(copied.parent))
    said = run(
        VERSION + SAMPLE + "print(sd.__version__)\nprint(sd.__file__)", path=place, cwd=tmp_path
    ).splitlines()
    assert said[:2] == ["(3, 4)", "unknown"]
    assert said[2].startswith(str(place))


# -- Windows, as far as another system can show it ------------------------------------------------

COMMAND = """
import multiprocessing, os, sys, warnings
warnings.simplefilter("ignore")  # filelock says that it has to make do without fcntl
multiprocessing.set_start_method("spawn")
for name in ("fork", "forkpty", "setsid", "getuid", "geteuid", "getgid", "getlogin", "killpg"):
    if hasattr(os, name):
        delattr(os, name)
sys.argv = {argv!r}
from steindiff.lab.cli import main
main()
"""


@pytest.mark.parametrize(
    ("arguments", "made"),
    [
        (["info"], None),
        slow(["sample", "--out", "a.png", "--steps", "2", "--seeds", "0-3"], "a.png"),
        (
            ["generate", "--out", "images", "--count", "2", "--steps", "1"],
            "images/000000/img000000001.png",
        ),
    ],
    ids=["info", "sample", "generate"],
)
def test_commands_without_posix(
    run: Run, tmp_path: Path, arguments: list[str], made: str | None
) -> None:
    run(COMMAND.format(argv=["steindiff", *arguments]), *POSIX, cwd=tmp_path)
    assert made is None or (tmp_path / made).stat().st_size > 0


FEW = """
sweep = [0.99]
sweep_samples = 16
resamples = 20
fine_steps = 2

[[cells]]
model = ["fashion-mnist", "mixture:dim=4,modes=2"]
schedule = "karras"
nfe = 2
solver = "euler"
seeds = "0-15"
"""
"""A grid of both kinds of models; how large its cells are does not matter to the system."""


@pytest.mark.slow
def test_a_bench_without_posix(run: Run, tmp_path: Path) -> None:
    (tmp_path / "few.toml").write_text(FEW)
    argv = ["steindiff", "bench", "--grid", "few.toml", "--out", "out"]
    run(COMMAND.format(argv=argv), *POSIX, cwd=tmp_path)
    assert (tmp_path / "out/results.json").exists()
