"""The synthesiser against closed forms and physical measurements, the emotions against the published directions, and the
difficulty of the whole against a linear classifier on eGeMAPS."""

import hashlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile
from scipy.signal import find_peaks, freqz, lfilter, welch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import recall_score
from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from emoviews.corpora import CORPORA
from emoviews.corpora import _synthesis as synthesis
from emoviews.corpora._synthesis import FRAME_SAMPLES, PHONEMES, Segment, Voice, count_frames, render
from emoviews.corpora.synthetic import (
    EMOTIONS,
    PEAK,
    PRESETS,
    Cues,
    Speaker,
    SyntheticCorpus,
    Utterance,
    generate_utterance,
    make_sentence,
    make_speaker,
    synthesise,
)
from emoviews.errors import CorpusError, EmoViewsError, UsageError
from emoviews.types import SAMPLING_RATE

VOICE = Voice(
    tract_centimetres=17.0,
    formant_factors=(1.0, 1.0, 1.0),
    rd=0.9,
    breathiness_decibels=-60.0,
    jitter=0.0,
    shimmer=0.0,
    articulation=1.0,
    onset_seconds=0.02,
)


@pytest.fixture(scope="module")
def tiny() -> list[Utterance]:
    return list(synthesise(PRESETS["tiny"]))


def speak(phoneme: str, voice: Voice = VOICE, seconds: float = 0.6, f0_hertz: float = 100.0) -> np.ndarray:
    """One long sound between two short pauses; only its middle comes back."""
    segments = [Segment("", 0.1), Segment(phoneme, seconds), Segment("", 0.1)]
    samples = render(segments, np.full(count_frames(segments), f0_hertz), voice, np.random.default_rng(0))
    return samples[int(0.25 * SAMPLING_RATE) : int((seconds - 0.05) * SAMPLING_RATE)]


# The glottal source


@pytest.mark.parametrize("rd", [0.35, 0.5, 1.0, 1.8, 2.7])
def test_lf_pulse_closes_the_flow(rd: float) -> None:
    pulse = synthesis.lf_pulse(rd, np.arange(100_000) / 100_000)
    flow = np.cumsum(pulse) / 100_000
    assert pulse.min() == pytest.approx(-1, abs=5e-3)  # in very lax voices the trough lies just before closure
    assert flow[-1] == pytest.approx(0, abs=1e-4 * flow.max())
    assert flow.min() > -1e-3 * flow.max()  # air flows outwards only
    assert abs(pulse[-1]) < 1e-3


@pytest.mark.parametrize("rd", [0.4, 0.7, 1.0, 1.3, 1.5])
def test_lf_pulse_has_fants_spectral_tilt(rd: float) -> None:
    """Fant's line (1997, "The voice source in connected speech"): H1 - H2 = -7.6 + 11.1 Rd dB; too high for lax voices."""
    harmonics = np.abs(np.fft.rfft(synthesis.lf_pulse(rd, np.arange(8192) / 8192)))
    assert 20 * np.log10(harmonics[1] / harmonics[2]) == pytest.approx(-7.6 + 11.1 * rd, abs=0.6)


def test_cycles_follow_the_pitch() -> None:
    onsets = synthesis.cycle_onsets(np.full(200, 125.0), jitter=0.0, rng=np.random.default_rng(0))
    np.testing.assert_allclose(np.diff(onsets), 1 / 125, rtol=1e-9)
    assert onsets[0] == 0
    assert onsets[-1] >= 1.0  # every sample of the 200 frames lies in a cycle


@pytest.mark.parametrize("jitter", [0.005, 0.02])
def test_jitter_is_what_was_asked_for(jitter: float) -> None:
    periods = np.diff(synthesis.cycle_onsets(np.full(8000, 150.0), jitter, np.random.default_rng(1)))
    assert np.abs(np.diff(periods)).mean() / periods.mean() == pytest.approx(jitter, rel=0.05)


def source_peaks(voice: Voice) -> tuple[np.ndarray, np.ndarray]:
    """Closures in 20 s of glottal source at 100 Hz: sample numbers and strengths."""
    voicing, rng = np.ones(4000), np.random.default_rng(2)
    voice = replace(voice, breathiness_decibels=-120.0)
    source = synthesis.glottal_source(100.0 * voicing, voicing, 0.0 * voicing, voice, rng)
    peaks = find_peaks(-source, distance=100, height=0.3)[0]
    assert len(peaks) == pytest.approx(2000, abs=2)
    return peaks, -source[peaks]


def test_jitter_is_heard_in_the_source() -> None:
    def local(jitter: float) -> float:
        periods = np.diff(source_peaks(replace(VOICE, jitter=jitter))[0])
        return float(np.abs(np.diff(periods)).mean() / periods.mean())

    assert local(0.0) < 0.003  # periods are counted in samples, a hundred and sixtieth
    assert local(0.03) == pytest.approx(0.03, rel=0.1)


def test_shimmer_is_what_was_asked_for() -> None:
    strengths = source_peaks(replace(VOICE, shimmer=0.08))[1]
    # Each cycle also draws a shape (Rd), which adds a little.
    assert np.abs(np.diff(strengths)).mean() / strengths.mean() == pytest.approx(0.08, rel=0.1)


def test_breath_sounds_in_the_open_glottis_only_where_there_is_voice() -> None:
    voicing = np.repeat([1.0, 0.0], 100)
    voice = replace(VOICE, breathiness_decibels=-20.0)
    noises = [
        synthesis.glottal_source(np.full(200, 100.0), voicing, np.zeros(200), v, np.random.default_rng(3))
        for v in (voice, replace(VOICE, breathiness_decibels=-200.0))
    ]
    breath = noises[0] - noises[1]
    half = len(breath) // 2
    assert np.abs(breath[half + FRAME_SAMPLES :]).max() == 0
    by_phase = np.sqrt((breath[: half - 160].reshape(-1, 160)[:, [32, 112]] ** 2).mean(axis=0))
    assert by_phase[1] > 2 * by_phase[0]  # 100 Hz: a cycle is 160 samples from closure to closure


# The tract


def test_resonator_has_its_frequency_bandwidth_and_gain() -> None:
    denominator = synthesis.resonators(np.array(1500.0), np.array(100.0))
    hertz, response = freqz(denominator.sum(), denominator, worN=np.arange(0, 8000, 0.5), fs=SAMPLING_RATE)
    gain = np.abs(response)
    above = hertz[gain >= gain.max() / np.sqrt(2)]
    assert gain[0] == pytest.approx(1)
    assert hertz[gain.argmax()] == pytest.approx(1500, abs=2)
    assert above[-1] - above[0] == pytest.approx(100, abs=2)


def test_constant_cascade_equals_scipys_recursion() -> None:
    denominators = synthesis.resonators(np.array([500.0, 1500.0, 2500.0]), np.array([70.0, 90.0, 130.0]))
    signal = np.random.default_rng(4).standard_normal(60 * FRAME_SAMPLES)
    expected = signal
    for denominator in denominators:
        expected = lfilter([denominator.sum()], denominator, expected)
    got = synthesis.filter_frames(signal, np.tile(denominators, (60, 1, 1)))
    assert np.abs(got - expected).max() < 2e-5 * np.abs(expected).max()


def test_moving_formants_do_not_click() -> None:
    """A 200 Hz tone through a resonance that sweeps 1.5 kHz in 0.3 s stays free of high frequencies."""
    frames = 60
    tone = np.sin(2 * np.pi * 200 * np.arange(frames * FRAME_SAMPLES) / SAMPLING_RATE)
    sweep = synthesis.resonators(np.linspace(500, 2000, frames)[:, None], np.full((frames, 1), 80.0))
    out = synthesis.filter_frames(tone, sweep)[10 * FRAME_SAMPLES : -10 * FRAME_SAMPLES]
    spectrum = np.abs(np.fft.rfft(out * np.hanning(len(out)))) ** 2
    assert spectrum[len(spectrum) // 2 :].sum() < 1e-7 * spectrum.sum()


@pytest.mark.parametrize("vowel", ["a", "e", "i", "o", "u"])
@pytest.mark.parametrize("tract", [14.5, 17.0])
def test_vowels_have_their_formants(vowel: str, tract: float) -> None:
    """Linear prediction, the textbook way to measure formants, finds the first two within 12 %."""
    samples = speak(vowel, replace(VOICE, tract_centimetres=tract))
    emphasised = lfilter([1, -0.97], [1], samples) * np.hamming(len(samples))
    roots = np.roots(librosa.lpc(emphasised, order=20))
    roots = roots[(roots.imag > 0) & (np.abs(roots) > 0.93)]
    measured = np.sort(np.angle(roots)) * SAMPLING_RATE / (2 * np.pi)
    for target in np.array(PHONEMES[vowel].formants_hertz[:2]) * 17.0 / tract:
        assert np.abs(measured / target - 1).min() < 0.12, (measured[:4], target)


def centroid_hertz(samples: np.ndarray) -> float:
    hertz, power = welch(samples, SAMPLING_RATE, nperseg=512)
    return float((hertz * power).sum() / power.sum())


def test_fricatives_are_noise_of_the_right_colour() -> None:
    s, sh, f = speak("s"), speak("sh"), speak("f")
    assert centroid_hertz(s) > 4500
    assert centroid_hertz(s) > centroid_hertz(sh) + 800
    assert np.mean(f**2) < 0.5 * np.mean(s**2)
    spectrum = np.abs(np.fft.rfft(s * np.hanning(len(s)))) ** 2  # no harmonics: neighbours are all alike
    assert spectrum.max() < 40 * spectrum[spectrum > np.median(spectrum)].mean()


def test_pauses_and_closures_are_silent() -> None:
    segments = [Segment("a", 0.2), Segment("", 0.2), Segment("a", 0.2), Segment("t", 0.1), Segment("a", 0.2)]
    samples = render(segments, np.full(count_frames(segments), 120.0), VOICE, np.random.default_rng(5))
    power = [float(np.mean(samples[int(16_000 * a) : int(16_000 * b)] ** 2)) for a, b in ((0.1, 0.15), (0.3, 0.38))]
    closure = np.mean(samples[int(16_000 * 0.62) : int(16_000 * 0.66)] ** 2)
    assert power[1] < 1e-6 * power[0]
    assert closure < 0.02 * power[0]


def test_emphasis_is_in_decibels() -> None:
    """The voice grows by what is asked for, within the effect of the glottal shape."""
    level = [
        np.mean(
            render([Segment("a", 0.5, d)], np.full(100, 120.0), replace(VOICE, rd=0.6), np.random.default_rng(6)) ** 2
        )
        for d in (0.0, 6.0)
    ]
    assert 10 * np.log10(level[1] / level[0]) == pytest.approx(6, abs=0.5)


# Utterances


def test_same_arguments_same_samples_and_others_differ() -> None:
    speaker, other, sentence = make_speaker(0), make_speaker(1), make_sentence(0)
    samples = generate_utterance(speaker, "fear", sentence)
    assert samples.tobytes() == generate_utterance(make_speaker(0), "fear", make_sentence(0)).tobytes()
    for changed in (
        generate_utterance(other, "fear", sentence),
        generate_utterance(speaker, "anger", sentence),
        generate_utterance(speaker, "fear", make_sentence(1)),
        generate_utterance(speaker, "fear", sentence, seed=1),
    ):
        shorter = min(len(samples), len(changed))
        assert np.abs(np.corrcoef(samples[:shorter], changed[:shorter])[0, 1]) < 0.5


def test_another_process_makes_the_same_samples() -> None:
    code = (
        "import hashlib; from emoviews.corpora.synthetic import *;"
        "print(hashlib.sha256(generate_utterance(make_speaker(3), 'sadness', make_sentence(2)).tobytes()).hexdigest())"
    )
    got = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    samples = generate_utterance(make_speaker(3), "sadness", make_sentence(2))
    assert got == hashlib.sha256(samples.tobytes()).hexdigest()


def test_a_larger_corpus_contains_the_smaller() -> None:
    small = {u.id: u.samples for u in synthesise(SyntheticCorpus(speakers=1, sentences=1, emotions=("sadness",)))}
    large = {
        u.id: u.samples for u in synthesise(SyntheticCorpus(speakers=2, sentences=2, emotions=("fear", "sadness")))
    }
    assert len(large) == 8
    (only,) = small
    assert np.array_equal(small[only], large[only])


def test_every_recording_is_sound(tiny: list[Utterance]) -> None:
    assert len(tiny) == 6 * 4 * 3
    for u in tiny:
        assert u.samples.dtype == np.float32
        assert np.isfinite(u.samples).all()
        assert np.abs(u.samples).max() <= PEAK
        assert abs(u.samples.mean()) < 1e-4  # no direct current
        assert 1.0 < len(u.samples) / SAMPLING_RATE < 4.0
        assert 20 * np.log10(u.samples.std()) > -45  # not silent
        blocks = u.samples[: len(u.samples) // 400 * 400].reshape(-1, 400)
        assert blocks.std(axis=1).min() > 1e-5  # nor anywhere dead: a room has noise
        assert np.abs(u.samples[u.samples != 0]).min() > np.finfo(np.float32).tiny  # no denormal numbers


def test_a_loud_speaker_is_turned_down_not_clipped() -> None:
    loud = replace(make_speaker(0), level_decibels=10.0)
    samples = generate_utterance(loud, "anger", make_sentence(0))
    assert np.abs(samples).max() == pytest.approx(PEAK, rel=1e-6)
    assert (np.abs(samples) > 0.999 * PEAK).sum() <= 3


def exactly_neutral(monkeypatch: pytest.MonkeyPatch, speaker: int) -> tuple[Speaker, np.ndarray]:
    """A neutral utterance without the scatter between utterances, which is about a semitone."""
    monkeypatch.setattr("emoviews.corpora.synthetic.UTTERANCE_SPREAD", Cues())
    return make_speaker(speaker), generate_utterance(make_speaker(speaker), "neutral", make_sentence(0))


@pytest.mark.parametrize("index", range(4))
def test_pitch_is_the_speakers(monkeypatch: pytest.MonkeyPatch, index: int) -> None:
    """pYIN's mean F0 is within 1 semitone of the speaker's; it counts the falling ends of phrases, hence not closer."""
    speaker, samples = exactly_neutral(monkeypatch, index)
    f0, voiced, _ = librosa.pyin(samples, fmin=60, fmax=500, sr=SAMPLING_RATE)
    assert voiced.mean() > 0.3
    assert np.nanmean(12 * np.log2(f0 / speaker.f0_hertz)) == pytest.approx(0, abs=1)


@pytest.mark.parametrize("index", range(4))
def test_opensmile_hears_the_speakers_pitch(monkeypatch: pytest.MonkeyPatch, index: int) -> None:
    opensmile = pytest.importorskip("opensmile")
    speaker, samples = exactly_neutral(monkeypatch, index)
    smile = opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02, opensmile.FeatureLevel.Functionals)
    heard = smile.process_signal(samples, SAMPLING_RATE)["F0semitoneFrom27.5Hz_sma3nz_amean"].item()
    assert heard == pytest.approx(12 * np.log2(speaker.f0_hertz / 27.5), abs=0.2)


def slope_decibels(samples: np.ndarray) -> float:
    """Level between 1 and 5 kHz against the level below 1 kHz: the higher, the flatter the spectrum."""
    hertz, power = welch(samples, SAMPLING_RATE, nperseg=512)
    return float(10 * np.log10(power[(hertz >= 1000) & (hertz < 5000)].sum() / power[hertz < 1000].sum()))


def test_emotions_sound_as_published(tiny: list[Utterance]) -> None:
    def mean(measure: object, emotion: str) -> float:
        return float(np.mean([measure(u.samples) for u in tiny if u.emotion == emotion]))  # type: ignore[operator]

    def level(samples: np.ndarray) -> float:
        return float(10 * np.log10(np.mean(samples**2)))

    assert mean(level, "anger") > mean(level, "neutral") + 3
    assert mean(level, "neutral") > mean(level, "sadness") + 2
    assert mean(slope_decibels, "anger") > mean(slope_decibels, "sadness") + 1
    assert mean(len, "sadness") > 1.08 * mean(len, "neutral")
    assert mean(len, "anger") < mean(len, "neutral")


def test_cues_point_where_the_reviews_say() -> None:
    """Juslin & Laukka (2003), table 11, by rank."""

    def ranked(cue: str) -> list[str]:
        return sorted((e for e in EMOTIONS if e != "neutral"), key=lambda e: getattr(EMOTIONS[e], cue))

    assert ranked("level_decibels") == ["sadness", "fear", "happiness", "anger"]
    assert ranked("tension") == ["sadness", "fear", "happiness", "anger"]  # high-frequency energy
    assert ranked("pitch_semitones")[0] == ranked("rate_octaves")[0] == ranked("contour_semitones")[0] == "sadness"
    assert EMOTIONS["sadness"].rate_octaves < 0 < EMOTIONS["fear"].rate_octaves
    assert ranked("irregularity_octaves")[0] == "happiness"
    assert ranked("irregularity_octaves")[-1] == "fear"
    assert {*ranked("range_octaves")[:2]} == {"sadness", "fear"}
    assert {*ranked("emphasis_octaves")[-2:]} == {"fear", "anger"}


def test_speakers_and_sentences_differ() -> None:
    speakers = [make_speaker(i) for i in range(10)]
    assert {s.gender for s in speakers} == {"female", "male"}
    assert len({s.name for s in speakers}) == 10
    female, male = ([s.f0_hertz for s in speakers if s.gender == g] for g in ("female", "male"))
    assert np.median(female) > 1.4 * np.median(male)
    assert all(s.expression["neutral"] == EMOTIONS["neutral"] for s in speakers)
    assert len({s.expression["anger"] for s in speakers}) == 10
    texts = [make_sentence(i).text for i in range(8)]
    assert len(set(texts)) == 8
    assert all(text.count(",") == 1 and set(text) <= set("abcdefghijklmnopqrstuvwxyz ,") for text in texts)


def test_unknown_emotion() -> None:
    with pytest.raises(UsageError, match=r"no emotion 'joy'.*anger, fear, happiness, neutral, sadness"):
        generate_utterance(make_speaker(0), "joy", make_sentence(0))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"speakers": 0}, "speakers=0"),
        ({"sentences": -1}, "sentences=-1"),
        ({"emotions": ("anger", "joy")}, "got anger, joy"),
        ({"emotions": ("anger", "anger")}, "at most once"),
        ({"emotions": ()}, "got none"),
    ],
)
def test_impossible_corpus(parameters: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        SyntheticCorpus(**parameters)


# The corpus on disk

SYNTHETIC = CORPORA.load("synthetic")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> SyntheticCorpus:
    """What the preset `tiny` stands for is made smaller, so that writing it is quick."""
    corpus = SyntheticCorpus(speakers=2, sentences=1, emotions=("anger", "neutral"))
    monkeypatch.setattr("emoviews.corpora.synthetic.PRESETS", {"tiny": corpus, "default": replace(corpus, seed=1)})
    return corpus


def test_writes_what_it_lists(tmp_path: Path, small: SyntheticCorpus) -> None:
    root = tmp_path / "new" / "folder"
    table = SYNTHETIC.parse(root, "tiny").table
    assert table["id"].tolist() == ["S01_anger_01", "S01_neutral_01", "S02_anger_01", "S02_neutral_01"]
    assert table["speaker"].tolist() == table["group"].tolist() == ["S01", "S01", "S02", "S02"]
    assert table["gender"].tolist() == ["female", "female", "male", "male"]
    assert table["emotion"].tolist() == ["anger", "neutral"] * 2
    assert set(table["language"]) == {"zxx"}
    assert set(table["text"]) == {make_sentence(0).text}
    for path, utterance in zip(table["path"], synthesise(small), strict=True):
        info = soundfile.info(path)
        assert (info.samplerate, info.channels, info.subtype, info.format) == (SAMPLING_RATE, 1, "PCM_16", "WAV")
        read, _ = soundfile.read(path, dtype="float32")
        assert np.abs(read - utterance.samples).max() <= 0.5 / 32768 + 1e-9
    assert not list(root.rglob(".*"))  # no temporary file is left


def test_writes_again_only_what_is_missing_or_damaged(tmp_path: Path, small: SyntheticCorpus) -> None:
    paths = [Path(p) for p in SYNTHETIC.parse(tmp_path, "tiny").table["path"]]
    content = [p.read_bytes() for p in paths]
    (tmp_path / "table.csv").touch()  # a table beside the speakers' folders does no harm
    paths[0].unlink()
    paths[1].write_bytes(content[1][:1000])
    before = [p.stat().st_mtime_ns for p in paths[2:]]
    SYNTHETIC.parse(tmp_path, "tiny")
    assert [p.read_bytes() for p in paths] == content
    assert [p.stat().st_mtime_ns for p in paths[2:]] == before


def test_refuses_a_folder_with_other_things(tmp_path: Path, small: SyntheticCorpus) -> None:
    (tmp_path / ".DS_Store").touch()
    for name in ("a.wav", "b.wav", "c.wav", "d.wav"):
        (tmp_path / name).touch()
    with pytest.raises(CorpusError, match=r"holds other things \(a.wav, b.wav, c.wav, …\).*new or an empty folder"):
        SYNTHETIC.parse(tmp_path, "tiny")
    assert len(list(tmp_path.iterdir())) == 5


def test_refuses_a_folder_with_another_preset(tmp_path: Path, small: SyntheticCorpus) -> None:
    SYNTHETIC.parse(tmp_path, "tiny")
    with pytest.raises(CorpusError, match=r"another synthetic corpus .*\"seed\": 0.*asked for.*\"seed\": 1"):
        SYNTHETIC.parse(tmp_path)


def test_refuses_a_file(tmp_path: Path, small: SyntheticCorpus) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CorpusError, match="is a file"):
        SYNTHETIC.parse(tmp_path / "file", "tiny")


def test_says_what_can_not_be_written(tmp_path: Path, small: SyntheticCorpus) -> None:
    SYNTHETIC.parse(tmp_path, "tiny")
    speaker = tmp_path / "S02"
    for file in speaker.iterdir():
        file.unlink()
    speaker.rmdir()
    speaker.touch()  # a file stands where a folder has to be
    with pytest.raises(
        EmoViewsError, match=r"Can't write the synthetic corpus to .*S02.*name another folder"
    ) as caught:
        SYNTHETIC.parse(tmp_path, "tiny")
    assert caught.value.exit_code == 1


def test_unknown_preset(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="default, tiny"):
        SYNTHETIC.parse(tmp_path / "new", "huge")
    assert not (tmp_path / "new").exists()


# Neither trivial nor hopeless


def egemaps(utterances: list[Utterance]) -> np.ndarray:
    """`(utterances, 88)`"""
    opensmile = pytest.importorskip("opensmile")
    smile = opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02, opensmile.FeatureLevel.Functionals)
    return np.concatenate([smile.process_signal(u.samples, SAMPLING_RATE).to_numpy() for u in utterances])


def unknown_speaker_recall(features: np.ndarray, utterances: list[Utterance], emotions: tuple[str, ...]) -> float:
    """UAR of logistic regression, leaving one speaker out; z-scores from the training speakers."""
    chosen = [i for i, u in enumerate(utterances) if u.emotion in emotions]
    labels = np.array([utterances[i].emotion for i in chosen])
    speakers = np.array([utterances[i].speaker.name for i in chosen])
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    predicted = cross_val_predict(model, features[chosen], labels, groups=speakers, cv=LeaveOneGroupOut())
    return float(recall_score(labels, predicted, average="macro"))


FOUR = ("anger", "happiness", "neutral", "sadness")


def test_egemaps_finds_a_voice_and_the_emotion(tiny: list[Utterance]) -> None:
    opensmile = pytest.importorskip("opensmile")
    features = egemaps(tiny)
    assert np.isfinite(features).all()
    names = opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02, opensmile.FeatureLevel.Functionals).feature_names
    column = dict(zip(names, features.T, strict=True))
    assert (column["jitterLocal_sma3nz_amean"] > 0).all()
    assert (column["shimmerLocaldB_sma3nz_amean"] > 0).all()
    assert column["VoicedSegmentsPerSec"].min() > 0.5
    assert 0.4 < unknown_speaker_recall(features, tiny, FOUR) < 0.9  # 60 training examples: the bounds are wide


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_linear_model_on_unknown_speakers_stays_between_50_and_85_percent(seed: int) -> None:
    utterances = list(synthesise(SyntheticCorpus(seed=seed)))
    assert len(utterances) == 400
    features = egemaps(utterances)
    assert 0.5 < unknown_speaker_recall(features, utterances, tuple(EMOTIONS)) < 0.85
    assert 0.5 < unknown_speaker_recall(features, utterances, FOUR) < 0.85
