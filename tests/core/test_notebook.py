"""What a result shows in a notebook, read by another library."""

from __future__ import annotations

import base64
import io
import re
from xml.etree import ElementTree

import pytest
import torch
from PIL import Image
from torch import Tensor

import steindiff as sd


def halved(x: Tensor, sigma: Tensor | float) -> Tensor:
    return x / (1 + torch.as_tensor(sigma) ** 2).reshape(-1, *[1] * (x.ndim - 1))


@pytest.mark.parametrize("channels", [1, 3])
def test_images_to_the_last_byte(channels: int) -> None:
    result = sd.sample(halved, sd.noise((channels, 5, 7), 80.0, range(10)), steps=3)
    found = re.search(r'src="data:image/png;base64,([^"]+)"', result._repr_html_())
    assert found
    image = Image.open(io.BytesIO(base64.b64decode(found[1])))
    image.load()
    assert image.mode == {1: "L", 3: "RGB"}[channels]
    assert image.size == (8 * 8 - 1, 2 * 6 - 1)
    pixels = torch.tensor(list(image.tobytes())).reshape(11, 63, channels).permute(2, 0, 1)
    wanted = ((result.x.clamp(-1, 1) + 1) * 127.5).round()
    assert torch.equal(pixels[:, 6:11, 8:15], wanted[9].long())
    assert torch.equal(pixels[:, :5, 56:63], wanted[7].long())
    assert (pixels[:, 5] == 255).all()  # the gap


def test_gamma_is_drawn_where_it_was_recorded() -> None:
    x = sd.noise((4,), 80.0, range(3))
    shown = sd.sample(halved, x, steps=4, record=True)._repr_html_()
    assert "<img" not in shown
    svg = ElementTree.fromstring(shown[shown.index("<svg") : shown.index("</svg>") + 6])
    lines = [part for part in svg if part.tag == "polyline"]
    assert len(lines) == 3 + 2  # samples, one, and the mean
    assert all(len(line.attrib["points"].split()) == 4 for line in lines)
    assert "<svg" not in sd.sample(halved, x, steps=4)._repr_html_()


def test_what_is_written_is_escaped() -> None:
    shown = sd.SampleResult(torch.zeros(1, 2), 1, method="<b>")._repr_html_()  # type: ignore[arg-type]
    assert "&lt;b&gt;" in shown
    assert "<b>" not in shown
