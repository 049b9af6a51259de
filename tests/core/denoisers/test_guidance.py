import copy
import math
import pickle

import pytest
import torch

from steindiff.denoisers import ClassifierFreeGuidance, Denoiser, Gaussian

CLASSES = [Gaussian(mean=-2.0, variance=0.5), Gaussian(mean=3.0, variance=0.1)]
NULL = Gaussian(mean=0.5, variance=6.0)


class Labelled:
    """Two Gaussian classes and, under label 2, what stands for no class."""

    def __init__(self):
        self.batches = []

    def __call__(self, x, sigma, /, class_labels, flag=None):
        self.batches.append(len(x))
        assert len(class_labels) == len(x)
        outputs = torch.stack([d(x, sigma) for d in [*CLASSES, NULL]])
        return outputs[class_labels, torch.arange(len(x))]

    def check(self, x, class_labels, flag=None):
        if int(class_labels.max()) > 2:
            raise ValueError("no such class")

    def divergence(self, x, sigma):
        raise AssertionError


def inputs():
    torch.manual_seed(0)
    x = 3 * torch.randn(4, 3, dtype=torch.float64)
    return x, torch.tensor([0, 1, 1, 0])


def expected(x, labels, sigma, scale):
    conditional = torch.stack(
        [CLASSES[k](v[None], sigma)[0] for v, k in zip(x, labels, strict=True)]
    )
    unconditional = NULL(x, sigma)
    return conditional, unconditional + scale * (conditional - unconditional)


@pytest.mark.parametrize("unconditional", [2, 2.0, torch.tensor(2), torch.tensor([2] * 4)])
@pytest.mark.parametrize("scale", [-1.0, 0.0, 2.5])
def test_closed_form_in_one_call(unconditional, scale):
    model, (x, labels) = Labelled(), inputs()
    guided = ClassifierFreeGuidance(model, scale, {"class_labels": unconditional})
    _, closed = expected(x, labels, 1.5, scale)
    torch.testing.assert_close(guided(x, 1.5, class_labels=labels), closed)
    torch.testing.assert_close(
        guided(x, torch.full((4,), 1.5, dtype=torch.float64), class_labels=labels), closed
    )
    assert model.batches == [8, 8]
    assert isinstance(guided, Denoiser)


def test_scale_one_costs_one_conditional_call():
    model, (x, labels) = Labelled(), inputs()
    guided = ClassifierFreeGuidance(model, 1, {"class_labels": 2})
    conditional, _ = expected(x, labels, 1.5, 1)
    assert torch.equal(guided(x, 1.5, class_labels=labels), conditional)
    assert model.batches == [4]


@pytest.mark.parametrize("as_tensor", [False, True])
@pytest.mark.parametrize(("sigma", "inside"), [(0.2, False), (0.28, True), (1, True), (5.1, False)])
def test_interval(sigma, inside, as_tensor):
    model, (x, labels) = Labelled(), inputs()
    guided = ClassifierFreeGuidance(model, 3.0, {"class_labels": 2}, interval=(0.28, 5.0))
    level = torch.full((4,), float(sigma), dtype=torch.float64) if as_tensor else sigma
    conditional, closed = expected(x, labels, sigma, 3.0)
    result = guided(x, level, class_labels=labels)
    torch.testing.assert_close(result, closed if inside else conditional)
    assert model.batches == [8 if inside else 4]


def test_interval_is_decided_for_each_sample():
    model, (x, labels) = Labelled(), inputs()
    guided = ClassifierFreeGuidance(model, 3.0, {"class_labels": 2}, interval=(0.5, math.inf))
    sigma = torch.tensor([0.1, 1.0, 0.2, 2.0], dtype=torch.float64)
    result = guided(x, sigma, class_labels=labels)
    for index, level in enumerate(sigma):
        conditional, closed = expected(x, labels, level, 3.0)
        torch.testing.assert_close(result[index], (closed if level >= 0.5 else conditional)[index])


def test_no_host_decision_on_an_accelerator():
    guided = ClassifierFreeGuidance(Labelled(), 3.0, {"class_labels": 2}, interval=(0.5, 1.0))
    mask = guided._inside(torch.ones(4, device="meta"))  # reading a meta tensor would raise
    assert isinstance(mask, torch.Tensor)
    assert mask.device.type == "meta"


def test_other_conditioning_is_passed_on():
    seen = {}

    def model(x, sigma, /, text, size, flag):
        seen.update(text=text, size=size, flag=flag)
        return x

    x = torch.randn(2, 3)
    text, size = torch.randn(2, 5), torch.tensor([1, 2])
    guided = ClassifierFreeGuidance(model, 2.0, {"text": torch.zeros(5)})
    guided(x, 1.0, text=text, size=size, flag="on")
    assert torch.equal(seen["text"], torch.cat([text, torch.zeros(2, 5)]))
    assert seen["size"].tolist() == [1, 2, 1, 2]
    assert seen["flag"] == "on"


def test_check_is_forwarded():
    x, labels = inputs()
    guided = ClassifierFreeGuidance(Labelled(), 2.0, {"class_labels": 2})
    guided.check(x, class_labels=labels)
    with pytest.raises(ValueError, match="no such class"):
        guided.check(x, class_labels=labels + 5)
    wrong = ClassifierFreeGuidance(Labelled(), 2.0, {"class_labels": 7})
    with pytest.raises(ValueError, match="no such class"):
        wrong.check(x, class_labels=labels)
    plain = ClassifierFreeGuidance(lambda x, sigma, **_: x, 2.0, {"class_labels": 2})
    plain.check(x, class_labels=labels)


def test_missing_or_misfit_conditioning():
    x, labels = inputs()
    guided = ClassifierFreeGuidance(Labelled(), 2.0, {"class_label": 2})
    with pytest.raises(ValueError, match=r"\['class_label'\], which the conditioning lacks"):
        guided(x, 1.0, class_labels=labels)
    guided = ClassifierFreeGuidance(Labelled(), 2.0, {"class_labels": torch.zeros(3)})
    with pytest.raises(ValueError, match=r"shape \(3,\), which does not broadcast"):
        guided(x, 1.0, class_labels=labels)
    with pytest.raises(ValueError, match="class_labels is None"):
        guided(x, 1.0, class_labels=None)


def test_one_row_for_all_samples_cannot_be_guided():
    """It would be given to both halves as it is: guidance without effect."""
    x, _ = inputs()
    guided = ClassifierFreeGuidance(lambda x, sigma, text: x * 0 + text, 5.0, {"text": 0.0})
    assert guided(x, 1.0, text=torch.ones(4, 3)).eq(5).all()
    for call in (guided, guided.check):
        with pytest.raises(ValueError, match=r"text has shape \(1, 3\); guidance of 4 samples"):
            call(x, *[1.0] * (call is guided), text=torch.ones(1, 3))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"scale": math.nan}, ValueError, "scale is nan"),
        ({"scale": math.inf}, ValueError, "scale is inf"),
        ({"interval": (2.0, 1.0)}, ValueError, "low <= high"),
        ({"interval": (-1.0, 1.0)}, ValueError, "low <= high"),
        ({"interval": (0.0, math.nan)}, ValueError, "low <= high"),
        ({"interval": (1.0,)}, ValueError, "a pair"),
        ({"interval": 3.0}, ValueError, "a pair"),
        ({"unconditional": {}}, ValueError, "unconditional is empty"),
        ({"denoiser": "unet"}, TypeError, "denoiser is a str"),
    ],
)
def test_bad_options(options, error, message):
    good = {"denoiser": Labelled(), "scale": 2.0, "unconditional": {"class_labels": 2}}
    with pytest.raises(error, match=message):
        ClassifierFreeGuidance(**{**good, **options})


class Sized(torch.nn.Module):
    sample_shape = (1, 4, 4)
    sigma_max = 20.0

    def forward(self, x, sigma, class_labels):
        return x


def test_plain_attributes_are_those_of_the_denoiser_and_methods_are_not():
    guided = ClassifierFreeGuidance(Sized(), 2.0, {"class_labels": 10})
    for one in (guided, copy.deepcopy(guided), pickle.loads(pickle.dumps(guided))):
        assert (one.sample_shape, one.sigma_max, one.scale) == ((1, 4, 4), 20.0, 2.0)
    for name in ("to", "parameters", "other", "_modules"):
        assert not hasattr(guided, name)
    with pytest.raises(AttributeError, match=r"guided\.denoiser\.to"):
        guided.to("cpu")
