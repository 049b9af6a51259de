"""What is sampled from: shipped networks, mixtures whose denoiser is known, and given denoisers."""

from .base import Conditioning, Given, Labels, Subject, guided
from .elsewhere import of_denoiser, of_edm, of_folder, of_function, of_name, of_pipeline, subject_of
from .known import Mixture, MixtureOptions, Network, check_subject, hashes_of, make_subject
from .prompts import read_prompts

__all__ = [
    "Conditioning",
    "Given",
    "Labels",
    "Mixture",
    "MixtureOptions",
    "Network",
    "Subject",
    "check_subject",
    "guided",
    "hashes_of",
    "make_subject",
    "of_denoiser",
    "of_edm",
    "of_folder",
    "of_function",
    "of_name",
    "of_pipeline",
    "read_prompts",
    "subject_of",
]
