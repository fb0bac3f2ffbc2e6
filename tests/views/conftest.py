"""Small random speech encoders, saved in the real format of transformers, and a hub that can't be reached."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

_CONVOLUTIONAL = {
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "conv_dim": (16,) * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
    "vocab_size": 8,
}
_PRE_TRAINING = {  # the heads of wav2vec 2.0's pre-training, which facebook/wav2vec2-base carries along
    "codevector_dim": 8,
    "num_codevectors_per_group": 4,
    "proj_codevector_dim": 8,
}
_WHISPER = {
    "d_model": 16,
    "encoder_layers": 2,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
    "vocab_size": 32,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
    "num_mel_bins": 80,
}
_CLASSES = {
    "wav2vec2": ("Wav2Vec2Config", "Wav2Vec2ForPreTraining", _CONVOLUTIONAL | _PRE_TRAINING),
    "hubert": ("HubertConfig", "HubertModel", _CONVOLUTIONAL),
    "wavlm": ("WavLMConfig", "WavLMModel", _CONVOLUTIONAL),
    "data2vec-audio": ("Data2VecAudioConfig", "Data2VecAudioModel", _CONVOLUTIONAL | {"conv_pos_kernel_size": 9}),
    "unispeech": ("UniSpeechConfig", "UniSpeechModel", _CONVOLUTIONAL),
    "unispeech-sat": ("UniSpeechSatConfig", "UniSpeechSatModel", _CONVOLUTIONAL),
    "whisper": ("WhisperConfig", "WhisperForConditionalGeneration", _WHISPER),
}


@pytest.fixture(scope="session")
def _prototypes(tmp_path_factory):
    """One saved checkpoint for each set of settings; tests get copies."""
    made = {}

    def prototype(model_type, settings):
        key = (model_type, json.dumps(settings, sort_keys=True))
        if key not in made:
            import transformers

            config_name, model_name, defaults = _CLASSES[model_type]
            config = getattr(transformers, config_name)(**defaults | settings)
            torch.manual_seed(len(made))
            model = getattr(transformers, model_name)(config)
            with torch.no_grad():
                for parameter in model.parameters():  # biases and norms start as 0 and 1, which would hide mistakes
                    parameter.add_(0.1 * torch.randn_like(parameter))
            made[key] = tmp_path_factory.mktemp(model_type)
            model.save_pretrained(made[key])
        return made[key]

    return prototype


@pytest.fixture
def make_checkpoint(tmp_path, _prototypes):
    """`make_checkpoint(model_type, normalise=True, old_format=False, folder=..., **config)` → folder."""

    def make(model_type="wav2vec2", *, normalise=True, old_format=False, folder=None, **settings):
        import transformers
        from safetensors.torch import load_file

        folder = Path(folder or tmp_path / f"model-{len(list(tmp_path.iterdir()))}")
        shutil.copytree(_prototypes(model_type, settings), folder)
        if model_type == "whisper":
            transformers.WhisperFeatureExtractor(feature_size=settings.get("num_mel_bins", 80)).save_pretrained(folder)
        else:
            transformers.Wav2Vec2FeatureExtractor(do_normalize=normalise).save_pretrained(folder)
        if old_format:
            # As the hub's oldest checkpoints: a pickle, with the weight norm's names of torch before 2.0.
            state = load_file(folder / "model.safetensors")
            old = {"original0": "weight_g", "original1": "weight_v"}
            renamed = {}
            for name, tensor in state.items():
                stem, _, last = name.rpartition(".parametrizations.weight.")
                renamed[f"{stem}.{old[last]}" if stem else name] = tensor.clone()
            torch.save(renamed, folder / "pytorch_model.bin")
            (folder / "model.safetensors").unlink()
        return folder

    return make


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """No network, an empty hub cache and a user cache of the test's own; gives the folder of the hub cache."""
    from huggingface_hub import constants

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("platformdirs.user_cache_path", lambda name: tmp_path / "user-cache" / name)
    return tmp_path / "hub"


@pytest.fixture
def make_speech():
    """`make_speech(n_samples, seed=0)`: harmonics of a gliding pitch under a syllable rhythm, and some noise."""

    def make(n_samples, seed=0):
        generator = np.random.default_rng(seed)
        t = np.arange(n_samples) / 16_000
        phase = 2 * np.pi * np.cumsum(150 + 40 * np.sin(2 * np.pi * 0.7 * t + seed)) / 16_000
        voice = sum(np.sin(k * phase) / k for k in range(1, 12))
        samples = 0.1 * (1 + np.sin(2 * np.pi * 4 * t)) * voice + 0.01 * generator.standard_normal(n_samples)
        return (samples + 0.02).astype(np.float32)  # an offset, so that normalising shows

    return make
