"""Does `steindiff sample`: images from a model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import typer
from torch import Tensor

from ... import sampling
from ..._files import write_whole
from ...models import UNetDenoiser
from ..devices import check_device
from ..images import to_uint8
from ..picture import image_grid
from ..specs import parse_range
from ..subjects import guided
from .commands.sample import AnyNetwork, Batches, Pictures
from .method import Chosen, choose
from .networks import Network, load_network, model_hash, number_of_classes, within_levels
from .options import Sampling, check_output


@dataclass(frozen=True)
class _Sampled:
    """Images as uint8 (N, H, W, C), their labels (none without classes), and the calls of each."""

    images: np.ndarray
    labels: Tensor
    nfe: int


def sample(pictures: Pictures, asked: AnyNetwork, options: Sampling, batches: Batches) -> None:
    """Samples, writes the files, and says what ran."""
    outputs = _outputs(pictures)
    device = check_device(batches.device)
    chosen = choose(options, asked.guidance)
    net = load_network(asked, device)
    sigmas = within_levels(net, chosen)
    source = asked.model if asked.edm is None else str(asked.edm)
    chosen.check_use(source, model_hash(source), asked.guidance, sigmas)
    seeds = parse_range(pictures.seeds, "seeds")
    null_label = net.null_label if isinstance(net, UNetDenoiser) else None
    denoiser = guided(net, asked.guidance, null_label)
    done = _sample(
        net, denoiser, seeds, _labels(net, asked.classes, len(seeds)), sigmas, chosen, device,
        batches.batch,
    )  # fmt: skip
    _write(pictures, done, seeds)
    typer.echo(f"{len(done.images)} images, {done.nfe} NFE each: {', '.join(map(str, outputs))}")
    typer.echo(f"model {source}, guidance {asked.guidance:g}, device {device}")
    typer.echo(chosen.described(sigmas))


def _outputs(pictures: Pictures) -> list[Path]:
    """The files to write.

    Raises:
        ValueError: none, the same twice, or a name of another kind of file.
        OSError: one that cannot be written.
    """
    outputs = [path for path in (pictures.out, pictures.npz) if path is not None]
    if not outputs:
        raise ValueError("nowhere to write to: pass --out FILE.png, --npz FILE.npz, or both")
    if pictures.out == pictures.npz:
        raise ValueError(f"--out and --npz are both {pictures.out}; two paths are needed")
    for option, path, kind in (("out", pictures.out, "png"), ("npz", pictures.npz, "npz")):
        if path is not None and path.suffix.lower() not in ("", f".{kind}"):
            raise ValueError(
                f"--{option} is {path}; a {kind.upper()} file is written: FILE.{kind} is needed"
            )
    for path in outputs:
        check_output(path, pictures.overwrite)
    return outputs


def _labels(net: Network, classes: str | None, count: int) -> Tensor:
    """(count,) labels in turn; empty for a network without classes."""
    wanted = parse_range(classes, "classes") if classes else list(range(number_of_classes(net)))
    return torch.tensor([wanted[i % len(wanted)] for i in range(count) if wanted])


def _sample(
    net: Network, denoiser: Any, seeds: list[int], labels: Tensor, sigmas: Tensor, chosen: Chosen,
    device: torch.device, batch: int,
) -> _Sampled:  # fmt: skip
    """Batch by batch, with a progress bar: over the steps of one batch, or over several."""
    shape, start, single = net.sample_shape, float(sigmas[0]), len(seeds) <= batch
    assert shape is not None  # load_network looked
    parts, nfe = [], 0
    with typer.progressbar(length=len(seeds), label="images", hidden=single) as bar:
        for begin in range(0, len(seeds), batch):
            part = slice(begin, begin + batch)
            x = sampling.noise(shape, start, seeds[part], device=device)
            conditioning = {"class_labels": labels[part].to(device)} if len(labels) else {}
            result = sampling.sample(
                denoiser, x, sigmas, chosen.solver, chosen.coefficient, end=chosen.method.end,
                conditioning=conditioning, progress=single,
            )  # fmt: skip
            parts.append(to_uint8(result.x))
            nfe = result.nfe
            bar.update(len(x))
    return _Sampled(np.concatenate(parts), labels, nfe)


def _write(pictures: Pictures, done: _Sampled, seeds: list[int]) -> None:
    if pictures.out is not None:
        grid = image_grid(done.images, columns=10)
        write_whole(pictures.out, lambda file: grid.save(file, "PNG"))
    if pictures.npz is not None:
        arrays: dict[str, Any] = {"images": done.images, "seeds": np.array(seeds)}
        if len(done.labels):
            arrays["labels"] = done.labels.numpy()
        write_whole(pictures.npz, lambda file: np.savez(file, **arrays))
