"""Views: representations of an utterance, one file each.

A view maps audio, `(samples,)` float32 at 16 000 Hz, to an array with declared axes. To add one, put one file here that
defines a frozen dataclass of parameters, a subclass of `View`, and `VIEW = ThatClass`; the file name is the view's name.
"""

from __future__ import annotations

import ast
import dataclasses
import typing
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from emoviews.audio import PREPARATION, at_speed
from emoviews.errors import UsageError
from emoviews.registry import Registry
from emoviews.types import FRAMES, ViewSpec

VIEWS = Registry("emoviews.views", "VIEW", "view")

SPEED: Final = "speed"
"""The parameter that any view takes: how many times as fast the recording is played, so that pitch and formants move with the
tempo, as if somebody with another voice spoke (speed perturbation: Ko et al., Interspeech 2015)."""

STORED_AS: Final = "stored_as"
"""The parameter that any view with frames takes: `int8` keeps its arrays in a quarter of float32's room (`store.quantised`)."""


@dataclasses.dataclass(frozen=True)
class NoParameters:
    """For views that have none."""


class View(ABC):
    """One representation of speech.

    A subclass sets the class attributes, fills in `shape` (and `feature_names`, `weights`, `licence` where they apply) and
    implements `compute`. Constructing a view does all the expensive preparation; calling it is cheap and has no memory.

    Attributes:
        name: the registered name (= the file name).
        title: what it is, in a phrase.
        version: integer, raised only when the output changes for the same parameters.
        Parameters: the frozen dataclass of parameters; every field has a default, `__post_init__` checks the values.
        axes: one of `types.VIEW_AXES`.
        frame_rate: frames a second, None without frames.
        feature_names: along `features`; may be empty for learnt features.
        weights: pins pre-trained weights, empty for none.
        licence: restriction on the use of the output, empty for none.
        speed: how many times as fast recordings are played.
        stored_as: how a store keeps it, `int8`, or empty for float16 with frames and float32 without.
        uses_device: whether the constructor takes `device`, e.g. `cuda`. Not part of what determines the output.
    """

    name: ClassVar[str]
    title: ClassVar[str] = ""
    version: ClassVar[int]
    axes: ClassVar[tuple[str, ...]]
    Parameters: ClassVar[type[Any]] = NoParameters
    uses_device: ClassVar[bool] = False

    frame_rate: float | None = None
    feature_names: tuple[str, ...] = ()
    weights: str = ""
    licence: str = ""
    speed: float = 1.0
    stored_as: str = ""

    def __init__(self, parameters: Any = None) -> None:
        self.parameters = self.Parameters() if parameters is None else parameters

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Size of each axis, 0 for `frames`."""

    @abstractmethod
    def compute(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """`(samples,)` float32 at 16 000 Hz, finite, at least 0.1 s long → float32 array with the declared axes."""

    def prepare(self) -> None:
        """Do now what the first call would do, e.g. read weights, so that its failure is not one recording's fault."""
        return

    def __call__(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute the view and check that its shape and values are what the view declares.

        Raises:
            UsageError: the input is not one-dimensional.
            ValueError: the view broke its own declaration.
        """
        if samples.ndim != 1:
            raise UsageError(f"A view takes (samples,), got an array of shape {samples.shape}.")
        if self.speed != 1:
            samples = at_speed(samples, self.speed)
        values = self.compute(np.ascontiguousarray(samples, dtype=np.float32))
        expected = self.shape
        fits = values.ndim == len(expected) and all(e in (0, g) for e, g in zip(expected, values.shape, strict=True))
        if not fits or values.size == 0:
            raise ValueError(f"View {self.name!r} gave shape {values.shape}, declared {expected} (0: any length).")
        if not np.isfinite(values).all():
            raise ValueError(f"View {self.name!r} gave values that are not finite.")
        return values

    @property
    def spec(self) -> ViewSpec:
        """What determines this view's output."""
        return ViewSpec(
            name=self.name,
            version=self.version,
            parameters=dataclasses.asdict(self.parameters) | ({SPEED: self.speed} if self.speed != 1 else {}),
            axes=self.axes,
            shape=self.shape,
            dtype=self.stored_as or ("float16" if FRAMES in self.axes else "float32"),
            frame_rate=self.frame_rate,
            feature_names=self.feature_names,
            weights=self.weights,
            preparation=PREPARATION,
            licence=self.licence,
        )


def split_view_list(text: str) -> list[str]:
    """Split a comma-separated list of views at the commas outside brackets and quotes.

    >>> split_view_list("mel_spectrogram(bands=40, maximum_seconds=10), egemaps")
    ['mel_spectrogram(bands=40, maximum_seconds=10)', 'egemaps']
    """
    parts, depth, quote = [""], 0, ""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
        else:
            depth += (character in "([{") - (character in ")]}")
        if character == "," and depth == 0 and not quote:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts if part.strip()]


def parse_view(text: str) -> tuple[str, dict[str, Any]]:
    """Read a view as it is written on the command line: `name` or `name(parameter=value, ...)`.

    Values are Python literals; anything else is taken as text, so paths and hub names need no quotes.

    >>> parse_view("mel_spectrogram(bands=40)")
    ('mel_spectrogram', {'bands': 40})
    >>> parse_view("speech_model(model=microsoft/wavlm-base)")
    ('speech_model', {'model': 'microsoft/wavlm-base'})
    """
    name, bracket, rest = text.strip().partition("(")
    if bracket and not rest.endswith(")"):
        raise UsageError(f"Can't read the view {text!r}: expected name(parameter=value, ...).")
    parameters: dict[str, Any] = {}
    for item in split_view_list(rest[:-1]):
        key, equals, value = item.partition("=")
        if not equals:
            raise UsageError(f"Can't read {item!r} in the view {text!r}: expected parameter=value.")
        if key.strip() in parameters:
            raise UsageError(f"The view {text!r} gives {key.strip()} twice.")
        try:
            parameters[key.strip()] = ast.literal_eval(value.strip())
        except (ValueError, SyntaxError):
            parameters[key.strip()] = value.strip()
    return name.strip(), parameters


@dataclasses.dataclass(frozen=True)
class ViewRequest:
    """A view as somebody asked for it.

    Attributes:
        name: the registered name.
        parameters: those that differ from the view's defaults.
        label: what it is called in tables, files and messages.
    """

    name: str
    parameters: Mapping[str, Any]
    label: str

    @classmethod
    def parse(cls, text: str, defaults: Mapping[str, Mapping[str, Any]] = MappingProxyType({})) -> ViewRequest:
        """Read `name(parameter=value, ...)`; the label is what was written, tidied.

        Args:
            text: see `parse_view`.
            defaults: view name → parameters that hold unless the text says otherwise (a preset's).

        >>> ViewRequest.parse("mfcc( coefficients=13 )").label
        'mfcc(coefficients=13)'
        """
        name, parameters = parse_view(text)
        inside = ", ".join(f"{key}={value}" for key, value in sorted(parameters.items()))
        label = f"{name}({inside})" if inside else name
        return cls(name, {**defaults.get(name, {}), **parameters}, label)

    def __str__(self) -> str:
        """As the command line takes it, defaults of a preset written out.

        >>> str(ViewRequest.parse("mel_spectrogram", {"mel_spectrogram": {"padding": "fixed"}}))
        'mel_spectrogram(padding=fixed)'
        """
        plain = {
            k: v if isinstance(v, str) and not set(v) & set(",()'\"") else repr(v) for k, v in self.parameters.items()
        }
        inside = ", ".join(f"{key}={value}" for key, value in sorted(plain.items()))
        return f"{self.name}({inside})" if inside else self.name

    def make(self, device: str = "cpu") -> View:
        """Construct the view; see `make_view`."""
        return make_view(self.name, self.parameters, device)


def parse_requests(
    views: str | Iterable[str], defaults: Mapping[str, Mapping[str, Any]] = MappingProxyType({})
) -> tuple[ViewRequest, ...]:
    """Views as somebody asked for them, each once.

    Args:
        views: one text each, or all in one, separated by commas.
        defaults: as `ViewRequest.parse` takes them.

    Raises:
        UsageError: none, one twice, or what is no text.

    >>> [request.label for request in parse_requests("mfcc(bands=40, coefficients=13), egemaps")]
    ['mfcc(bands=40, coefficients=13)', 'egemaps']
    """
    texts = [views] if isinstance(views, str) else list(views)
    if wrong := [text for text in texts if not isinstance(text, str)]:
        raise UsageError(
            f"Expected views as text, e.g. 'egemaps' or 'mfcc(bands=40)'; got {wrong[0]!r}. See: emoviews list views"
        )
    found = tuple(ViewRequest.parse(part, defaults) for text in texts for part in split_view_list(text))
    if not found:
        raise UsageError("Name at least one view; see: emoviews list views")
    labels = [request.label for request in found]
    if twice := sorted({label for label in labels if labels.count(label) > 1}):
        raise UsageError(f"The view {twice[0]} is named twice.")
    return found


def make_view(name: str, parameters: Mapping[str, Any] | None = None, device: str = "cpu") -> View:
    """Construct the view called `name` with `parameters` over its defaults; `SPEED` and `STORED_AS` may be among them.

    Raises:
        UsageError: no such view or parameter, or a value that the view refuses.
        MissingExtraError: the view needs a package that is not installed.
    """
    view: type[View] = VIEWS.load(name)
    parameters = dict(parameters or {})
    stored_as = parameters.pop(STORED_AS, "")
    if stored_as and (stored_as != "int8" or FRAMES not in view.axes):
        raise UsageError(
            f"View {name!r} can't be {STORED_AS}={stored_as}; expected int8, and that for a view with frames only."
        )
    speed = parameters.pop(SPEED, 1.0)
    if not (isinstance(speed, int | float) and not isinstance(speed, bool) and 0.5 <= speed <= 2):
        raise UsageError(f"View {name!r}: {SPEED}={speed!r}; expected a number from 0.5 to 2.")
    known = {f.name for f in dataclasses.fields(view.Parameters)}
    if unknown := set(parameters) - known:
        have = ", ".join([*sorted(known), SPEED, *[STORED_AS] * (FRAMES in view.axes)])
        raise UsageError(f"View {name!r} has no parameter {', '.join(sorted(unknown))}. Its parameters: {have}.")
    hints = typing.get_type_hints(view.Parameters)
    for key, value in parameters.items():
        if not _fits(value, hints[key]):
            raise UsageError(f"View {name!r}: {key}={value!r} is not of type {hints[key]}.")
    try:
        made = view.Parameters(**parameters)
        constructed = view(made, device=device) if view.uses_device else view(made)  # type: ignore[call-arg]
    except ValueError as error:
        raise UsageError(f"View {name!r}: {error}") from error
    constructed.speed, constructed.stored_as = float(speed), stored_as
    return constructed


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value read from text is of a field's type; an int is also a float."""
    origin = typing.get_origin(hint)
    if origin is typing.Literal:
        return value in typing.get_args(hint)
    if origin in (typing.Union, type(int | str)):
        return any(_fits(value, part) for part in typing.get_args(hint))
    if origin is tuple:
        return isinstance(value, tuple | list)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is bool or hint is int:
        return type(value) is hint
    return isinstance(value, hint)
