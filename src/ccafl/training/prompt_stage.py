"""Stage 1, prompt learning (paper, section III): both towers frozen, only the prompt tokens learn."""

from collections.abc import Iterator
from functools import partial

import torch
from lightning_fabric import Fabric
from torch import Tensor

from ccafl.config import Stage1
from ccafl.data.batches import seed_for, shuffled_batches
from ccafl.data.numbering import LabelledImages
from ccafl.method.prompt_learning import prompt_contrastive_loss
from ccafl.model.network import Network
from ccafl.model.prompts import PromptLearner
from ccafl.training.schedule import stage1_learning_rate


def prompt_optimizer(prompts: PromptLearner, settings: Stage1) -> torch.optim.Adam:
    """Adam on the prompt tokens alone."""
    return torch.optim.Adam(
        prompts.parameters(), settings.learning_rate, weight_decay=settings.weight_decay, fused=True
    )


def learn_prompts_epoch(
    fabric: Fabric,
    network: Network,
    optimizer: torch.optim.Optimizer,
    image_text_features: Tensor,
    images: LabelledImages,
    settings: Stage1,
    epoch: int,
    seed: int,
) -> Iterator[Tensor]:
    """One epoch of stage 1; yields every step's loss.

    Every process takes the whole batch: the text tower is fast on 64 prompts, and no gradient is exchanged.

    Args:
        optimizer: Fabric's, so that 16-bit gradients are scaled.
        image_text_features: (n, E) of all training images, by the frozen image tower.
    """
    for group in optimizer.param_groups:
        group["lr"] = stage1_learning_rate(settings, epoch)
    send = partial(Tensor.to, device=image_text_features.device, non_blocking=True)
    for indices in shuffled_batches(len(images), settings.batch_size, seed_for(seed, 1, epoch)):
        with fabric.autocast():
            text_features = network.text_features(send(images.identities[indices]))
        loss = prompt_contrastive_loss(
            image_text_features[send(indices)],
            text_features.float(),
            send(images.labels[indices]),
            send(images.cameras[indices]),
        )
        optimizer.zero_grad()
        fabric.backward(loss)
        optimizer.step()
        yield loss.detach()


@torch.no_grad()
def all_text_features(fabric: Fabric, network: Network, batch: int = 256) -> Tensor:
    """Text feature of every accumulated identity's learned prompt: (N, E) float32, E = 0 without a text tower."""
    classifier = network.classifier
    every_identity = torch.arange(classifier.identities, device=classifier.weight.device)
    with fabric.autocast():
        features = [network.text_features(identities).float() for identities in every_identity.split(batch)]
    return torch.cat(features)
