"""What is remembered of a calibration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class About:
    """What was calibrated. Empty texts stand for "not said".

    Attributes:
        model: name or path.
        model_hash: SHA-256 of its weights' file.
        schedule: name of the noise schedule.
        guidance: scale of classifier-free guidance; 1 is none.
    """

    model: str = ""
    model_hash: str = ""
    schedule: str = ""
    guidance: float = 1.0


@dataclass(frozen=True)
class Calibration:
    """How scalars were fitted, and how well.

    Attributes:
        about: what they were fitted to.
        noises: how many noises they were fitted on.
        held_out: how many more they were tried on.
        seed: of the first noise; the others count up from it, those held out last.
        fine_steps: Heun steps of the fine trajectory.
        prior: name of the scalars that the ridge draws to.
        ridge: strength of the ridge.
        fit_error: relative root mean square error of the last state against the fine trajectory
            from the same noise, over the noises of the fit.
        held_out_error: the same over the other noises.
        command: the command that was run.
        versions: of the packages used.
    """

    about: About
    noises: int
    held_out: int
    seed: int
    fine_steps: int
    prior: str
    ridge: float
    fit_error: float
    held_out_error: float
    command: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)

    def check_use(self, model: str, model_hash: str, guidance: float) -> None:
        """Refuses another network or guidance than the calibrated one.

        Args:
            model: name of the network that is to be sampled from, for the message.
            model_hash: SHA-256 of its weights' file.
            guidance: its guidance scale.

        Raises:
            ValueError: names what differs, and both values.
        """
        if not self.about.model_hash:
            raise ValueError(
                "the calibration does not say which model it is of; make it with "
                "`steindiff calibrate`"
            )
        if model_hash != self.about.model_hash:
            raise ValueError(
                f"model is {model!r} (SHA-256 {model_hash[:12] or 'unknown'}...); the calibration "
                f"is of {self.about.model!r} (SHA-256 {self.about.model_hash[:12]}...)"
            )
        if guidance != self.about.guidance:
            raise ValueError(
                f"guidance is {guidance:g}; the calibration is of guidance {self.about.guidance:g}"
            )
