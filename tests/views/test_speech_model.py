"""Speech models, held to transformers run by hand on the same small random checkpoints."""

import json
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import numpy as np
import pytest
import torch
import transformers
from huggingface_hub.errors import (
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from safetensors.torch import load_file, save_file

from emoviews.errors import AudioError, CheckpointError, UsageError
from emoviews.views import make_view
from emoviews.views.speech_model import CONVOLUTIONAL, SpeechModel, SpeechModelParameters

pytestmark = pytest.mark.usefixtures("offline")

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def make(model, **parameters):
    return make_view("speech_model", {"model": str(model), **parameters})


LAST_BITS = 2e-6
"""Of values around 1: matrices that lie in memory as the product reads them give other last bits on some processors."""


def reference(folder, samples):
    """Hidden states as transformers gives them, `(layers, frames, features)`, and the projection computed step by step."""
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32)
    values = extractor(samples, sampling_rate=16_000, return_tensors="pt")
    with torch.inference_mode():
        if "input_features" in values:
            return torch.stack(model.encoder(values.input_features, output_hidden_states=True).hidden_states)[
                :, 0
            ].numpy()
        hidden = model(values.input_values, output_hidden_states=True).hidden_states
        projected = model.feature_projection(model.feature_extractor(values.input_values).transpose(1, 2))
        projected = projected[0] if isinstance(projected, tuple) else projected
        return torch.stack([projected, *hidden[1:]])[:, 0].numpy(), hidden[0][0].numpy()


def edit(path: Path, **changes):
    content = json.loads(path.read_text())
    content.update(changes)
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not ...}))


def edit_weights(folder, change):
    state = load_file(folder / "model.safetensors")
    change(state)
    (folder / "model.safetensors").unlink()
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


# --- the numbers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model_type", CONVOLUTIONAL)
def test_layers_are_the_projection_and_the_hidden_states_of_transformers(make_checkpoint, make_speech, model_type):
    folder, samples = make_checkpoint(model_type), make_speech(24_000)
    values = make(folder)(samples)
    expected, encoder_input = reference(folder, samples)
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, expected, rtol=0, atol=LAST_BITS)
    assert not np.allclose(values[0], encoder_input, atol=0.1)  # hidden_states[0] is another tensor


@pytest.mark.parametrize("model_type", ["wav2vec2", "hubert", "wavlm"])
def test_large_architecture(make_checkpoint, make_speech, model_type):
    """Layer norm in every convolution, and `do_stable_layer_norm`: the last layer is taken before the final norm."""
    folder = make_checkpoint(model_type, do_stable_layer_norm=True, feat_extract_norm="layer", conv_bias=True)
    samples = make_speech(20_000)
    values = make(folder)(samples)
    np.testing.assert_allclose(values, reference(folder, samples)[0], rtol=0, atol=LAST_BITS)
    model = transformers.AutoModel.from_pretrained(folder)
    with torch.inference_mode():
        normed = model.encoder.layer_norm(torch.from_numpy(values[-1])).numpy()
        extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
        last = model(extractor(samples, sampling_rate=16_000, return_tensors="pt").input_values).last_hidden_state
    assert np.allclose(normed, last[0], atol=1e-5)


@pytest.mark.parametrize("n_samples", [1600, 1700, 24_000, 24_160, 24_320])
def test_whisper_pads_to_30_seconds_and_trims(make_checkpoint, make_speech, n_samples):
    folder, samples = make_checkpoint("whisper"), make_speech(n_samples)
    values = make(folder)(samples)
    expected = reference(folder, samples)
    assert expected.shape == (3, 1500, 16)
    mel_frames = n_samples // 160
    assert values.shape == (3, (mel_frames - 1) // 2 + 1, 16)  # the second convolution: kernel 3, stride 2, padding 1
    assert np.array_equal(values, expected[:, : values.shape[1]])


def test_whisper_layer_0_is_the_convolutions_plus_positions(make_checkpoint, make_speech):
    folder, samples = make_checkpoint("whisper"), make_speech(32_000)
    encoder = transformers.WhisperModel.from_pretrained(folder).encoder
    mel = transformers.WhisperFeatureExtractor.from_pretrained(folder)(
        samples, sampling_rate=16_000, return_tensors="pt"
    ).input_features
    with torch.inference_mode():
        stem = torch.nn.functional.gelu(encoder.conv2(torch.nn.functional.gelu(encoder.conv1(mel))))[0].T
        expected = stem + encoder.embed_positions.weight
    assert np.allclose(make(folder)(samples)[0], expected[:100], atol=1e-6)


def test_whisper_cuts_longer_audio_into_pieces(make_checkpoint, make_speech):
    folder, samples = make_checkpoint("whisper"), make_speech(35 * 16_000)
    values = make(folder, maximum_seconds=None)(samples)
    first, second = reference(folder, samples[: 30 * 16_000]), reference(folder, samples[30 * 16_000 :])
    assert values.shape == (3, 1750, 16)
    assert np.array_equal(values, np.concatenate([first, second[:, :250]], axis=1))


def test_whisper_remainder_shorter_than_a_frame_is_dropped(make_checkpoint, make_speech):
    view = make(make_checkpoint("whisper"), maximum_seconds=None)
    assert view(make_speech(30 * 16_000 + 159)).shape == (3, 1500, 16)
    assert view(make_speech(30 * 16_000 + 160)).shape == (3, 1501, 16)


def test_whisper_with_128_mel_bands(make_checkpoint, make_speech):
    folder, samples = make_checkpoint("whisper", num_mel_bins=128), make_speech(8000)
    assert np.array_equal(make(folder)(samples), reference(folder, samples)[:, :25])


@pytest.mark.parametrize("model_type", ["wav2vec2", "hubert", "wavlm", "whisper"])
@pytest.mark.parametrize("n_samples", [1600, 1919, 1920, 4001, 50_000])
def test_frame_count(make_checkpoint, make_speech, model_type, n_samples):
    view = make(make_checkpoint(model_type))
    expected = n_samples
    if model_type == "whisper":
        expected = -(-(n_samples // 160) // 2)
    else:
        for kernel, stride in [
            (10, 5),
            (3, 2),
            (3, 2),
            (3, 2),
            (3, 2),
            (2, 2),
            (2, 2),
        ]:  # Baevski et al. 2020, section 4.2
            expected = (expected - kernel) // stride + 1
    assert view.n_frames(n_samples) == expected
    assert view(make_speech(n_samples)).shape[1] == expected
    assert view.frame_rate == 50


def test_a_tenth_of_a_second_gives_four_frames(make_checkpoint, make_speech):
    assert make(make_checkpoint())(make_speech(1600)).shape == (4, 4, 16)


@pytest.mark.parametrize("normalise", [True, False])
def test_normalisation_follows_the_checkpoint_or_the_parameter(make_checkpoint, make_speech, normalise):
    folder, samples = make_checkpoint("wavlm", normalise=normalise, feat_extract_norm="layer"), make_speech(16_000)
    values = make(folder)(samples)
    np.testing.assert_allclose(values, reference(folder, samples)[0], rtol=0, atol=LAST_BITS)
    assert np.array_equal(values, make(folder, normalise=normalise)(samples))
    other = make(folder, normalise=not normalise)(samples)
    assert not np.allclose(values, other, atol=1e-2)
    loud = make(folder)(4 * samples + 0.1)
    assert np.allclose(values, loud, atol=1e-3) == normalise


def test_settings_inside_processor_config(make_checkpoint, make_speech):
    folder, samples = make_checkpoint(normalise=True), make_speech(8000)
    expected = make(folder)(samples)
    settings = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "processor_config.json").write_text(json.dumps({"feature_extractor": settings}))
    (folder / "preprocessor_config.json").unlink()
    assert np.array_equal(make(folder)(samples), expected)


def test_long_recordings_are_cropped(make_checkpoint, make_speech):
    folder, samples = make_checkpoint(), make_speech(40_000)
    assert np.array_equal(make(folder, maximum_seconds=1)(samples), make(folder)(samples[:16_000]))
    assert make(folder, maximum_seconds=None)(samples).shape[1] == make(folder).n_frames(40_000) == 124


def test_fixed_padding_is_the_zero_padded_recording(make_checkpoint, make_speech):
    """As the feature extractor of transformers pads for wav2vec2-base: zeros first, then normalised, no attention mask."""
    folder, samples = make_checkpoint(), make_speech(20_000)
    padded = np.concatenate([samples, np.zeros(12_000, np.float32)])
    kept = make(folder, padding="fixed", maximum_seconds=2, mask_padding=False)(samples)
    assert np.array_equal(kept, reference(folder, padded)[0])
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
    by_extractor = extractor(
        samples, sampling_rate=16_000, padding="max_length", max_length=32_000, return_tensors="pt"
    )
    by_hand = (padded - padded.mean()) / np.sqrt(padded.var() + 1e-7)
    assert np.array_equal(by_extractor.input_values[0], by_hand)
    masked = make(folder, padding="fixed", maximum_seconds=2)(samples)
    assert masked.shape[1] == make(folder)(samples).shape[1] == 62
    assert np.array_equal(masked, kept[:, :62])


def test_fixed_padding_of_whisper(make_checkpoint, make_speech):
    folder, samples = make_checkpoint("whisper"), make_speech(16_000)
    kept = make(folder, padding="fixed", maximum_seconds=2, mask_padding=False)(samples)
    assert np.array_equal(kept, reference(folder, samples)[:, :100])
    assert np.array_equal(make(folder, padding="fixed", maximum_seconds=2)(samples), make(folder)(samples))


def test_why_nothing_is_padded(make_checkpoint, make_speech):
    """Group norm over time lets zeros after the speech change every frame of it; equal lengths in one batch do not."""
    samples = make_speech(24_000)
    change = {}
    for norm in ("group", "layer"):
        folder = make_checkpoint(feat_extract_norm=norm, normalise=False)
        alone = make(folder)(samples)
        padded = make(folder, padding="fixed", maximum_seconds=15)(samples)
        change[norm] = np.linalg.norm(padded - alone, axis=(1, 2)) / np.linalg.norm(alone, axis=(1, 2))
    assert change["group"].min() > 0.3  # from layer 0 on, in every layer
    assert change["layer"][0] < 1e-5  # without it, a frame of layer 0 sees its 25 ms and nothing else
    folder = make_checkpoint(normalise=False)
    model = transformers.AutoModel.from_pretrained(folder)
    batch = np.stack([samples, make_speech(24_000, seed=1)])
    with torch.inference_mode():
        together = model(torch.from_numpy(batch)).last_hidden_state.numpy()
    assert np.allclose(together[0], make(folder)(batch[0])[-1], atol=1e-5)
    assert np.allclose(together[1], make(folder)(batch[1])[-1], atol=1e-5)


def test_frozen_and_safe_to_share_between_threads(make_checkpoint, make_speech):
    view = make(make_checkpoint())
    view.prepare()
    network = view._encoder._network
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert all(parameter.dtype == torch.float32 for parameter in network.parameters())
    recordings = [make_speech(8000 + 800 * n, seed=n) for n in range(8)]
    alone = [view(samples) for samples in recordings]
    with ThreadPoolExecutor(4) as pool:
        for a, b in zip(alone, pool.map(view, recordings), strict=True):
            assert np.array_equal(a, b)


@pytest.mark.parametrize("model_type", [*CONVOLUTIONAL, "whisper"])
def test_what_every_pass_would_do_anew_is_done_once(make_checkpoint, make_speech, model_type):
    """Weight norm is multiplied out, linear weights lie as the product reads them; the numbers are those of transformers."""
    folder, samples = make_checkpoint(model_type), make_speech(8000)
    view = make(folder)
    view.prepare()
    modules = list(view._encoder._network.modules())
    linear = [module for module in modules if isinstance(module, torch.nn.Linear)]
    assert len(linear) > 10
    assert all(module.weight.t().is_contiguous() for module in linear)
    assert not any(torch.nn.utils.parametrize.is_parametrized(module) for module in modules)
    expected = reference(folder, samples)
    expected = expected[:, :25] if model_type == "whisper" else expected[0]
    np.testing.assert_allclose(view(samples), expected, rtol=0, atol=LAST_BITS)


def test_weights_do_not_depend_on_the_threads_that_prepare_them(make_checkpoint):
    folder, weights, threads = (
        make_checkpoint(hidden_size=256, num_conv_pos_embedding_groups=4),
        [],
        torch.get_num_threads(),
    )
    try:
        for n in (1, 2):
            torch.set_num_threads(n)
            view = make(folder)
            view.prepare()
            assert torch.get_num_threads() == n
            weights.append(view._encoder._network.encoder.pos_conv_embed.conv.weight)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(*weights)


def test_half_precision_weights_are_computed_in_float32(make_checkpoint, make_speech):
    folder, samples = make_checkpoint("whisper"), make_speech(8000)

    def halve(state):
        state.update({name: tensor.half() for name, tensor in state.items()})

    edit_weights(folder, halve)
    assert np.allclose(make(folder)(samples), reference(folder, samples)[:, :25], atol=1e-6)


# --- storage formats ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model_type", ["wav2vec2", "hubert", "wavlm", "whisper"])
def test_old_pickled_weights(make_checkpoint, make_speech, offline, monkeypatch, model_type):
    new, old, samples = make_checkpoint(model_type), make_checkpoint(model_type, old_format=True), make_speech(8000)
    if model_type != "whisper":
        assert any(name.endswith(".weight_g") for name in torch.load(old / "pytorch_model.bin", weights_only=True))
    before, started = sorted(old.iterdir()), []
    monkeypatch.setattr(threading.Thread, "start", lambda self: started.append(self))
    expected = make(new)(samples)
    assert np.array_equal(make(old)(samples), expected)
    assert not started  # transformers would start a conversion on the hub
    assert sorted(old.iterdir()) == before  # the folder is not ours to write to
    kept = list((offline.parent / "user-cache").rglob("*"))
    assert [path.suffix for path in kept if path.is_file()] == [".safetensors"]
    monkeypatch.setattr(torch, "load", None)  # the second time it is not unpickled
    assert np.array_equal(make(old)(samples), expected)


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_sharded_weights(make_checkpoint, make_speech, suffix):
    folder, samples = make_checkpoint("hubert"), make_speech(8000)
    expected = make(folder)(samples)
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    stem = "model" if suffix == "safetensors" else "pytorch_model"
    names, weight_map = sorted(state), {}
    for number, part in enumerate((names[::2], names[1::2]), start=1):
        shard = f"{stem}-0000{number}-of-00002.{suffix}"
        tensors = {name: state[name] for name in part}
        save_file(tensors, folder / shard) if suffix == "safetensors" else torch.save(tensors, folder / shard)
        weight_map |= dict.fromkeys(part, shard)
    index = folder / f"{stem}.{suffix}.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    assert np.array_equal(make(folder)(samples), expected)
    (folder / shard).unlink()
    with pytest.raises(CheckpointError, match=f"index.json names \\['{shard}'\\], which are not there"):
        make(folder)
    outside = shutil.copy(folder / shard.replace("00002-of", "00001-of"), folder.parent / shard)
    index.write_text(json.dumps({"weight_map": {"a": f"../{outside.name}"}}))
    with pytest.raises(CheckpointError, match="which are not there"):
        make(folder)
    index.write_text("{}")
    with pytest.raises(CheckpointError, match="names no files"):
        make(folder)


def test_whisper_saved_without_decoder_or_head(make_checkpoint, make_speech):
    """WhisperModel names its encoder without the prefix of WhisperForConditionalGeneration."""
    folder, samples = make_checkpoint("whisper"), make_speech(8000)
    expected = make(folder)(samples)

    def strip(state):
        for name in list(state):
            tensor = state.pop(name)
            if name.startswith("model.encoder."):
                state[name.removeprefix("model.")] = tensor

    edit_weights(folder, strip)
    assert np.array_equal(make(folder)(samples), expected)


def test_hostile_pickle_is_not_run(make_checkpoint, make_speech, tmp_path):
    folder, trace = make_checkpoint(old_format=True), tmp_path / "run"

    class Hostile:
        def __reduce__(self):
            return Path.touch, (trace,)

    torch.save({"a": torch.zeros(1), "b": Hostile()}, folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="damaged or holds more than tensors"):
        make(folder)(make_speech(1600))
    assert not trace.exists()
    torch.save([torch.zeros(1)], folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="holds a list; expected a dictionary of tensors"):
        make(folder).prepare()
    (folder / "pytorch_model.bin").write_bytes(b"no pickle")
    with pytest.raises(CheckpointError, match="damaged or holds more than tensors"):
        make(folder).prepare()


def test_pickles_are_refused_where_torch_does_not_read_them_safely(make_checkpoint, monkeypatch):
    view = make(make_checkpoint(old_format=True))
    monkeypatch.setattr(torch, "__version__", torch.torch_version.TorchVersion("2.5.1"))
    with pytest.raises(CheckpointError, match=r"torch 2\.5\.1 does not read safely; expected torch 2\.6"):
        view.prepare()


def test_conversion_without_a_place_to_keep_it(make_checkpoint, offline):
    view = make(make_checkpoint(old_format=True))
    (offline.parent / "user-cache").write_text("a file where the folder should be")
    with pytest.raises(CheckpointError, match=r"could not be converted into .*XDG_CACHE_HOME"):
        view.prepare()


# --- the fingerprint ------------------------------------------------------------------------------------------------------


def test_spec_costs_no_weights(make_checkpoint, make_speech):
    """A spec comes from a checkpoint whose weights can't even be read; the first compute finds that out."""
    folder = make_checkpoint("hubert")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    view = make(folder)
    assert view.spec.shape == (4, 0, 16)
    assert view.spec.axes == ("layers", "frames", "features")
    assert view.spec.dtype == "float16"
    assert not view._encoder.is_loaded
    with pytest.raises(CheckpointError, match=r"model\.safetensors can't be read as safetensors .* get it again"):
        view(make_speech(1600))


def test_a_moved_folder_keeps_its_fingerprint(make_checkpoint, tmp_path):
    folder = make_checkpoint()
    before = make(folder).spec
    assert str(folder) not in json.dumps(before.parameters)
    assert before.weights.startswith("sha256:")
    moved = shutil.move(folder, tmp_path / "elsewhere")
    assert make(moved).spec == before
    assert make(moved).spec.fingerprint == before.fingerprint
    with pytest.raises(UsageError, match=r"made from a local folder.* sha256:.*speech_model\(model=FOLDER\)"):
        make_view("speech_model", dict(before.parameters))


def test_what_changes_the_fingerprint(make_checkpoint):
    folder = make_checkpoint()
    prints = [make(folder, **p).spec.fingerprint for p in ({}, {"maximum_seconds": 15}, {"maximum_seconds": 15.0})]
    assert len(set(prints)) == 1
    others = [{"maximum_seconds": 10}, {"maximum_seconds": None}, {"padding": "fixed"}, {"normalise": False}]
    others.append({"padding": "fixed", "mask_padding": False})
    prints += [make(folder, **p).spec.fingerprint for p in others]

    def nudge(state):
        state["wav2vec2.encoder.layer_norm.bias"] += 1

    edit_weights(folder, nudge)
    prints.append(make(folder).spec.fingerprint)
    edit(folder / "preprocessor_config.json", do_normalize=False)
    prints.append(make(folder).spec.fingerprint)
    edit(folder / "config.json", layer_norm_eps=0.1)
    prints.append(make(folder).spec.fingerprint)
    assert len(set(prints)) == len(prints) - 2


def test_files_that_change_under_a_view(make_checkpoint):
    folder = make_checkpoint()
    view = make(folder)
    edit_weights(folder, lambda state: state["wav2vec2.encoder.layer_norm.bias"].add_(1))
    with pytest.raises(CheckpointError, match="changed after the view was made"):
        view.prepare()


# --- what is refused ------------------------------------------------------------------------------------------------------


def test_parameters_that_do_not_fit():
    with pytest.raises(ValueError, match=r"there is no model; pass a hub name or a folder: speech_model\(model="):
        SpeechModelParameters()
    with pytest.raises(UsageError, match="View 'speech_model': there is no model"):
        make_view("speech_model")
    for parameters, message in (
        ({"padding": "none", "mask_padding": False}, "mask_padding=False"),
        ({"padding": "fixed", "maximum_seconds": None}, "needs maximum_seconds"),
        ({"maximum_seconds": 0.05}, "at least 0.1"),
    ):
        with pytest.raises(UsageError, match=message):
            make("owner/name", **parameters)


def test_folders_that_are_no_checkpoint(make_checkpoint, tmp_path):
    with pytest.raises(UsageError, match="There is no folder /no/such/folder"):
        make("/no/such/folder")
    with pytest.raises(UsageError, match=r"There is no folder \./nowhere"):
        make("./nowhere")
    with pytest.raises(CheckpointError, match=r"has no config\.json; expected the folder of a transformers checkpoint"):
        make(tmp_path)
    folder = make_checkpoint()
    with pytest.raises(UsageError, match="is a local folder, which has no revision 'v2'"):
        make(folder, revision="v2")
    (folder / "model.safetensors").unlink()
    with pytest.raises(
        CheckpointError, match=r"has no weights; expected one of model\.safetensors, .*pytorch_model\.bin"
    ):
        make(folder)
    folder = make_checkpoint()
    (folder / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"config\.json can't be read as JSON"):
        make(folder)
    (folder / "config.json").write_text("[]")
    with pytest.raises(CheckpointError, match="holds a JSON list; expected an object"):
        make(folder)


def test_other_kinds_of_model(make_checkpoint):
    folder = make_checkpoint()
    edit(folder / "config.json", model_type="bert")
    with pytest.raises(
        UsageError, match=r"is a model of type 'bert'; the view 'speech_model' takes the types wav2vec2, hubert"
    ):
        make(folder)
    folder = make_checkpoint()
    edit(folder / "config.json", hidden_size="wide")
    with pytest.raises(CheckpointError, match=r"config\.json is no valid wav2vec2 configuration"):
        make(folder)
    folder = make_checkpoint()
    edit(folder / "preprocessor_config.json", sampling_rate=8000)
    with pytest.raises(UsageError, match="was trained on audio at 8000 Hz; expected 16000 Hz"):
        make(folder)


def test_code_of_a_checkpoint_is_never_run(make_checkpoint, tmp_path):
    folder = make_checkpoint()
    (folder / "modeling.py").write_text(f"open({str(tmp_path / 'run')!r}, 'w')")
    edit(folder / "config.json", auto_map={"AutoModel": "modeling.Model"})
    with pytest.raises(CheckpointError, match=r"comes with program code of its own .* is never run"):
        make(folder)
    assert not (tmp_path / "run").exists()


def test_missing_preprocessor(make_checkpoint, make_speech):
    folder, samples = make_checkpoint(normalise=True), make_speech(4000)
    expected = make(folder)(samples)
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(UsageError, match=r"does not say whether its input is normalised.*pass normalise=True"):
        make(folder)
    assert np.array_equal(make(folder, normalise=True)(samples), expected)
    whisper = make_checkpoint("whisper")
    (whisper / "preprocessor_config.json").unlink()
    with pytest.raises(UsageError, match=r"no preprocessor_config\.json, which says how the spectrogram"):
        make(whisper)


def test_whisper_settings_that_do_not_fit(make_checkpoint):
    folder = make_checkpoint("whisper")
    with pytest.raises(UsageError, match="normalises its own spectrogram; expected no `normalise`, got True"):
        make(folder, normalise=True)
    edit(folder / "preprocessor_config.json", feature_size=128)
    with pytest.raises(
        CheckpointError, match=r"makes 128 mel bands of 480000 samples, but its config\.json expects 80 of 480000"
    ):
        make(folder)


@pytest.mark.parametrize("model_type", ["wav2vec2", "whisper"])
def test_incomplete_weights_are_never_filled_with_random_numbers(make_checkpoint, model_type):
    folder = make_checkpoint(model_type)
    prefix = "wav2vec2.encoder" if model_type == "wav2vec2" else "model.encoder"
    lost = {name for name in load_file(folder / "model.safetensors") if name.startswith(f"{prefix}.layers.1.")}
    edit_weights(folder, lambda state: [state.pop(name) for name in lost])
    with pytest.raises(
        CheckpointError, match=rf"{len(lost)} of the encoder's \d+ weights are missing, '.*layers\.1\..*random"
    ):
        make(folder).prepare()


def test_weights_of_another_model(make_checkpoint):
    folder = make_checkpoint("hubert")
    edit(folder / "config.json", num_hidden_layers=2)
    with pytest.raises(
        CheckpointError, match=r"hold 'encoder\.layers\.2\..*config\.json \(2 layers\) has no place for"
    ):
        make(folder).prepare()
    folder = make_checkpoint("hubert")
    edit(folder / "config.json", intermediate_size=64)
    with pytest.raises(
        CheckpointError, match=r"intermediate_dense.* is torch\.float32 \(32, 16\).* expects float \(64, 16\)"
    ):
        make(folder).prepare()
    folder = make_checkpoint("hubert")
    edit_weights(folder, lambda state: state.update({"encoder.layer_norm.bias": torch.zeros(16, dtype=torch.int8)}))
    with pytest.raises(CheckpointError, match=r"'encoder\.layer_norm\.bias' is torch\.int8 .* or quantised"):
        make(folder).prepare()


def test_weights_that_inference_does_not_use_may_be_missing(make_checkpoint, make_speech):
    folder, samples = make_checkpoint("unispeech-sat"), make_speech(4000)
    expected = make(folder)(samples)
    edit_weights(folder, lambda state: state.pop("masked_spec_embed"))
    assert np.array_equal(make(folder)(samples), expected)


def test_adapters_of_wav2vec2_are_left_out(make_checkpoint, make_speech):
    """They shorten the final output of models made for translation; the layers come before."""
    folder, samples = make_checkpoint(add_adapter=True), make_speech(8000)
    expected, _ = reference(folder, samples)
    edit_weights(folder, lambda state: [state.pop(name) for name in list(state) if ".adapter." in name])
    assert np.array_equal(make(folder)(samples), expected)


def test_too_short_for_a_frame(make_checkpoint, make_speech):
    with pytest.raises(AudioError, match=r"399 samples \(24\.9\d* ms\) is too short for one frame"):
        make(make_checkpoint())(make_speech(399))
    assert make(make_checkpoint())(make_speech(400)).shape == (4, 1, 16)


def test_devices(make_checkpoint):
    parameters = SpeechModelParameters(model=str(make_checkpoint()))
    with pytest.raises(UsageError, match="There is no device 'abacus'; expected 'cpu', 'cuda'"):
        SpeechModel(parameters, device="abacus")
    if not torch.cuda.is_available():
        with pytest.raises(UsageError, match="sees no CUDA device here"):
            SpeechModel(parameters, device="cuda")


# --- the hub --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def cached(offline, make_checkpoint):
    """A checkpoint in the hub's cache, as hf_hub_download leaves it; gives its snapshot."""

    def put(repository="tiny/hubert", commit=COMMIT, **how):
        place = offline / f"models--{repository.replace('/', '--')}"
        (place / "refs").mkdir(parents=True, exist_ok=True)
        (place / "refs" / "main").write_text(commit)
        return make_checkpoint("hubert", folder=place / "snapshots" / commit, **how)

    return put


@pytest.mark.parametrize("old_format", [False, True])
def test_hub_name_from_the_cache(cached, make_speech, old_format):
    folder, samples = cached(old_format=old_format), make_speech(4000)
    view = make("tiny/hubert")
    assert np.array_equal(view(samples), make(folder)(samples))
    assert view.spec.weights == COMMIT
    assert view.spec.parameters["model"] == "tiny/hubert"
    assert view.spec.parameters["revision"] == COMMIT
    assert make("tiny/hubert", revision=COMMIT).spec == view.spec
    again = make_view(
        "speech_model", dict(view.spec.parameters)
    )  # a spec names everything needed to make the view again
    assert again.spec.fingerprint == view.spec.fingerprint


def test_hub_branch_that_moved(cached):
    cached()
    first = make("tiny/hubert").spec
    cached(commit=COMMIT[::-1])
    second = make("tiny/hubert").spec
    assert second.weights == COMMIT[::-1]
    assert first.fingerprint != second.fingerprint
    assert make("tiny/hubert", revision=COMMIT).spec == first


def test_hub_without_network(cached, offline):
    with pytest.raises(CheckpointError) as error:
        make("nobody/nothing")
    message = str(error.value)
    assert "'nobody/nothing' (revision 'main') is neither a folder nor in the Hugging Face cache" in message
    assert str(offline) in message
    assert "offline mode is enabled" in message
    assert "hf download nobody/nothing" in message
    assert "speech_model(model=FOLDER)" in message
    folder = cached()
    (folder / "model.safetensors").unlink()
    view = make("tiny/hubert")
    assert view.spec.shape == (4, 0, 16)
    with pytest.raises(CheckpointError, match=r"model\.safetensors of tiny/hubert is not in .*hf download tiny/hubert"):
        view.prepare()
    with pytest.raises(
        UsageError, match="'not a name!' is neither a folder nor a hub name; expected a folder or owner/name"
    ):
        make("not a name!")


class FakeHub:
    """`hf_hub_download` with a hub that holds one folder."""

    def __init__(self, source, cache):
        self.source, self.cache, self.downloads = source, cache / COMMIT, []

    def __call__(self, repository, name, *, revision, local_files_only):
        if (self.cache / name).is_file():
            return str(self.cache / name)
        if local_files_only:
            raise LocalEntryNotFoundError("not in the cache")
        if not (self.source / name).is_file():
            raise RemoteEntryNotFoundError(f"no {name}", response=_response())
        self.downloads.append(name)
        self.cache.mkdir(parents=True, exist_ok=True)
        return str(shutil.copy(self.source / name, self.cache))


def _response():
    """As much of an HTTP response as the hub's errors look at, whichever HTTP library they use."""
    return SimpleNamespace(headers={}, request=None)


@pytest.mark.parametrize("old_format", [False, True])
def test_download(make_checkpoint, make_speech, monkeypatch, tmp_path, old_format):
    source, samples = make_checkpoint("hubert", old_format=old_format), make_speech(4000)
    hub = FakeHub(source, tmp_path / "snapshots")
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", hub)
    view = make("tiny/hubert")
    assert view.spec.weights == COMMIT
    assert hub.downloads == ["config.json", "preprocessor_config.json"]  # no weights for a spec
    assert np.array_equal(view(samples), make(source)(samples))
    assert hub.downloads[2:] == ["pytorch_model.bin" if old_format else "model.safetensors"]
    make("tiny/hubert")(samples)
    assert len(hub.downloads) == 3


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (RepositoryNotFoundError, UsageError, "the Hugging Face hub has no such model or shows it to its members only"),
        (RevisionNotFoundError, UsageError, "has no revision 'v9' on the hub"),
        (
            RemoteEntryNotFoundError,
            CheckpointError,
            r"has no config\.json on the hub: it is no transformers checkpoint",
        ),
        (HfHubHTTPError, CheckpointError, r"could not be downloaded \(HfHubHTTPError: what happened\)"),
        (None, CheckpointError, r"could not be downloaded \(ConnectionResetError: what happened\)"),
    ],
)
def test_what_the_hub_answers(monkeypatch, error, kind, message):
    def download(repository, name, *, revision, local_files_only):
        if local_files_only:
            raise LocalEntryNotFoundError("not in the cache")
        raise ConnectionResetError("what happened") if error is None else error("what happened", response=_response())

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    with pytest.raises(kind, match=message):
        make("tiny/hubert", revision="v9")
