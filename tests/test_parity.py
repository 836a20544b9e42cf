"""Our functions reproduce the outputs of the authors' functions (tests/parity/, from the released code)."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from ccafl.evaluation.ranking import rank
from ccafl.evaluation.reranking import k_reciprocal
from ccafl.method.association import associate
from ccafl.method.inter_camera import adversarial_loss, adversarial_positives, identity_loss
from ccafl.method.losses import batch_hard_triplet
from ccafl.method.memory import HybridMemory, PrototypeMemory
from ccafl.method.prompt_learning import prompt_contrastive_loss

CASES = Path(__file__).parent / "parity"


def cases(name: str):
    files = sorted(CASES.glob(f"{name}_[0-9].npz"))
    assert files
    return pytest.mark.parametrize("case", [pytest.param(file, id=file.stem) for file in files])


def load(file: Path) -> dict[str, Tensor]:
    return {key: torch.from_numpy(value) if value.ndim else value.item() for key, value in np.load(file).items()}


def same(ours: Tensor, theirs) -> None:
    theirs = torch.as_tensor(theirs, dtype=torch.float32)
    largest = theirs.abs().max().item()
    torch.testing.assert_close(ours.detach(), theirs, rtol=0, atol=1e-4 * largest if largest else 1e-6)


@cases("prompt_contrast")
def test_prompt_contrastive_loss(case):
    case = load(case)
    text = case["text_features"].requires_grad_()
    loss = prompt_contrastive_loss(case["image_features"], text, case["labels"], case["cameras"])
    loss.backward()
    same(loss, case["loss"])
    same(text.grad, case["grad_text"])


@cases("hybrid_memory")
def test_hybrid_memory(case):
    case = load(case)
    memory = HybridMemory(
        case["centres"], case["instances"], temperature=case["temperature"], momentum=case["momentum"]
    )
    features = case["features"].requires_grad_()
    centre_loss, hard_instance_loss = memory.losses(features, case["labels"])
    (0.6 * centre_loss + 0.4 * hard_instance_loss).backward()
    same(centre_loss, case["centre_loss"])
    same(hard_instance_loss, case["hard_instance_loss"])
    same(features.grad, case["grad_features"])
    memory.update(features, case["labels"])
    same(memory.centres, case["centres_after"])
    same(memory.instances, case["instances_after"])


@cases("prototype_memory")
def test_prototype_memory(case):
    case = load(case)
    memory = PrototypeMemory(case["prototypes"], temperature=case["temperature"], momentum=case["momentum"])
    features = case["features"].requires_grad_()
    loss = memory.loss(features, case["labels"])
    loss.backward()
    same(loss, case["loss"])
    same(features.grad, case["grad_features"])
    memory.update(features, case["labels"])
    same(memory.prototypes, case["prototypes_after"])


@cases("batch_hard_triplet")
def test_batch_hard_triplet(case):
    case = load(case)
    anchors = case["anchors"].requires_grad_()
    candidates = anchors if case["candidates_are_anchors"] else case["candidates"]
    loss = batch_hard_triplet(
        anchors, candidates, case["anchor_labels"], case["candidate_labels"], margin=case["margin"]
    )
    loss.backward()
    same(loss, case["loss"])
    same(anchors.grad, case["grad_anchors"])


@cases("identity_loss")
def test_identity_loss(case):
    case = load(case)
    cosines = case["cosines"].requires_grad_()
    loss = identity_loss(cosines, case["identities"], scale=case["scale"])
    loss.backward()
    same(loss, case["loss"])
    same(cosines.grad, case["grad_cosines"])


@cases("adversarial_loss")
def test_adversarial_loss(case):
    case = load(case)
    positives = adversarial_positives(case["association"], case["identity_cameras"], case["identities"])
    assert torch.equal(positives, case["positives"].nonzero().T)
    cosines = case["cosines"].requires_grad_()
    settings = {key: case[key] for key in ("margin", "epsilon", "boost", "scale")}
    loss = adversarial_loss(cosines, case["identities"], case["identity_cameras"], positives, **settings)
    loss.backward()
    same(loss, case["loss"])
    same(cosines.grad, case["grad_cosines"])


@cases("association")
def test_association(case):
    case = load(case)
    ours = associate(case["centres"], case["cameras"], case["rate"]).tolist()
    theirs = case["labels"].tolist()
    assert [label == -1 for label in ours] == [label == -1 for label in theirs]
    pairs = set(zip(ours, theirs, strict=True))  # the same partition: the labels correspond one to one
    assert len(pairs) == len(set(ours)) == len(set(theirs))


@cases("ranking")
def test_ranking(case):
    case = load(case)
    inputs = ("query_features", "gallery_features", "query_ids", "query_cameras", "gallery_ids", "gallery_cameras")
    ranking = rank(*(case[key] for key in inputs))
    assert ranking.mAP == pytest.approx(case["map"], abs=1e-6)
    assert ranking.cmc[:10].tolist() == pytest.approx(case["cmc"].tolist(), abs=1e-6)


@cases("rerank")
def test_k_reciprocal(case):
    case = load(case)
    ours = k_reciprocal(
        case["q_g_dist"], case["q_q_dist"], case["g_g_dist"], case["k1"], case["k2"], case["lambda_value"]
    )
    same(ours, case["distances"])
