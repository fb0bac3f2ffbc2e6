"""The layers of a pre-trained speech encoder, frozen: wav2vec 2.0, HuBERT, WavLM, Whisper and their close relatives.

Any checkpoint in the format of transformers, by hub name or local folder. Axes (layers, frames, features), about 50 frames a
second. A model of twelve transformer layers gives thirteen layers here:

- wav2vec 2.0 and relatives: layer 0 is the output of the feature projection (the convolutions, normalised and projected
  linearly), which is what the paper mixes with the rest; `hidden_states[0]` of transformers is another tensor, after the
  positional convolution and, in base models, a layer norm. Layer i is the output of transformer layer i, `hidden_states[i]`.
  In models with `do_stable_layer_norm` (most large ones) the last layer is therefore taken before the final layer norm, as
  transformers 5 does (4.x took it after).
- Whisper: the encoder alone. Layer 0 is `hidden_states[0]`, the two convolutions plus the positional embedding; the last
  layer is taken after the final layer norm, as transformers does.

Utterances go through the model one at a time and unpadded. In wav2vec2-base and every other checkpoint whose
`feat_extract_norm` is "group", the first layer normalises each channel over the whole of its input, so that zeros after the
speech change every frame of it: padded and unpadded recordings are two views, and their fingerprints differ. Whisper takes
30 s and nothing else: shorter audio is padded inside and its frames trimmed, longer audio is cut into pieces of 30 s, which
do not see each other.
"""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import parametrize

from emoviews.errors import AudioError, CheckpointError, UsageError
from emoviews.types import FEATURES, FRAMES, LAYERS, SAMPLING_RATE, ViewSpec
from emoviews.views import View
from emoviews.views._length import LengthParameters, fit_length
from emoviews.views._pretrained import Checkpoint, find_checkpoint

CONVOLUTIONAL: Final = ("wav2vec2", "hubert", "wavlm", "data2vec-audio", "unispeech", "unispeech-sat")
"""Model types that are built like wav2vec 2.0: convolutions over samples, a projection, transformer layers."""

WHISPER: Final = "whisper"


@dataclass(frozen=True, kw_only=True)
class SpeechModelParameters(LengthParameters):
    """Which model, and what it is given.

    The length (`LengthParameters`): attention over a recording that is not cropped takes memory and time that grow with the
    square of its length (Whisper works in pieces of 30 s anyway). The zeros of `padding="fixed"` are part of the recording
    for the model: normalised with it, attended to, not masked. `mask_padding` then drops every frame that sees any of them
    through the convolutions, so that as many are left as the recording alone has.

    Attributes:
        model: hub name (`microsoft/wavlm-base`) or folder; an existing folder goes before a hub name. Must be given.
        revision: branch, tag or commit on the hub.
        normalise: bring the samples to mean 0 and variance 1 before the model; None does what the checkpoint's
            `preprocessor_config.json` says (`do_normalize`), and without that file is refused. Not for Whisper, which
            normalises its own spectrogram.

    Raises:
        ValueError: no model, or a length that `LengthParameters` refuses.
    """

    model: str = ""
    revision: str = "main"
    normalise: bool | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.model:
            raise ValueError(
                "there is no model; pass a hub name or a folder: speech_model(model=microsoft/wavlm-base) or "
                "speech_model(model=FOLDER)."
            )


class SpeechModel(View):
    """Layers of a frozen speech encoder, float32 `(layers, frames, features)`.

    Constructing finds the checkpoint, reads its configuration and pins its content: the hub's commit, or a hash of the
    folder's files, so that a folder may be moved or renamed without a new extraction. The weights are read at the first
    `compute` (or by `prepare`), so `spec` costs no memory.

    Args:
        parameters: see `SpeechModelParameters`.
        device: `cpu`, `cuda` or `cuda:N`. Not part of the fingerprint: float32 on both, though CUDA may round
            convolutions to TF32, about as coarsely as the store's float16.

    Raises:
        UsageError: the model is unknown, of another kind, or a parameter does not fit it; the device is not there.
        CheckpointError: the checkpoint can't be had, is incomplete, or needs code of its own.
    """

    name = "speech_model"
    title = "layers of any wav2vec 2.0, HuBERT, WavLM or Whisper checkpoint"
    version = 1
    axes = (LAYERS, FRAMES, FEATURES)
    Parameters = SpeechModelParameters
    uses_device = True
    parameters: SpeechModelParameters
    model_types: ClassVar[tuple[str, ...]] = (*CONVOLUTIONAL, WHISPER)

    def __init__(self, parameters: SpeechModelParameters | None = None, *, device: str = "cpu") -> None:
        super().__init__(parameters)
        self.device = _device(device)
        self.checkpoint = find_checkpoint(self.parameters.model, self.parameters.revision, view=self.name)
        self.weights = self.checkpoint.pin
        model_type = self.checkpoint.config.get("model_type")
        if model_type not in self.model_types:
            raise UsageError(
                f"{self.parameters.model} is a model of type {model_type!r}; the view {self.name!r} takes the types "
                f"{', '.join(self.model_types)}."
            )
        encoder = _Whisper if model_type == WHISPER else _Convolutional
        self._encoder = encoder(self.checkpoint, self.parameters.normalise)
        self.frame_rate = SAMPLING_RATE / self._encoder.samples_per_frame

    @property
    def shape(self) -> tuple[int, ...]:
        """`(layers, 0, features)`."""
        return (self._encoder.n_layers, 0, self._encoder.n_features)

    @property
    def spec(self) -> ViewSpec:
        """What determines the output. The weights' pin stands for the folder's path, or for the branch on the hub."""
        pin = self.checkpoint.pin
        place = {"model": pin} if self.checkpoint.is_local else {"revision": pin}
        spec = super().spec
        return dataclasses.replace(spec, parameters={**spec.parameters, **place})

    def prepare(self) -> None:
        """Read the weights now. Without this the first `compute` does it.

        Raises:
            CheckpointError: weights that are damaged, incomplete or can't be downloaded.
        """
        if not self._encoder.is_loaded:
            self._encoder.load(self.device)

    def n_frames(self, n_samples: int) -> int:
        """How many frames a recording of `n_samples` at 16 000 Hz has in this view."""
        maximum_seconds = self.parameters.maximum_seconds
        if maximum_seconds is not None:
            maximum = round(maximum_seconds * SAMPLING_RATE)
            n_samples = min(n_samples, maximum) if self.parameters.mask_padding else maximum
        return self._encoder.n_frames(n_samples)

    def compute(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """`(samples,)` float32 at 16 000 Hz → float32 `(layers, frames, features)`.

        Raises:
            AudioError: too short for one frame.
            CheckpointError: as `prepare`.
        """
        n_frames = self.n_frames(len(samples))
        if n_frames < 1:
            raise AudioError(
                f"A recording of {len(samples)} samples ({1000 * len(samples) / SAMPLING_RATE:g} ms) is too short for one "
                f"frame of {self.parameters.model}; views take at least 0.1 s."
            )
        self.prepare()
        with torch.inference_mode():
            layers = [layer[:n_frames] for layer in self._encoder.layers(fit_length(samples, self.parameters))]
            values: NDArray[np.float32] = torch.stack(layers).cpu().numpy()
        return values


class _Encoder(ABC):
    """One way in which encoders are built: its geometry from the configuration, its weights on demand.

    Attributes:
        n_layers: transformer layers + 1.
        n_features: width of each.
        samples_per_frame: at 16 000 Hz.
    """

    n_layers: int
    n_features: int
    samples_per_frame: int

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        self.config = _config(checkpoint)
        self._network: Any = None
        rate = (checkpoint.preprocessor or {}).get("sampling_rate", SAMPLING_RATE)
        if rate != SAMPLING_RATE:
            raise UsageError(f"{checkpoint.name} was trained on audio at {rate} Hz; expected {SAMPLING_RATE} Hz.")

    @property
    def is_loaded(self) -> bool:
        """Whether the weights are in memory."""
        return self._network is not None

    @abstractmethod
    def load(self, device: torch.device) -> None:
        """Read the weights."""

    @abstractmethod
    def n_frames(self, n_samples: int) -> int:
        """Frames of `n_samples`, 0 for too few."""

    @abstractmethod
    def layers(self, samples: NDArray[np.float32]) -> Sequence[Tensor]:
        """`(samples,)` → layers + 1 tensors, each `(frames, features)`."""


class _Convolutional(_Encoder):
    """wav2vec 2.0 (Baevski et al. 2020) and what is built like it."""

    def __init__(self, checkpoint: Checkpoint, normalise: bool | None) -> None:
        super().__init__(checkpoint)
        if normalise is None and "do_normalize" not in (checkpoint.preprocessor or {}):
            raise UsageError(
                f"{checkpoint.name} does not say whether its input is normalised: expected 'do_normalize' in its "
                "preprocessor_config.json. Add that file from the original model, or pass normalise=True (most wav2vec 2.0 "
                "and HuBERT models) or normalise=False (WavLM base models)."
            )
        self.normalise = bool((checkpoint.preprocessor or {})["do_normalize"] if normalise is None else normalise)
        self.config.add_adapter = False  # it shortens the final output, which no layer here is
        self.n_layers = self.config.num_hidden_layers + 1
        self.n_features = self.config.hidden_size
        self.samples_per_frame = math.prod(self.config.conv_stride)

    def n_frames(self, n_samples: int) -> int:
        """Each convolution without padding turns n steps into (n - kernel) // stride + 1."""
        n = n_samples
        for kernel, stride in zip(self.config.conv_kernel, self.config.conv_stride, strict=True):
            n = max(0, (n - kernel) // stride + 1)
        return n

    def load(self, device: torch.device) -> None:
        from transformers import MODEL_MAPPING

        network_class: Any = MODEL_MAPPING[type(self.config)]
        network = _load_network(
            network_class,
            self.config,
            self.checkpoint,
            prefixes=("", f"{network_class.base_model_prefix}."),
            layers="encoder.layers.",
            unused=("masked_spec_embed",),  # what masked frames are replaced by in pre-training
            device=device,
        )
        for module in (network.feature_projection, *network.encoder.layers):
            module.register_forward_hook(_collect)
        self._network = network

    def layers(self, samples: NDArray[np.float32]) -> Sequence[Tensor]:
        if self.normalise:
            samples = (samples - samples.mean()) / np.sqrt(samples.var() + 1e-7)  # as Wav2Vec2FeatureExtractor
        collected: list[Tensor] = []
        token = _collected.set(collected)
        try:
            self._network(torch.tensor(samples, device=self._network.device)[None])
        finally:
            _collected.reset(token)
        return [layer[0] for layer in collected]


class _Whisper(_Encoder):
    """The encoder of Whisper (Radford et al. 2022): a log mel spectrogram of exactly 30 s, two convolutions, a transformer."""

    def __init__(self, checkpoint: Checkpoint, normalise: bool | None) -> None:
        super().__init__(checkpoint)
        from transformers import WhisperFeatureExtractor

        if normalise is not None:
            raise UsageError(
                f"{checkpoint.name} is a Whisper model, which normalises its own spectrogram; expected no `normalise`, got "
                f"{normalise}. Leave it out."
            )
        if checkpoint.preprocessor is None:
            raise UsageError(
                f"{checkpoint.name} has no preprocessor_config.json, which says how the spectrogram of this Whisper model "
                "is made. Add that file from the original model."
            )
        from_dict: Any = WhisperFeatureExtractor.from_dict
        self._extractor = from_dict(dict(checkpoint.preprocessor))
        self.n_layers = self.config.encoder_layers + 1
        self.n_features = self.config.d_model
        self.samples_per_frame = 2 * self._extractor.hop_length  # the second convolution has stride 2
        self.chunk_samples: int = self.config.max_source_positions * self.samples_per_frame
        expected = (self.config.num_mel_bins, self.chunk_samples)
        given = (self._extractor.feature_size, self._extractor.n_samples)
        if given != expected:
            raise CheckpointError(
                f"{checkpoint.name}: its preprocessor_config.json makes {given[0]} mel bands of {given[1]} samples, but its "
                f"config.json expects {expected[0]} of {expected[1]}; they are of different models."
            )

    def n_frames(self, n_samples: int) -> int:
        """A mel frame every 10 ms, a frame every two of those; each piece of 30 s begins anew."""
        pieces, rest = divmod(n_samples, self.chunk_samples)
        mel_frames = rest // int(self._extractor.hop_length)
        return pieces * int(self.config.max_source_positions) + math.ceil(mel_frames / 2)

    def load(self, device: torch.device) -> None:
        from transformers.models.whisper.modeling_whisper import WhisperEncoder

        self._network = _load_network(
            WhisperEncoder,
            self.config,
            self.checkpoint,
            prefixes=("model.encoder.", "encoder.", ""),
            layers="layers.",
            unused=(),
            device=device,
        )

    def layers(self, samples: NDArray[np.float32]) -> Sequence[Tensor]:
        pieces = [self._piece(samples[i : i + self.chunk_samples]) for i in range(0, len(samples), self.chunk_samples)]
        return [torch.cat(layer) for layer in zip(*pieces, strict=True)]

    def _piece(self, samples: NDArray[np.float32]) -> list[Tensor]:
        """At most 30 s → layers + 1 tensors `(frames, features)`, without the frames of the padding."""
        features = self._extractor(samples, sampling_rate=SAMPLING_RATE, return_tensors="pt").input_features
        output = self._network(features.to(self._network.device), output_hidden_states=True)
        return [layer[0, : self.n_frames(len(samples))] for layer in output.hidden_states]


_collected: ContextVar[list[Tensor] | None] = ContextVar("_collected", default=None)
"""Where the forward pass that runs in this thread puts its layers."""


def _collect(module: nn.Module, inputs: Any, output: Any) -> None:
    """Forward hook: keep what a layer gives; some give it first in a tuple."""
    layers = _collected.get()
    if layers is not None:
        layers.append(output[0] if isinstance(output, tuple) else output)


def _config(checkpoint: Checkpoint) -> Any:
    from transformers import CONFIG_MAPPING

    content = dict(checkpoint.config)
    try:
        return CONFIG_MAPPING[content["model_type"]].from_dict(content)
    except Exception as error:  # each configuration class checks in its own way
        raise CheckpointError(
            f"{checkpoint.name}: config.json is no valid {content['model_type']} configuration: {error}"
        ) from error


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"There is no device {name!r}; expected 'cpu', 'cuda' or 'cuda:N'.") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UsageError(
            f"The device is {name!r}, but torch {torch.__version__} sees no CUDA device here. Use 'cpu', or install torch "
            "for CUDA."
        )
    return device


def _load_network(
    network_class: type[Any],
    config: Any,
    checkpoint: Checkpoint,
    *,
    prefixes: Iterable[str],
    layers: str,
    unused: Sequence[str],
    device: torch.device,
) -> Any:
    """Build a network and give it a checkpoint's weights: every parameter, or an error.

    `from_pretrained` of transformers fills what a checkpoint lacks with random numbers and a warning; a view must not. What
    a checkpoint has beside the encoder (heads, quantizer, decoder) is left out.

    Args:
        network_class: the encoder's class in transformers.
        config: its configuration.
        checkpoint: where the weights are.
        prefixes: what may stand before the names of the network's parameters in the checkpoint.
        layers: how the names of the transformer layers' parameters begin in the network.
        unused: parameters that inference does not use; zeros where they are missing.
        device: where the network goes.

    Returns:
        The network in eval mode, float32, without gradients.

    Raises:
        CheckpointError: a weight is missing, of another shape, or belongs to a layer that the configuration does not have.
    """
    with torch.device("meta"):  # no memory and no random numbers for weights that are replaced at once
        network = network_class(config)
    expected = network.state_dict()
    stored = {_current_name(name): tensor for name, tensor in checkpoint.read_weights().items()}
    prefix = max(prefixes, key=lambda p: sum(p + name in stored for name in expected))
    missing = [name for name in expected if prefix + name not in stored and name not in unused]
    if missing:
        raise CheckpointError(
            f"{checkpoint.name}: {len(missing)} of the encoder's {len(expected)} weights are missing, {missing[0]!r} first; "
            f"they would be random. Expected the weights of a whole {config.model_type} encoder."
        )
    surplus = [
        name for name in stored if name.startswith(prefix + layers) and name.removeprefix(prefix) not in expected
    ]
    if surplus:
        raise CheckpointError(
            f"{checkpoint.name}: the weights hold {surplus[0]!r}, which its config.json ({config.num_hidden_layers} layers) "
            "has no place for. Weights and config.json are of different models."
        )
    weights = {}
    for name, empty in expected.items():
        tensor = stored.get(prefix + name, torch.zeros(empty.shape))
        if tensor.shape != empty.shape or not tensor.is_floating_point():
            raise CheckpointError(
                f"{checkpoint.name}: the weight {prefix + name!r} is {tensor.dtype} {tuple(tensor.shape)}; its config.json "
                f"expects float {tuple(empty.shape)}. Weights and config.json are of different models, or quantised."
            )
        weights[name] = tensor.float()
    network.load_state_dict(weights, assign=True)
    network = network.eval().requires_grad_(False).to(device)
    _prepare_for_inference(network)
    return network


def _prepare_for_inference(network: nn.Module) -> None:
    """Do once what every forward pass would do anew. The results stay the same, on some processors but for their last bits.

    - Weight norm (of the positional convolution) is multiplied out: 4 ms of 280 for a recording of 2.2 s. On one thread, since
      its sums on two differ in the last bits.
    - Linear layers get weights that lie in memory as the matrix product reads them, (in, out): MKL copies them into that order
      otherwise, which for the 100 to 200 frames of an utterance takes a tenth of the product's time.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for module in network.modules():
            if parametrize.is_parametrized(module):
                parametrize.remove_parametrizations(module, "weight")
            if isinstance(module, nn.Linear):
                module.weight = nn.Parameter(module.weight.t().contiguous().t(), requires_grad=False)
    finally:
        torch.set_num_threads(threads)


def _current_name(name: str) -> str:
    """Today's name of a parameter: older checkpoints keep the weight norm of the positional convolution as g and v."""
    for old, new in (
        (".weight_g", ".parametrizations.weight.original0"),
        (".weight_v", ".parametrizations.weight.original1"),
    ):
        if name.endswith(old):
            return name.removesuffix(old) + new
    return name


VIEW = SpeechModel
