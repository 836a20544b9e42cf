"""The paper, one file per part: pure functions and small classes on tensors, without files, settings or epochs.

Stage 1: `prompt_contrastive_loss`. Stage 2: `intra_camera_losses` with one `HybridMemory` per camera, then `associate`,
then `inter_camera_losses` with a `PrototypeMemory`, and `adversarial_loss` against the classifier of `identity_loss`.
"""

from ccafl.method.adversarial import adversarial_loss, adversarial_positives
from ccafl.method.association import associate, associate_features, identity_centres
from ccafl.method.inter_camera import identity_loss, inter_camera_losses
from ccafl.method.intra_camera import intra_camera_losses
from ccafl.method.losses import batch_hard_triplet, text_classification_loss
from ccafl.method.memory import HybridMemory, PrototypeMemory
from ccafl.method.prompt_learning import prompt_contrastive_loss

__all__ = [
    "HybridMemory",
    "PrototypeMemory",
    "adversarial_loss",
    "adversarial_positives",
    "associate",
    "associate_features",
    "batch_hard_triplet",
    "identity_centres",
    "identity_loss",
    "inter_camera_losses",
    "intra_camera_losses",
    "prompt_contrastive_loss",
    "text_classification_loss",
]
