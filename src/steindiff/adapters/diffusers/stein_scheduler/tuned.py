"""What a pipeline shows of its network and its guidance, for a tuning that is for one of each."""

from __future__ import annotations

import weakref
from typing import Any

from ....tuning import TunedRecipe

NETWORKS = ("unet", "transformer", "denoiser")
"""What pipelines call their network."""


def network_of(pipeline: Any) -> Any:
    """The network of a pipeline; None of what has none, such as a scheduler."""
    return next((getattr(pipeline, name) for name in NETWORKS if hasattr(pipeline, name)), None)


class Guided:
    """A pipeline that samples with a tuning; it tells its guidance when it has begun.

    A copy, as a pipeline makes one of its scheduler for another one, knows no pipeline.

    Args:
        pipeline: whose scheduler is given a tuning; None is none.
        plan: the tuning.
    """

    def __init__(self, pipeline: Any = None, plan: TunedRecipe | None = None) -> None:
        self.pipeline, self.plan = None if pipeline is None else weakref.ref(pipeline), plan

    def check(self) -> None:
        """Refuses another guidance than the tuning's, of a pipeline that uses this scheduler.

        Pipelines that mix predictions say so by `do_classifier_free_guidance`; others, of a
        distilled guidance (FLUX.1-dev) or none, are not known by it.

        Raises:
            ValueError: names both.
        """
        pipe: Any = None if self.pipeline is None else self.pipeline()
        mixes = getattr(pipe, "do_classifier_free_guidance", None)
        if mixes is not None and self.plan is not None:
            self.plan.check_guidance(float(pipe.guidance_scale) if mixes else 1.0)

    def __reduce__(self) -> tuple[type[Guided], tuple[()]]:
        return Guided, ()
