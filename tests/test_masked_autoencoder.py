"""The audio masked autoencoder: masking, loss against a loop, cost, positions, local windows, checkpoints."""

import math

import pytest
import torch
from uamix_cases import flop_counter

from contrastbench.errors import UserError
from contrastbench.models.masked_autoencoder import Decoder, MaskedAutoencoder, random_mask, reconstruct
from contrastbench.models.patches import patchify, target_statistics, unpatchify
from contrastbench.models.vit import AudioViT, sincos_positions
from contrastbench.models.vit_checkpoint import export_encoder, import_encoder
from contrastbench.objectives.masked_autoencoding import masked_reconstruction_loss
from contrastbench.params.vit import DecoderParams, ViTParams

SHAPE = (1, 32, 16)
ENCODER = ViTParams(patch=4, width=16, depth=2, heads=2, readout="mean")  # 8 x 4 patches
DECODER = DecoderParams(attention="global", width=8, depth=2, heads=2, window=(4, 4), shift=(2, 0))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def autoencoder(**changes) -> MaskedAutoencoder:
    torch.manual_seed(0)
    encoder = AudioViT(ENCODER, SHAPE)
    return MaskedAutoencoder(encoder, Decoder(DecoderParams(**DECODER.model_dump() | changes), encoder))


def spectrograms(batch: int = 3, shape: tuple[int, int, int] = SHAPE, seed: int = 1) -> torch.Tensor:
    return torch.randn(batch, *shape, generator=generator(seed))


@pytest.mark.parametrize("ratio", [0.25, 0.5, 0.8])
@pytest.mark.parametrize("patches", [32, 500, 512])
def test_masking_keeps_exactly_the_set_share_and_covers_every_place(ratio, patches):
    mask = random_mask(64, patches, ratio, generator())
    keep = round(patches * (1 - ratio))
    assert mask.kept.shape == (64, keep)
    assert (mask.hidden.sum(dim=1) == patches - keep).all()
    assert all(len(set(row.tolist())) == keep for row in mask.kept)
    assert not mask.hidden.gather(1, mask.kept).any()
    hidden_share = random_mask(4000, 32, ratio, generator()).hidden.float().mean(dim=0)
    expected = 1 - round(32 * (1 - ratio)) / 32
    assert (hidden_share - expected).abs().max() < 5 * math.sqrt(0.25 / 4000)


@pytest.mark.parametrize("ratio", [0.0, 1.0])
def test_masking_never_hides_all_or_nothing(ratio):
    hidden = random_mask(2, 8, ratio, generator()).hidden.sum(dim=1)
    assert ((hidden > 0) & (hidden < 8)).all()


def test_patches_are_counted_as_the_embedding_counts_them_and_put_back():
    x = spectrograms()
    patches = patchify(x, 4)
    for row in range(8):
        for column in range(4):
            tile = x[:, 0, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
            assert torch.equal(patches[:, 4 * row + column], tile.flatten(1))
    assert torch.equal(unpatchify(patches, (8, 4), 4), x)
    embed = AudioViT(ENCODER, SHAPE).patch_embed
    expected = patches @ embed.proj.weight.flatten(1).T + embed.proj.bias
    torch.testing.assert_close(embed(x), expected, rtol=1e-4, atol=1e-5)


def loop_target(pixels: list[float]) -> list[float]:
    """``pixels`` at mean 0 and variance 1; MAE's torch.var is unbiased."""
    mean = sum(pixels) / len(pixels)
    variance = sum((p - mean) ** 2 for p in pixels) / (len(pixels) - 1)
    return [(p - mean) / math.sqrt(variance + 1e-6) for p in pixels]


@pytest.mark.parametrize("target", ["raw", "standardised", "normalised"])
def test_reconstruction_loss_equals_a_loop_and_ignores_visible_patches(target):
    x = spectrograms() * torch.tensor([0.5, 1.0, 3.0]).view(3, 1, 1, 1) + 0.7  # no two clips share statistics
    patches = patchify(x, 4)
    prediction = torch.randn(patches.shape, generator=generator(2))
    hidden = random_mask(3, 32, 0.75, generator()).hidden
    total, count = 0.0, 0
    for b in range(3):
        for n in range(32):
            if not hidden[b, n]:
                continue
            whole = patches[b].double().flatten().tolist()
            pixels = whole[16 * n : 16 * n + 16]
            wanted = {"raw": pixels, "standardised": loop_target(whole)[16 * n : 16 * n + 16]}
            wanted["normalised"] = loop_target(pixels)
            total += sum((a - t) ** 2 for a, t in zip(prediction[b, n].tolist(), wanted[target], strict=True)) / 16
            count += 1
    loss = masked_reconstruction_loss(prediction, patches, hidden, target)
    assert loss.item() == pytest.approx(total / count, rel=1e-5)
    changed = torch.where(hidden.unsqueeze(2), prediction, prediction + 7)
    assert masked_reconstruction_loss(changed, patches, hidden, target).item() == loss.item()
    if target != "standardised":  # whose mean and deviation are of all patches
        elsewhere = torch.where(hidden.unsqueeze(2), patches, patches * 3 + 1)
        assert masked_reconstruction_loss(prediction, elsewhere, hidden, target).item() == loss.item()


@pytest.mark.parametrize("target", ["raw", "standardised", "normalised"])
def test_loss_is_finite_for_silence_and_half_precision(target):
    silence = torch.full((2, 32, 16), 0.3)
    for dtype in (torch.float16, torch.bfloat16):
        prediction = torch.ones(2, 32, 16, dtype=dtype, requires_grad=True)
        hidden = torch.ones(2, 32, dtype=torch.bool)
        loss = masked_reconstruction_loss(prediction, silence.to(dtype), hidden, target)
        loss.backward()
        assert torch.isfinite(loss) and torch.isfinite(prediction.grad).all()


def test_only_kept_patches_pass_through_the_encoder_and_their_cost_falls():
    model = autoencoder()
    rows: list[int] = []
    for block in model.encoder.blocks:
        block.register_forward_hook(lambda module, inputs, output: rows.append(inputs[0].shape[1]))
    flops = {}
    for ratio in (0.25, 0.75):
        rows.clear()
        mask = random_mask(3, 32, ratio, generator())
        with flop_counter() as counter:
            model.encoder.tokens(spectrograms(), mask.kept)
        assert rows == [1 + round(32 * (1 - ratio))] * 2  # the class token and the kept patches
        flops[ratio] = counter.get_total_flops()
    # 8 patches are embedded instead of 24, and the blocks see 9 tokens instead of 25.
    assert flops[0.75] < 0.36 * flops[0.25]


def test_hidden_patches_do_not_reach_the_prediction():
    model = autoencoder().eval()
    x, mask = spectrograms(), random_mask(3, 32, 0.75, generator())
    hidden = unpatchify(mask.hidden.unsqueeze(2).expand(-1, -1, 16).float(), (8, 4), 4).bool()
    prediction, _ = model(x, mask)
    torch.testing.assert_close(model(x.masked_fill(hidden, 9.0), mask)[0], prediction)
    assert not torch.allclose(model(x.masked_fill(~hidden, 9.0), mask)[0], prediction)


def test_order_of_the_kept_patches_changes_nothing():
    model = autoencoder().eval()
    x, mask = spectrograms(), random_mask(3, 32, 0.5, generator())
    turned = mask._replace(kept=mask.kept.flip(1))
    torch.testing.assert_close(model(x, turned)[0], model(x, mask)[0], rtol=1e-4, atol=1e-5)


def test_positions_are_maes():
    width, grid = 24, (5, 3)
    ours = sincos_positions(grid, width, class_token=True)[0]
    assert torch.equal(ours[0], torch.zeros(width))
    omega = [1 / 10000 ** (i / 6) for i in range(6)]
    for time in range(5):
        for mel in range(3):
            expected = [f(at * w) for at in (mel, time) for f in (math.sin, math.cos) for w in omega]
            torch.testing.assert_close(ours[1 + 3 * time + mel], torch.tensor(expected), rtol=1e-5, atol=1e-6)
    encoder = AudioViT(ENCODER, SHAPE)
    assert "pos_embed" not in dict(encoder.named_parameters())


def test_local_decoder_sees_its_window_only_and_the_shift_joins_windows_in_time():
    def reach(depth: int) -> torch.Tensor:
        """Which patches' predictions change with the token of patch 0."""
        model = autoencoder(attention="local", window=(4, 2), depth=depth).eval()
        mask = random_mask(1, 32, 0.5, generator())
        mask = mask._replace(kept=torch.arange(16).unsqueeze(0))  # the first four time rows stay
        tokens = torch.randn(1, 17, 16, generator=generator(3))
        other = tokens.clone()
        other[:, 1] += 1
        changed = (model.decoder(tokens, mask) != model.decoder(other, mask)).any(dim=2)
        return changed.unflatten(1, (8, 4))[0]

    one = torch.zeros(8, 4, dtype=torch.bool)
    one[:4, :2] = True
    assert torch.equal(reach(1), one)
    two = torch.zeros(8, 4, dtype=torch.bool)
    two[:6, :2] = True  # the second block's windows start two rows later
    assert torch.equal(reach(2), two)


def test_window_that_does_not_divide_the_grid_is_refused():
    with pytest.raises(UserError, match=r"decoder.window = \[3, 4\].*8 x 4 patches"):
        autoencoder(attention="local", window=(3, 4), shift=(1, 0))


@pytest.mark.parametrize("target", ["raw", "standardised", "normalised"])
def test_a_perfect_prediction_is_reconstructed_as_the_original(target):
    x = spectrograms() * torch.tensor([0.5, 1.0, 3.0]).view(3, 1, 1, 1) + 0.7
    perfect = autoencoder()
    mean, std = target_statistics(patchify(x, 4), target)
    perfect.forward = lambda x, mask: ((patchify(x, 4) - mean) / std, None)
    torch.testing.assert_close(reconstruct(perfect, x, 0.5, target, generator()).reconstructed, x)


@pytest.mark.parametrize("attention", ["global", "local"])
def test_training_fills_in_hidden_patches(attention):
    """A noisy pattern that differs from patch to patch; predicting each patch's mean has loss 15/16."""
    model = autoencoder(attention=attention, width=16)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    draw = generator(5)
    pattern = torch.sin(0.2 * torch.arange(32.0)).view(1, 1, 32, 1) * torch.cos(0.4 * torch.arange(16.0))
    for _ in range(140):
        x = pattern + 0.1 * torch.randn(16, *SHAPE, generator=draw)
        mask = random_mask(16, 32, 0.5, draw)
        loss = masked_reconstruction_loss(model(x, mask)[0], patchify(x, 4), mask.hidden, "normalised")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.5  # measured over 4 seeds after 100 steps: 0.21 to 0.40
    shown = reconstruct(model.eval(), x, 0.5, "normalised", draw)
    missing = shown.masked.isnan()
    assert missing.float().mean() == 0.5
    assert torch.equal(shown.reconstructed[~missing], x[~missing])
    within = x[missing].var() - patchify(x, 4).mean(dim=2).var()
    assert (shown.reconstructed - x)[missing].square().mean() < 0.6 * within


def timm_vit(shape=SHAPE, width=16, depth=2, heads=2, patch=4) -> torch.nn.Module:
    from timm.models.vision_transformer import VisionTransformer  # after contrastbench, which makes it usable

    torch.manual_seed(3)
    return VisionTransformer(
        img_size=shape[1:], patch_size=patch, in_chans=1, num_classes=0, embed_dim=width, depth=depth,
        num_heads=heads, qkv_bias=True, global_pool="avg",
    ).eval()  # fmt: skip


def test_timm_checkpoint_gives_timms_features(tmp_path):
    import safetensors.torch

    theirs = timm_vit()
    state = theirs.state_dict()
    assert "fc_norm.weight" in state  # timm's name for the final norm of a mean-pooled ViT
    safetensors.torch.save_file(state, tmp_path / "timm.safetensors")
    ours = AudioViT(ENCODER, SHAPE).eval()
    import_encoder(ours, tmp_path / "timm.safetensors")
    x = spectrograms()
    with torch.no_grad():
        normed = theirs.fc_norm(theirs.forward_features(x))
        torch.testing.assert_close(ours(x), normed[:, 1:].mean(dim=1), rtol=1e-4, atol=1e-5)


def test_audiomae_checkpoint_is_read_without_its_decoder_and_written_again(tmp_path):
    source = autoencoder().encoder
    torch.nn.init.normal_(source.norm.bias)
    published = source.state_dict() | {"mask_token": torch.zeros(1, 1, 8), "decoder_embed.weight": torch.zeros(8, 16)}
    torch.save({"model": published, "epoch": 3}, tmp_path / "audiomae.pth")
    ours = AudioViT(ENCODER, SHAPE)
    import_encoder(ours, tmp_path / "audiomae.pth")
    export_encoder(ours, tmp_path / "encoder.safetensors")
    again = AudioViT(ENCODER, SHAPE)
    import_encoder(again, tmp_path / "encoder.safetensors")
    for name, tensor in source.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"width": 32}, "cls_token has shape \\(1, 1, 32\\)"),
        ({"depth": 1}, "blocks.1.norm1.weight is missing, and 11 more"),
        ({"depth": 3}, "blocks.2.norm1.weight does not belong in it, and 11 more"),
        ({"shape": (1, 16, 16)}, "pos_embed has shape \\(1, 17, 16\\)"),
    ],
)
def test_checkpoint_of_another_architecture_is_one_line(tmp_path, other, words):
    theirs = timm_vit(**other).state_dict()
    torch.save(theirs, tmp_path / "other.pth")
    with pytest.raises(UserError, match=words) as error:
        import_encoder(AudioViT(ENCODER, SHAPE), tmp_path / "other.pth")
    assert "\n" not in str(error.value) and "other.pth" in str(error.value)


def test_files_that_are_no_checkpoints_are_one_line(tmp_path):
    encoder = AudioViT(ENCODER, SHAPE)
    (tmp_path / "a.pth").write_bytes(b"not a checkpoint")
    (tmp_path / "b.safetensors").write_bytes(b"not a checkpoint")
    torch.save([1, 2], tmp_path / "c.pth")
    torch.save({"model": encoder}, tmp_path / "pickled.pth")  # code inside: refused, not run
    for name in ("a.pth", "b.safetensors", "c.pth", "pickled.pth", "absent.pth"):
        with pytest.raises(UserError, match=name) as error:
            import_encoder(encoder, tmp_path / name)
        assert "\n" not in str(error.value)


def test_spectrograms_of_another_size_are_refused():
    with pytest.raises(UserError, match="multiples of 4"):
        AudioViT(ENCODER, (1, 30, 16))
    with pytest.raises(UserError, match="the encoder takes"):
        AudioViT(ENCODER, SHAPE)(spectrograms(shape=(1, 16, 16)))
