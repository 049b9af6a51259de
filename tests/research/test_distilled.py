"""The guidance-distilled student: the teacher at w = 1, near its guided D above, in one call."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import steindiff as sd
import train_distilled
from bed import load_network
from families.distilled import (
    DISTILLED,
    TEACHER,
    Differences,
    distilled_path,
    load_distilled,
    save_differences,
)
from steindiff.models import load_model
from training import averaged, curve_of


def _states(guidance: float) -> train_distilled.States:
    levels = sd.schedules.karras(6)
    return train_distilled.states_of(
        load_model(TEACHER), 5, guidance, range(40, 46), "dpmpp_2m", levels
    )


def _target(states: train_distilled.States) -> Tensor:
    return train_distilled.guided_target(states, torch.arange(len(states.x)), states.guidance)


def test_without_guidance_it_is_the_teacher() -> None:
    teacher, student = load_model(TEACHER), load_distilled(1.0)
    for name, value in teacher.state_dict().items():
        assert torch.equal(student.state_dict()[name], value), name


@pytest.mark.parametrize("guidance", [2.0, 4.0, 7.0])
def test_at_high_noise_it_is_nearer_to_the_guided_teacher_than_the_unguided_is(
    guidance: float,
) -> None:
    """Below sigma = 5 it has learned next to nothing: research/README.md."""
    states = _states(guidance)
    target, high = _target(states), states.sigma > 15
    with torch.no_grad():
        found = load_distilled(guidance)(states.x, states.sigma, states.labels)
    assert 6 < high.sum() < len(high)
    assert (found - target)[high].norm() < 0.4 * (states.conditional - target)[high].norm()


def test_states_are_what_the_guided_teacher_was_asked() -> None:
    states, teacher = _states(3.0), load_model(TEACHER)
    again = teacher(states.x[-6:], states.sigma[-6:], states.labels[-6:])
    torch.testing.assert_close(states.conditional[-6:], again, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(states.x[:6], sd.noise(teacher.sample_shape, 80.0, range(40, 46)))
    denoiser = load_network(TEACHER, 3.0).denoiser
    labels = {"class_labels": states.labels[:6]}
    levels = sd.schedules.karras(6)
    sampled = sd.sample(
        denoiser, states.x[:6], levels, "dpmpp_2m", None, end="none",
        conditioning=labels, return_trajectory=True,
    )  # fmt: skip
    assert sampled.trajectory is not None
    torch.testing.assert_close(sampled.trajectory[-2], states.x[-6:], atol=1e-4, rtol=1e-3)


def test_the_bed_has_it_at_one_call_an_evaluation() -> None:
    network, shipped = load_network(DISTILLED, 4.0), load_network(TEACHER, 4.0)
    assert network.name == DISTILLED
    assert network.hash != shipped.hash
    assert network.feature_sets.keys() == shipped.feature_sets.keys()
    assert isinstance(network.denoiser, type(load_model(TEACHER)))
    x = sd.noise(network.shape, seeds=range(4))
    labels = network.conditioning_of(range(4))
    result = sd.sample(network.denoiser, x, sd.schedules.karras(4), "euler", conditioning=labels)
    assert result.nfe == 4
    assert result.x.isfinite().all()


def test_differences_are_small_and_belong_to_their_teacher(tmp_path: Path) -> None:
    path = distilled_path()
    assert path.stat().st_size < 1e6
    save_file(load_file(path), distilled_path(tmp_path), metadata={"teacher": "0" * 64})
    with pytest.raises(ValueError, match="belongs to other weights than those of fashion-mnist"):
        load_distilled(2.0, folder=tmp_path)
    with pytest.raises(FileNotFoundError, match="is not a file"):
        load_distilled(2.0, folder=tmp_path / "nowhere")


@pytest.mark.parametrize("guidance", [0.9, 8.1, math.nan])
def test_refuses_what_it_was_not_taught(guidance: float) -> None:
    with pytest.raises(ValueError, match="the student knows 1 to 8"):
        load_distilled(guidance)


def test_untrained_differences_are_none_and_a_saved_file_holds_them(tmp_path: Path) -> None:
    teacher = load_model(TEACHER)
    differences = Differences(teacher, rank=2)
    for name, value in differences(teacher, 5.0).items():
        assert torch.equal(value, teacher.get_parameter(name)), name
    with torch.no_grad():
        for parameter in differences.parameters():
            parameter.add_(0.01)
    save_differences(distilled_path(tmp_path), differences)
    wanted = differences(teacher, 5.0)
    for name, value in load_distilled(5.0, folder=tmp_path).named_parameters():
        torch.testing.assert_close(value, wanted[name].detach(), atol=1e-3, rtol=1e-2)
        assert not value.requires_grad


def test_training_takes_steps_from_prepared_states(tmp_path: Path) -> None:
    teacher, checkpoint = load_model(TEACHER), tmp_path / "checkpoint.pt"
    states = _states(6.0)
    train_distilled.train_student(teacher, [states], 2, 2, 0, checkpoint)
    assert curve_of(checkpoint)["step"] == 4
    moved = averaged(Differences(teacher), checkpoint)(teacher, 6.0)
    assert any(not torch.equal(moved[name], value) for name, value in teacher.named_parameters())
    assert all(not value.requires_grad for value in teacher.parameters())


def test_prepared_states_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    def group_of(_: object, group: int) -> train_distilled.States:
        made.append(group)
        return train_distilled.States(*torch.zeros(5, 1), guidance=float(group))

    monkeypatch.setattr(train_distilled, "group_of", group_of)
    teacher = load_model(TEACHER)
    for _ in range(2):
        found = train_distilled.prepared(teacher, tmp_path, 2)
    assert made == [0, 1]
    assert [states.guidance for states in found] == [0.0, 1.0]
