"""The pages: their code runs, their links lead somewhere, and nothing stands there twice."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from matrices import slow

from steindiff.lab.bench.grid import make_grid

ROOT = Path(__file__).parents[2]
HOME = "https://github.com/steindiff/steindiff/blob/main/"
RAW = "https://raw.githubusercontent.com/steindiff/steindiff/main/"
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    ROOT / "comfyui/README.md",
    ROOT / "research/README.md",
]
LONG = 120
"""A block of so many characters is text of its own, not a formula or a heading."""


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), flags=re.DOTALL)


@pytest.mark.parametrize(
    ("page", "count"),
    [
        ("README.md", 1),
        ("docs/start.md", 3),
        ("docs/extend.md", 4),
        ("docs/evidence/bench.md", 1),
        ("docs/theory/end.md", 1),
        ("docs/theory/measured.md", 1),
        slow("docs/tune.md", 1),
        ("docs/use/diffusers.md", 4),
        ("docs/use/edm.md", 3),
        ("docs/use/k_diffusion.md", 4),
        slow("docs/use/network.md", 3),
        ("docs/use/try.md", 1),
    ],
)
def test_code_on_the_page_runs(page: str, count: int, capsys: pytest.CaptureFixture[str]) -> None:
    found = blocks(page)
    assert len(found) == count
    names: dict[str, object] = {"__name__": page}
    for block in found:
        exec(compile(block, page, "exec"), names)
    assert capsys.readouterr().out


def links(text: str) -> list[tuple[str, str]]:
    """Targets and anchors of a page's links and pictures, code left out."""
    text = re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)
    return re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)", text)


def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as both GitHub and the site make them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), flags=re.MULTILINE)
    plain = [re.sub(r"[^\w\s-]", "", heading).strip().lower() for heading in headings]
    return {re.sub(r"\s+", "-", heading) for heading in plain}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    for link, anchor in links(page.read_text()):
        target = page if not link else page.parent / link
        for prefix in (HOME, RAW):
            if link.startswith(prefix):
                target = ROOT / link.removeprefix(prefix)
        if link.startswith("http") and target == page.parent / link:
            continue
        assert target.exists(), f"{name_of(page)} links to {link}"
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), f"{name_of(page)} links to {link}#{anchor}"


def paragraphs(text: str) -> list[str]:
    """Blocks between empty lines that are long enough to be text, and rows of tables."""
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    found = [" ".join(block.split()) for block in re.split(r"\n\s*\n", text)]
    rows = [line for line in text.splitlines() if line.startswith("|")]
    return [block for block in [*found, *rows] if len(block) > LONG]


def test_no_text_stands_twice() -> None:
    """Tables that docs/build.py writes are exempt: they stand where they are asked for."""
    seen: dict[str, str] = {}
    for page in PAGES:
        text = re.sub(r"<!-- table.*?<!-- end -->", "", page.read_text(), flags=re.DOTALL)
        for block in dict.fromkeys(paragraphs(text)):
            assert text.count(block) <= 1, f"{name_of(page)}: {block}"
            assert block not in seen, f"{name_of(page)} and {seen.get(block)}: {block}"
            seen[block] = name_of(page)


@pytest.mark.slow
def test_tables_are_those_of_the_result_files() -> None:
    done = subprocess.run(
        [sys.executable, "docs/build.py", "--check"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_no_picture_stands_twice() -> None:
    shown: dict[str, str] = {}
    for page in PAGES:
        if page.name in ("README.md", "index.md", "start.md"):  # all begin with the demo
            continue
        for link in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", page.read_text()):
            name = Path(link).name
            assert name not in shown, f"{name_of(page)} and {shown.get(name)} show {name}"
            shown[name] = name_of(page)


def test_the_grid_on_the_page_is_one() -> None:
    page = (ROOT / "docs/evidence/bench.md").read_text()
    found = re.findall(r"```toml\n(.*?)```", page, flags=re.DOTALL)
    assert len(found) == 1
    grid = make_grid(tomllib.loads(found[0]))
    # Two guidances, two schedules, two NFE, two solvers, two sets of seeds; UniPC's usual schedule
    # is log-SNR, so half of its cells coincide. Two mixtures.
    assert len(grid.cells) == 32 - 8 + 2


ASKS = {
    "more solvers for flow models than Euler": ("docs/choose.md#solver", 'solver="auto"'),
    "the popular samplers": (
        "docs/use/comfyui.md#what-stein-relaxation-does-with-which-sampler",
        "res_2s res_2m er_sde bong_tangent res_multistep",
    ),
    "multistep worse than Euler": ("docs/choose.md#the-same-in-every-program", "below 15 steps"),
    "a schedule for my model": (
        "docs/choose.md#a-schedule-for-my-model",
        "AYS GITS OSS steindiff tune",
    ),
    "more detail without a LoRA": ("docs/use/diffusers.md#for-whom", "washed out"),
    "the same, in ComfyUI": ("docs/use/comfyui.md", "washed out without a LoRA"),
    "high guidance burns": ("docs/choose.md#guidance", "burn APG"),
    "fast without a Lightning LoRA": ("docs/use/diffusers.md#for-whom", "Lightning LoRA"),
    "which sampler, schedule, steps": ("docs/choose.md", "steindiff recommend"),
    "parity across tools": ("docs/choose.md#the-same-in-every-program", "SteinScheduler nodes"),
    "scientific samplers": ("docs/use/science.md", "sbi from_function"),
}
"""What users ask for, the page that answers, and words of the answer."""


@pytest.mark.parametrize("ask", ASKS)
def test_what_users_ask_is_answered_where_the_readme_links_to(ask: str) -> None:
    address, words = ASKS[ask]
    page, _, anchor = address.partition("#")
    table = readme().partition("| I want to … |")[2]
    assert HOME + address in table
    text = (ROOT / page).read_text()
    if anchor:
        heads = list(re.finditer(r"^#+ (.+)$", text, flags=re.MULTILINE))
        names = [re.sub(r"[^\w\s-]", "", head[1]).strip().lower() for head in heads]
        place = [re.sub(r"\s+", "-", name) for name in names].index(anchor)
        end = heads[place + 1].start() if place + 1 < len(heads) else len(text)
        text = text[heads[place].end() : end]
    for word in words.split():
        assert word in text, f"{address} says nothing of {word!r}"


def readme() -> str:
    return (ROOT / "README.md").read_text()


def test_the_readme_is_short() -> None:
    assert len(readme().split()) <= 600


def test_the_readme_has_one_picture_and_two_commands() -> None:
    pictures = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", readme())
    assert len(pictures) == 1
    assert pictures[0].startswith(RAW)  # or the page on PyPI would not show it
    commands = re.findall(r"^make (\w+)", readme(), flags=re.MULTILINE)
    assert commands == ["demo", "test"]
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert set(commands) <= set(targets)


def test_the_readme_shows_the_equation_before_anything_else() -> None:
    equation = readme().index(r"x' = (1 - \gamma)\,x + \gamma\,T(x)")
    assert equation < readme().index("pip install 'steindiff[lab]'") < readme().index("##")


def test_links_of_the_readme_work_elsewhere() -> None:
    assert all(link.startswith("http") for link, _ in links(readme()))


def test_one_answer_to_how_many_steps() -> None:
    """Where pipelines of other people's models begin: ten steps, on every page."""
    wanted = {
        "docs/choose.md": "Ten steps is where to begin",
        "docs/use/diffusers.md": "Begin with 10",
        "docs/use/comfyui.md": "begin with 10",
    }
    for page, text in wanted.items():
        assert text in (ROOT / page).read_text(), page
    for example in (ROOT / "examples").glob("*.py"):
        text = example.read_text()
        if '"--steps"' in text:
            assert "Begin with 10 steps" in text, example.name
            assert 'add_argument("--steps", type=int, default=10)' in text, example.name


def test_five_kinds_of_model_before_any_other_table() -> None:
    tables = re.findall(r"(?:^\|.*\n)+", (ROOT / "docs/choose.md").read_text(), flags=re.MULTILINE)
    assert len(tables[0].splitlines()) == 2 + 5
