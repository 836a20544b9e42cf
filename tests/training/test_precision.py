"""Training in 16 bits: small gradients are scaled, and bfloat16 is chosen only where it is native."""

import pytest
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision
from test_full_step import epoch_of, persons_in_cameras, step_of

from ccafl.config import Stage1, load_config
from ccafl.data.batches import seed_for
from ccafl.model.network import build_network
from ccafl.training.fabric import automatic_precision, set_up_optimizer
from ccafl.training.prompt_stage import all_text_features, learn_prompts_epoch, prompt_optimizer
from ccafl.training.schedule import Phase

SETTINGS = Stage1(weight_decay=0.0, warmup_epochs=0)


def float16() -> Fabric:
    plugin = MixedPrecision("16-mixed", "cpu", scaler=torch.amp.GradScaler("cpu"))
    return Fabric(accelerator="cpu", devices=1, plugins=plugin)


def float32() -> Fabric:
    return Fabric(accelerator="cpu", devices=1)


def first_gradient(optimizer: torch.optim.Optimizer) -> torch.Tensor:
    """The only parameter's gradient: after one step, Adam's running mean is (1 - beta1) times it."""
    (state,) = optimizer.state.values()
    return state["exp_avg"] / 0.1


@pytest.mark.parametrize(("margin", "scale"), [(1.0, 1.0), (11.0, 1000.0)])
def test_float16_gradients_of_prompts_equal_those_of_float32(margin, scale):
    """The losses are 5.1 and 0.0002. Unscaled, the second gradient, through large features, is off by 93 %."""
    images, _ = persons_in_cameras(persons=8, cameras=2, images=1)
    gradients = []
    for fabric in (float32(), float16()):
        network = build_network(load_config("demo").model, len(images.identity_cameras), cameras=2, seed=seed_for(0, 0))
        torch.nn.init.normal_(network.prompts.tokens, generator=torch.Generator().manual_seed(0))
        network.text_encoder.projection.mul_(scale)
        texts = all_text_features(float32(), network)
        fitting = margin * torch.linalg.pinv(texts).T  # products: ``margin`` with their own prompt, 0 with the others
        optimizer = set_up_optimizer(fabric, prompt_optimizer(network.prompts, SETTINGS))
        list(learn_prompts_epoch(fabric, network, optimizer, fitting, images, SETTINGS, 0, seed=0))
        gradients.append(first_gradient(optimizer))
    reference, ours = gradients
    assert (ours - reference).norm() < 0.01 * reference.norm()


@pytest.mark.parametrize("learning", ["intra", "inter"])
def test_float16_gradients_of_the_classifier_equal_those_of_float32(learning):
    """An optimiser that did not undo the scaling would see them 65,536 times too large."""
    config = load_config("demo", ["stage2.steps_per_epoch=1", "data.workers=0"])
    gradients = []
    for fabric in (float32(), float16()):
        epoch = epoch_of(config, Phase(learning, text=False, adversarial=False), fabric=fabric)
        step_of(epoch)
        gradients.append(first_gradient(epoch.classifier_optimizer))
    reference, ours = gradients
    assert (ours - reference).norm() < 0.02 * reference.norm()


@pytest.mark.parametrize(("native", "precision"), [(True, "bf16-mixed"), (False, "16-mixed")])
def test_automatic_precision_is_never_emulated(monkeypatch, native, precision):
    """A GPU older than Ampere supports bfloat16 only if emulation counts."""
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: native or including_emulation)
    assert automatic_precision() == precision
