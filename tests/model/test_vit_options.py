"""What CLIP-ReID gives a ViT: mean and deviation 0.5, overlapping or frozen patches, a vector for each camera."""

import pytest
import torch

from ccafl.config import load_config
from ccafl.data.transforms import HALF, normalise
from ccafl.errors import InputError
from ccafl.export.graph import EncoderGraph
from ccafl.model.clip_towers import clip_tower
from ccafl.model.image_encoder import ImageEncoder
from ccafl.training.encoder_stage import encoder_optimizer

BYTES = torch.randint(256, (3, 3, 64, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
PIXELS = normalise(BYTES)


def test_the_tower_sees_the_images_with_its_own_mean_and_deviation(small_vit, tiny):
    for clip in (small_vit, tiny):
        towers = (clip_tower(clip.visual, (64, 32), halved=halved) for halved in (False, True))
        usual, halved = (ImageEncoder(tower).eval() for tower in towers)
        half = torch.tensor(HALF)[:, None, None]
        seen, by_hand = halved(PIXELS)[0], usual((BYTES / 255 - half) / half)[0]
        assert (seen - by_hand).norm() < 0.01 * (seen - usual(PIXELS)[0]).norm()
        assert usual.state_dict().keys() == halved.state_dict().keys()


def test_patches_overlap_with_a_smaller_stride(small_vit):
    tower = clip_tower(small_vit.visual, (64, 32), patch_stride=12)
    assert tower.vit.conv1.stride == (12, 12)
    assert len(tower.vit.positional_embedding) == 1 + 5 * 2  # (64 - 16) // 12 + 1 rows, (32 - 16) // 12 + 1 columns
    assert tower(PIXELS, True)[1].isfinite().all()
    touching = clip_tower(small_vit.visual, (64, 32), patch_stride=16).eval()
    torch.testing.assert_close(touching(PIXELS, False), clip_tower(small_vit.visual, (64, 32)).eval()(PIXELS, False))


def test_a_frozen_patch_projection_is_not_trained(small_vit):
    stage2 = load_config("market1501+vit-b-16").stage2
    for frozen in (True, False):
        encoder = ImageEncoder(clip_tower(small_vit.visual, (64, 32), patch_frozen=frozen))
        groups = encoder_optimizer(encoder, stage2).param_groups
        trained = {id(parameter) for group in groups for parameter in group["params"]}
        assert (id(encoder.tower.vit.conv1.weight) in trained) != frozen


def test_features_depend_on_the_camera_and_an_unknown_one_is_their_mean(small_vit):
    encoder = ImageEncoder(clip_tower(small_vit.visual, (64, 32), embedded_cameras=2)).eval()
    vectors, without = encoder.tower.camera_embedding, ImageEncoder(clip_tower(small_vit.visual, (64, 32))).eval()
    with torch.no_grad():
        vectors.zero_()
        zero = encoder(PIXELS, True, torch.tensor([0, 1, -1]))
        torch.testing.assert_close(zero, without(PIXELS), atol=1e-5, rtol=1e-5)
        vectors.normal_(std=0.5)
        first, second, unknown = (encoder.embed(PIXELS, torch.full((3,), camera)) for camera in (0, 1, -1))
        assert not torch.allclose(first, second, atol=1e-3)
        mixed = encoder.embed(PIXELS, torch.tensor([0, 1, -1]))
        torch.testing.assert_close(mixed, torch.stack([first[0], second[1], unknown[2]]))
        torch.testing.assert_close(encoder.embed(PIXELS), unknown)
        vectors[1] = vectors[0]
        torch.testing.assert_close(encoder.embed(PIXELS), first)


def test_the_exported_graph_knows_cameras_and_normalisation(small_vit):
    tower = clip_tower(small_vit.visual, (64, 32), halved=True, patch_stride=12, embedded_cameras=2)
    with torch.no_grad():
        tower.camera_embedding.normal_(std=0.5)
    encoder = ImageEncoder(tower).eval()
    graph, cameras = EncoderGraph(encoder, image_text=False), torch.tensor([1, 0, -1])
    assert graph.takes_cameras
    torch.testing.assert_close(graph(BYTES, cameras)[0], encoder.embed(PIXELS, cameras).detach(), atol=1e-5, rtol=1e-4)
    exported = torch.export.export(graph, (BYTES, cameras)).module()
    torch.testing.assert_close(exported(BYTES, cameras)[0], graph(BYTES, cameras)[0])


def test_a_resnet_refuses_what_only_a_vit_has(tiny):
    for options in ({"patch_stride": 12}, {"patch_frozen": True}, {"embedded_cameras": 2}):
        with pytest.raises(InputError, match="for a ViT only"):
            clip_tower(tiny.visual, (64, 32), **options)
