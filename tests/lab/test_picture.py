"""The comparison picture: the reference first, and what differs from it."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from steindiff.lab import picture
from steindiff.lab.picture import DIFFERENCES, SHOWN, Row

COUNT = 10


def drawn(shift: int, channels: int = 1) -> Figure:
    fine = np.full((COUNT, 4, 4, channels), 100, np.uint8)
    rows = [
        Row("base", "", np.full_like(fine, 100 + shift), "#444"),
        Row("relaxed", "", fine.copy(), "#444"),
        Row("fine", "", fine, "#444"),
    ]
    return picture.comparison(rows, [f"c{k}" for k in range(COUNT)], "title", "caption")


def heights(figure: Figure) -> dict[str, float]:
    return {text.get_text(): text.get_position()[1] for text in figure.texts}


def test_the_reference_stands_first() -> None:
    found = heights(drawn(50))
    assert found["fine"] > found["base"] > found["relaxed"] > found["caption"]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("shift", [0, 50, -50])
def test_the_differences_are_those_of_the_row_to_the_reference(shift: int, channels: int) -> None:
    """Of colours too, where darker would be cut off if they were drawn as colours."""
    figure = drawn(shift, channels)
    images = [axes.get_images()[0] for axes in figure.axes]
    differences = [image for image in images if image.get_cmap().name == "RdBu_r"]
    assert len(images) - len(differences) == 3 * SHOWN
    assert len(differences) == 2 * DIFFERENCES
    for image in differences[:DIFFERENCES]:
        np.testing.assert_allclose(np.asarray(image.get_array()), np.full((4, 4), shift / 127.5))
    for image in differences[DIFFERENCES:]:
        assert not np.asarray(image.get_array()).any()
    assert f"RMS\n{abs(shift) / 127.5:.3f}" in heights(figure)


def test_fewer_columns_than_are_shown_are_all_shown() -> None:
    fine = np.zeros((2, 4, 4, 1), np.uint8)
    rows = [Row("base", "", fine, "#444"), Row("fine", "", fine, "#444")]
    assert len(picture.comparison(rows, ["a", "b"], "title", "caption").axes) == 2 * 2 + 2
