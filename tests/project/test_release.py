"""What a release is made of is complete, and agrees with itself."""

import re
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_are_whole(path: Path) -> None:
    found = read(path)
    assert found["name"] == path.stem
    assert found["permissions"] == {"contents": "read"}  # jobs ask for more where they need it
    assert True in found  # "on", which YAML takes for a truth value
    for job in found["jobs"].values():
        assert job["runs-on"] == "ubuntu-latest"
        for step in job["steps"]:
            assert ("uses" in step) != ("run" in step)
            assert re.fullmatch(r"[\w./-]+@[\w./]+", step.get("uses", "a@b"))
        for needed in [job.get("needs", [])] if isinstance(job.get("needs"), str) else []:
            assert needed in found["jobs"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_make_targets_of_workflows_exist(path: Path) -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert set(re.findall(r"\bmake ([\w-]+)", path.read_text())) <= targets


def test_every_test_is_run_on_every_push() -> None:
    steps = read(ROOT / ".github/workflows/tests.yml")["jobs"]["all"]["steps"]
    assert [step["run"] for step in steps if "run" in step] == ["make test-all"]


def test_every_supported_python_is_tested_on_its_oldest_and_newest_torch() -> None:
    jobs = read(ROOT / ".github/workflows/tests.yml")["jobs"]
    matrix = jobs["core"]["strategy"]["matrix"]["include"]
    stated = {
        entry.rpartition(" ")[2]
        for entry in PROJECT["classifiers"]
        if re.fullmatch(r"Programming Language :: Python :: 3\.\d+", entry)
    }
    assert {entry["python"] for entry in matrix} == stated
    for version in stated:
        torches = sorted(entry["torch"] for entry in matrix if entry["python"] == version)
        assert len(torches) == 2
        assert torches[0] == ""  # the newest
        assert torches[1]
    (least,) = [part for part in PROJECT["dependencies"] if part.startswith("torch")]
    assert f"{least.replace('>=', '==')}.*" in {f"torch{entry['torch']}" for entry in matrix}
    assert min(stated, key=lambda v: int(v.split(".")[1])) in PROJECT["requires-python"]


def test_only_a_tag_is_published_and_without_a_password() -> None:
    text = (ROOT / ".github/workflows/release.yml").read_text()
    publish = read(ROOT / ".github/workflows/release.yml")["jobs"]["publish"]
    assert publish["if"] == "startsWith(github.ref, 'refs/tags/v')"
    assert publish["permissions"] == {"id-token": "write"}
    assert "secrets." not in text


def test_pre_commit_runs_the_ruff_that_is_pinned() -> None:
    (repo,) = read(ROOT / ".pre-commit-config.yaml")["repos"]
    assert f"ruff=={repo['rev'].removeprefix('v')}\n" in (ROOT / "constraints.txt").read_text()


def test_the_citation_is_of_this_version() -> None:
    found = read(ROOT / "CITATION.cff")
    assert found["version"] == PROJECT["version"]
    assert found["license"] == PROJECT["license"]
    assert [author["name"] for author in found["authors"]] == [
        author["name"] for author in PROJECT["authors"]
    ]
    assert found["url"] == PROJECT["urls"]["Homepage"]
    assert "2606.07835" in found["references"][0]["identifiers"][0]["value"]


def test_the_changelog_begins_with_this_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    versions = re.findall(r"^## \[(.+?)\] - (?:unreleased|\d{4}-\d\d-\d\d)$", text, re.MULTILINE)
    assert versions[0] == PROJECT["version"]
    assert versions[-1] == "0.1.0"
    for version in versions:
        assert f"\n[{version}]: {PROJECT['urls']['Homepage']}" in text


@pytest.mark.parametrize("path", sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("[!c]*.yml")))
def test_issue_forms_ask_for_something(path: Path) -> None:
    form = read(path)
    assert form["name"]
    assert form["description"]
    ids = [part["id"] for part in form["body"] if part["type"] != "markdown"]
    assert len(ids) == len(set(ids)) > 0
    assert any(part.get("validations", {}).get("required") for part in form["body"])


def test_the_wheel_holds_the_package_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build: Any = pytest.importorskip("hatchling.build")
    monkeypatch.chdir(ROOT)
    name = build.build_wheel(str(tmp_path))
    assert name == f"steindiff-{PROJECT['version']}-py3-none-any.whl"
    with zipfile.ZipFile(tmp_path / name) as wheel:
        names = wheel.namelist()
        metadata = wheel.read(f"steindiff-{PROJECT['version']}.dist-info/METADATA").decode()
    sources = (ROOT / "src/steindiff").rglob("*")
    assert {n for n in names if ".dist-info/" not in n} == {
        path.relative_to(ROOT / "src").as_posix()
        for path in sources
        if path.is_file() and "__pycache__" not in path.parts
    }
    for needed in PROJECT["dependencies"]:
        assert f"\nRequires-Dist: {needed}\n" in metadata


def test_the_wheel_is_built_where_the_tests_are_installed() -> None:
    assert "hatchling" in PROJECT["optional-dependencies"]["dev"]
    assert "\nhatchling==" in (ROOT / "constraints.txt").read_text()
