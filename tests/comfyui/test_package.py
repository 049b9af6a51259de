"""The package installs by its folder, waits with its imports, and its workflows hold together."""

from __future__ import annotations

import importlib
import inspect
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any, NamedTuple

import comfyui_standin as standin
import pytest

from steindiff.solvers import SOLVERS

PACKAGE, ROOT = standin.PACKAGE, standin.PACKAGE.parent
FILES = sorted(path.stem for path in PACKAGE.glob("workflows/*.json"))
WORKFLOWS = [stem for stem in FILES if not stem.endswith(".api")]
NODES = standin.load_package().NODE_CLASS_MAPPINGS

IMPORT = """
import importlib.util, sys
refused = set({refused!r})
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in refused:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Refuse())
spec = importlib.util.spec_from_file_location("custom", {path!r} + "/__init__.py")
package = sys.modules["custom"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(package)
print(sorted(package.NODE_CLASS_MAPPINGS) == sorted(package.NODE_DISPLAY_NAME_MAPPINGS))
for node in package.NODE_CLASS_MAPPINGS.values():
    node.INPUT_TYPES()
"""
MAKE = """
node = package.NODE_CLASS_MAPPINGS["SteinSampler"]
node().make("euler", 0, "energy", 0.1, 1.0, False)
"""


def python(code: str, *refused: str) -> subprocess.CompletedProcess[str]:
    """A fresh interpreter that imports the package, and cannot import what is refused."""
    script = IMPORT.format(refused=refused, path=str(PACKAGE)) + code
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)


# --- the package


def test_importing_needs_nothing() -> None:
    done = python("", "comfy", "steindiff", "torch", "numpy", "matplotlib")
    assert done.stdout == "True\n", done.stderr


def test_without_steindiff_a_node_says_what_to_install() -> None:
    done = python(MAKE, "steindiff")
    assert "ImportError: the Stein nodes need the package steindiff" in done.stderr
    assert "pip install steindiff" in done.stderr


def test_another_missing_module_is_not_taken_for_steindiff() -> None:
    done = python(MAKE, "tqdm", "torch")
    assert "ModuleNotFoundError: No module named 'torch'" in done.stderr
    assert "pip install" not in done.stderr


def test_a_link_in_custom_nodes_is_enough(tmp_path: Path) -> None:
    """Under a name that no import statement could spell, as ComfyUI makes them of paths."""
    folder = tmp_path / "custom_nodes" / "steindiff-1.0 (copy)"
    folder.parent.mkdir()
    folder.symlink_to(PACKAGE, target_is_directory=True)
    with standin.installed():
        node = standin.load_package(folder).NODE_CLASS_MAPPINGS["SteinSampler"]
        (sampler,) = node().make("heun", 0, "energy", 0.1, 1.0, False)
    assert sampler.sampler_function.__name__ == "sample_stein_heun"


@pytest.mark.parametrize("name", NODES)
def test_a_node_has_what_comfyui_asks_of_it(name: str) -> None:
    node = NODES[name]
    assert node.CATEGORY == "sampling/custom_sampling/samplers"
    assert len(node.DESCRIPTION) > 20
    assert len(node.OUTPUT_TOOLTIPS) == len(node.RETURN_TYPES)
    asked = node.INPUT_TYPES()
    inputs = {**asked["required"], **asked.get("optional", {})}
    arguments = list(inspect.signature(getattr(node, node.FUNCTION)).parameters)[1:]
    assert arguments == list(inputs)
    for kind, options in inputs.values():
        assert options["tooltip"]
        if isinstance(kind, list):
            assert options["default"] in kind
        elif kind in ("INT", "FLOAT"):
            assert options["min"] <= options["default"] <= options["max"]


def test_every_input_in_its_range_makes_a_sampler() -> None:
    with standin.installed():
        node = standin.load_package().NODE_CLASS_MAPPINGS["SteinSampler"]
        inputs = node.INPUT_TYPES()["required"]
        assert sorted(inputs["solver"][0]) == sorted(SOLVERS)
        for solver in inputs["solver"][0]:
            for coefficient in inputs["coefficient"][0]:
                for edge in ("min", "default", "max"):
                    trust, value = inputs["trust"][1][edge], inputs["value"][1][edge]
                    assert node().make(solver, 0, coefficient, trust, value, True)


def test_the_registry_s_file_is_complete() -> None:
    ours = tomllib.loads((PACKAGE / "pyproject.toml").read_text())
    core = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {"PublisherId", "DisplayName"} <= ours["tool"]["comfy"].keys()
    project = ours["project"]
    assert project["version"] == core["version"]
    assert project["requires-python"] == core["requires-python"]
    needed = (PACKAGE / "requirements.txt").read_text().split()
    assert needed == project["dependencies"]
    assert needed[0].startswith(core["name"])
    licence = PACKAGE / project["license"]["file"]
    assert licence.read_text() == (ROOT / "LICENSE").read_text()
    assert (PACKAGE / project["readme"]).exists()


# --- the workflows


class Known(NamedTuple):
    """A node: its widgets in their order, its links, its outputs."""

    widgets: tuple[str, ...]
    links: dict[str, str]
    outputs: tuple[str, ...]


def known(widgets: str, links: str = "", outputs: str = "") -> Known:
    pairs = dict(pair.split(":") for pair in links.split())
    return Known(tuple(widgets.split()), pairs, tuple(outputs.split()))


LATENT_SIZE = "width height batch_size"
COMFYUI = {
    "CFGGuider": known("cfg", "model:MODEL positive:CONDITIONING negative:CONDITIONING", "GUIDER"),
    "BasicGuider": known("", "model:MODEL conditioning:CONDITIONING", "GUIDER"),
    "BasicScheduler": known("scheduler steps denoise", "model:MODEL", "SIGMAS"),
    "CLIPTextEncode": known("text", "clip:CLIP", "CONDITIONING"),
    "CLIPLoader": known("clip_name type", "", "CLIP"),
    "CheckpointLoaderSimple": known("ckpt_name", "", "MODEL CLIP VAE"),
    "DualCLIPLoader": known("clip_name1 clip_name2 type device", "", "CLIP"),
    "EmptyLatentImage": known(LATENT_SIZE, "", "LATENT"),
    "EmptySD3LatentImage": known(LATENT_SIZE, "", "LATENT"),
    "FluxGuidance": known("guidance", "conditioning:CONDITIONING", "CONDITIONING"),
    "KSamplerSelect": known("sampler_name", "", "SAMPLER"),
    "ModelSamplingAuraFlow": known("shift", "model:MODEL", "MODEL"),
    "ModelSamplingFlux": known("max_shift base_shift width height", "model:MODEL", "MODEL"),
    "PreviewImage": known("", "images:IMAGE"),
    "RandomNoise": known("noise_seed", "", "NOISE"),
    "SamplerCustom": known(
        "add_noise noise_seed cfg",
        "model:MODEL positive:CONDITIONING negative:CONDITIONING sampler:SAMPLER sigmas:SIGMAS "
        "latent_image:LATENT",
        "LATENT LATENT",
    ),
    "SamplerCustomAdvanced": known(
        "",
        "noise:NOISE guider:GUIDER sampler:SAMPLER sigmas:SIGMAS latent_image:LATENT",
        "LATENT LATENT",
    ),
    "SaveImage": known("filename_prefix", "images:IMAGE"),
    "SplitSigmas": known("step", "sigmas:SIGMAS", "SIGMAS SIGMAS"),
    "UNETLoader": known("unet_name weight_dtype", "", "MODEL"),
    "VAEDecode": known("", "samples:LATENT vae:VAE", "IMAGE"),
    "VAELoader": known("vae_name", "", "VAE"),
}
"""The nodes of ComfyUI 0.29.0 that the workflows use."""
SCHEDULERS = """
    simple sgm_uniform karras exponential ddim_uniform beta normal linear_quadratic kl_optimal
"""
RANGES: dict[str, tuple[float, float]] = {
    "steps": (1, 10000),
    "denoise": (0, 1),
    "cfg": (0, 100),
    "noise_seed": (0, 2**64 - 1),
    "width": (16, 16384),
    "height": (16, 16384),
    "batch_size": (1, 4096),
    "guidance": (0, 100),
    "shift": (0, 100),
    "max_shift": (0, 100),
    "base_shift": (0, 100),
    "step": (0, 10000),
}
"""Of ComfyUI's widgets."""
WIDGETS = {"INT", "FLOAT", "BOOLEAN", "STRING"}


def of_ours(node: Any) -> Known:
    inputs = {name: kind for name, (kind, _) in node.INPUT_TYPES()["required"].items()}
    links = {k: v for k, v in inputs.items() if isinstance(v, str) and v not in WIDGETS}
    return Known(tuple(k for k in inputs if k not in links), links, node.RETURN_TYPES)


ALL = COMFYUI | {name: of_ours(node) for name, node in NODES.items()}


def read(name: str) -> Any:
    return json.loads((PACKAGE / "workflows" / f"{name}.json").read_text())


def test_there_are_workflows_in_both_formats() -> None:
    assert len(WORKFLOWS) == 6
    assert sorted([*WORKFLOWS, *(f"{name}.api" for name in WORKFLOWS)]) == FILES


@pytest.mark.parametrize("name", WORKFLOWS)
def test_the_graph_of_a_workflow_is_whole(name: str) -> None:
    graph = read(name)
    nodes = {node["id"]: node for node in graph["nodes"]}
    links = {link[0]: link for link in graph["links"]}
    assert len(nodes) == len(graph["nodes"])
    assert len(links) == len(graph["links"])
    assert graph["last_node_id"] == max(nodes)
    assert graph["last_link_id"] == max(links)
    for number, source, out, target, slot, kind in links.values():
        given, taken = nodes[source]["outputs"][out], nodes[target]["inputs"][slot]
        assert number in given["links"]
        assert taken["link"] == number
        assert given["type"] == taken["type"] == kind
        assert nodes[source]["order"] < nodes[target]["order"]
    told = [link for node in nodes.values() for out in node["outputs"] for link in out["links"]]
    assert sorted(told) == sorted(links)
    taken = [entry["link"] for node in nodes.values() for entry in node["inputs"]]
    assert sorted(taken) == sorted(links)


@pytest.mark.parametrize("name", WORKFLOWS)
def test_the_nodes_of_a_workflow_exist_as_they_are_used(name: str) -> None:
    for node in read(name)["nodes"]:
        fact = ALL[node["type"]]
        assert {entry["name"]: entry["type"] for entry in node["inputs"]} == fact.links
        assert tuple(entry["type"] for entry in node["outputs"]) == fact.outputs
        seeds = sum("seed" in widget for widget in fact.widgets)  # with what becomes of the seed
        assert len(node["widgets_values"]) == len(fact.widgets) + seeds


@pytest.mark.parametrize("name", WORKFLOWS)
def test_both_formats_say_the_same(name: str) -> None:
    graph, found = read(name), {}
    sources = {link[0]: [str(link[1]), link[2]] for link in graph["links"]}
    for node in graph["nodes"]:
        values = iter(node["widgets_values"])
        inputs = {entry["name"]: sources[entry["link"]] for entry in node["inputs"]}
        for widget in ALL[node["type"]].widgets:
            inputs[widget] = next(values)
            if "seed" in widget:
                assert next(values) in ("fixed", "randomize", "increment", "decrement")
        found[str(node["id"])] = {"class_type": node["type"], "inputs": inputs}
    assert found == read(f"{name}.api")


@pytest.mark.parametrize("name", WORKFLOWS)
def test_our_nodes_in_a_workflow_run(name: str) -> None:
    """With the very inputs of the file; the sampler that the graph samples with is relaxed."""
    graph = read(f"{name}.api")
    ours = {key: node for key, node in graph.items() if node["class_type"].startswith("Stein")}
    with standin.installed() as comfy:
        mappings = standin.load_package().NODE_CLASS_MAPPINGS
        for node in ours.values():
            cls, inputs = mappings[node["class_type"]], dict(node["inputs"])
            if node["class_type"] == "SteinReport":
                assert graph[inputs["sampler"][0]]["inputs"]["record"] is True
                continue
            if node["class_type"] == "SteinRecipe":
                sampling = standin.model_sampling(comfy, "EPS", 14.6)
                inputs["model"] = standin.Patcher(standin.Model(sampling, lambda x, sigma: x))
                _, sigmas = cls().choose(**inputs)
                assert len(sigmas) == inputs["steps"] + 1
                continue
            if "sampler" in inputs:
                chosen = graph[inputs["sampler"][0]]["inputs"]["sampler_name"]
                inputs["sampler"] = comfy.samplers.sampler_object(chosen)
            (sampler,) = getattr(cls(), cls.FUNCTION)(**inputs)
            assert sampler.sampler_function.rule.coefficient == "energy"
    samplings = [n for n in graph.values() if n["class_type"].startswith("SamplerCustom")]
    assert samplings
    for sampling in samplings:
        assert sampling["inputs"]["sampler"][0] in ours


@pytest.mark.parametrize("name", WORKFLOWS)
def test_the_values_of_a_workflow_are_in_range(name: str) -> None:
    """Of our nodes by their own inputs, of ComfyUI's by its (0.29.0)."""
    samplers, schedulers = set(standin.SAMPLER_NAMES), set(SCHEDULERS.split())
    for node in read(f"{name}.api").values():
        asked = {}
        if node["class_type"] in NODES:
            inputs = NODES[node["class_type"]].INPUT_TYPES()
            asked = {**inputs["required"], **inputs.get("optional", {})}
        for key, value in node["inputs"].items():
            if isinstance(value, list):
                continue
            kind, options = asked.get(key, (None, {}))
            if isinstance(kind, list):
                assert value in kind
            elif kind in ("INT", "FLOAT"):
                assert options["min"] <= value <= options["max"]
            elif key in RANGES:
                low, high = RANGES[key]
                assert low <= value <= high, key
            elif key in ("sampler_name", "scheduler"):
                assert value in (samplers if key == "sampler_name" else schedulers)


def test_the_page_names_every_sampler_that_is_relaxed() -> None:
    page = (ROOT / "docs/use/comfyui.md").read_text()
    relaxing = page.partition("These are refused")[0]
    rows = re.findall(r"^\| `(\w+)` \|", relaxing, flags=re.MULTILINE)
    assert rows[1] == "ddim"  # euler's function
    names = {"unipc": "uni_pc", "unipc_bh2": "uni_pc_bh2"}
    with standin.installed():
        translation = importlib.import_module(".translation", standin.load_package().__name__)
    known = [twin.removeprefix("sample_") for twin in translation.TWINS]
    relaxed = {names.get(name, name) for name in known} - {"dpmpp_3m"}  # ComfyUI has none
    assert set(rows) == {*relaxed, "ddim"}
    assert "stand-in" in page
