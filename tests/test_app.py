"""The page that recognises: hostile zips, what is said of a recording, drawings, and the whole of it in a real browser."""

from __future__ import annotations

import csv
import io
import re
import stat
import struct
import time
import urllib.error
import urllib.request
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from tests.pages import PHONE, WIDE, barriers, chromium, expect, opened, overflow, served, watched

from emoviews import cli
from emoviews.app import judging, open_socket, pictures, recognition
from emoviews.app.archives import Limits, unpack
from emoviews.app.judging import hears_first, judge, judge_all, require_limits
from emoviews.bundles import load_recognizer, save_recognizer
from emoviews.errors import AudioError, CheckpointError, MissingExtraError, UsageError
from emoviews.labelling import Journal
from emoviews.recognition import UNLIKE, Recognised
from emoviews.recognizer import EmotionRecognizer
from emoviews.table import read_table, write_table
from emoviews.types import SAMPLING_RATE

LIMITS = Limits(seconds=12, megabytes=2, unpacked_megabytes=1, files=5)


# Zips


def zipped(path: Path, **files: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def test_recordings_come_out_under_names_of_ours(tmp_path: Path):
    files = {"a/one.wav": b"1", "b/one.WAV": b"22", "readme.txt": b"-", "__MACOSX/._one.wav": b"-"}
    (tmp_path / "out").mkdir()
    [(found, others)] = unpack([zipped(tmp_path / "z.zip", **files)], tmp_path / "out", LIMITS)
    assert [(name, path.name, path.read_bytes()) for name, path in found] == [
        ("a/one.wav", "0.wav", b"1"),
        ("b/one.WAV", "1.wav", b"22"),
    ]
    assert others == 2


HOSTILE = (
    "../evil.wav",
    "a/../../evil.wav",
    "/etc/evil.wav",
    "C:\\evil.wav",
    "\\\\host\\evil.wav",
    "a\\..\\..\\evil.wav",
)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_path_out_of_the_zip_is_refused_with_all_of_it(tmp_path: Path, name: str):
    (tmp_path / "out").mkdir()
    with pytest.raises(UsageError, match=r"leads out of the zip's own folder.*nothing of it was used"):
        unpack([zipped(tmp_path / "z.zip", **{"good.wav": b"1", name: b"2"})], tmp_path / "out", LIMITS)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["out", "z.zip"]


def test_a_link_is_refused(tmp_path: Path):
    (tmp_path / "out").mkdir()
    link = zipfile.ZipInfo("link.wav")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(UsageError, match=r"has a link, 'link\.wav'"):
        unpack([tmp_path / "z.zip"], tmp_path / "out", LIMITS)


def test_what_unpacks_to_too_much_is_refused_and_removed(tmp_path: Path):
    (tmp_path / "out").mkdir()
    bomb = zipped(tmp_path / "bomb.zip", **{"a.wav": bytes(700_000), "b.wav": bytes(700_000)})
    assert bomb.stat().st_size < 10_000
    with pytest.raises(UsageError, match="holds more than 1 MB when unpacked"):
        unpack([bomb], tmp_path / "out", LIMITS)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_size_that_a_header_lies_about_is_counted(tmp_path: Path):
    (tmp_path / "out").mkdir()
    content = zipped(tmp_path / "bomb.zip", **{"a.wav": bytes(3_000_000)}).read_bytes()
    assert content.count(struct.pack("<I", 3_000_000)) == 2
    (tmp_path / "bomb.zip").write_bytes(content.replace(struct.pack("<I", 3_000_000), struct.pack("<I", 10)))
    with pytest.raises(UsageError):
        unpack([tmp_path / "bomb.zip"], tmp_path / "out", LIMITS)
    assert list((tmp_path / "out").iterdir()) == []


def test_limits_are_for_all_zips_of_a_request_and_refuse_before_unpacking(
    recognizer: EmotionRecognizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "out").mkdir()
    large = [zipped(tmp_path / f"{n}.zip", **{"a.wav": bytes(700_000)}) for n in range(2)]
    assert [len(found) for found, _ in unpack(large, tmp_path / "out", replace(LIMITS, unpacked_megabytes=2))] == [1, 1]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["0.wav", "1.wav"]
    many = [zipped(tmp_path / f"many {n}.zip", **{f"{m}.wav": b"1" for m in range(3)}) for n in range(2)]
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda *_: pytest.fail("something is unpacked"))
    with pytest.raises(UsageError, match="These 2 zips together hold more than 1 MB when unpacked"):
        unpack(large, tmp_path / "out", LIMITS)
    with pytest.raises(UsageError, match="These are 6 recordings; at most 5"):
        unpack(many, tmp_path / "out", LIMITS)
    (tmp_path / "loose.wav").write_bytes(b"1")
    sent = [str(path) for path in (many[0], tmp_path / "loose.wav", tmp_path / "loose.wav", tmp_path / "loose.wav")]
    assert "These are 6 recordings" in recognition.batch(recognizer, sent, LIMITS, lambda share: None)[0]


def test_bytes_are_counted_where_headers_said_less(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "out").mkdir()
    zips = [zipped(tmp_path / f"{n}.zip", **{"a.wav": bytes(10)}) for n in range(2)]
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda *_: io.BytesIO(bytes(700_000)))
    with pytest.raises(UsageError, match="hold more than 1 MB"):
        unpack(zips, tmp_path / "out", LIMITS)
    assert list((tmp_path / "out").iterdir()) == []


def broken(path: Path) -> Path:
    zipped(path, **{"a.wav": bytes(range(256)) * 50})
    content = bytearray(path.read_bytes())
    content[40:60] = bytes(20)
    path.write_bytes(content)
    return path


def encrypted(path: Path) -> Path:
    content = bytearray(zipped(path, **{"a.wav": b"1"}).read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: path.write_bytes(b"no zip"), "can't be unpacked: File is not a zip file"),
        (broken, "can't be unpacked"),
        (encrypted, "is encrypted"),
        (lambda path: zipped(path, **{"a.txt": b"1"}), "has no recordings"),
        (lambda path: zipped(path, **{f"{n}.wav": b"1" for n in range(6)}), "These are 6 recordings; at most 5"),
    ],
)
def test_what_else_can_not_be_unpacked_is_said(tmp_path: Path, make, said):
    (tmp_path / "out").mkdir()
    make(tmp_path / "z.zip")
    with pytest.raises(UsageError, match=said):
        unpack([tmp_path / "z.zip"], tmp_path / "out", LIMITS)


# Judging


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus, a recogniser of two views and one of a single view."""
    pytest.importorskip("opensmile")
    folder = tmp_path_factory.mktemp("app")
    cli.main(["corpus", "synthetic", str(folder / "audio"), "--out", str(folder / "t.csv"), "--preset", "tiny"])
    table = read_table(folder / "t.csv")
    table = table[table["speaker"] < "S05"].reset_index(drop=True)  # four speakers make four folds
    for name, views in (("model", ("egemaps", "mfcc")), ("one-view", ("mfcc",))):
        recognizer = EmotionRecognizer(views=views, store=folder / "store", workers=1, evaluate=name == "model")
        save_recognizer(folder / name, recognizer.fit(table))
    samples = [soundfile.read(path)[0] for path in table["path"][:5]]
    speech = np.concatenate([*samples[:3], np.zeros(16000 * 5), *samples[3:]])
    soundfile.write(folder / "speech.wav", samples[0], 16000)
    soundfile.write(folder / "long.wav", np.resize(speech, 11 * 16000), 16000)
    soundfile.write(folder / "too long.wav", np.resize(speech, 13 * 16000), 16000)
    soundfile.write(folder / "silence.wav", np.zeros(32000), 16000)
    soundfile.write(folder / "noise.wav", np.random.default_rng(0).normal(size=32000) * 0.2, 16000)
    (folder / "text.wav").write_text("I am no recording.")
    return folder


@pytest.fixture(scope="module")
def recognizer(world: Path) -> EmotionRecognizer:
    return load_recognizer(world / "model")


def test_one_recording_gets_what_predict_gives_it(world: Path, recognizer: EmotionRecognizer):
    found = judge(recognizer, world / "speech.wav", LIMITS)
    expected = recognizer.predict_proba([world / "speech.wav"])[0]
    assert found.probabilities == pytest.approx(expected)
    assert found.best == recognizer.predict([world / "speech.wav"])[0]
    assert len(found.times_seconds) == 0
    assert set(found.alone) == {"egemaps", "mfcc"}
    for shares in found.alone.values():
        assert shares.sum() == pytest.approx(1)


def test_it_lies_where_training_put_it(world: Path, recognizer: EmotionRecognizer):
    labelled = recognizer.fitted_.labelled
    place = judge(recognizer, world / "speech.wav", LIMITS).place
    assert place == pytest.approx(labelled.positions[0], abs=1e-3 * np.abs(labelled.positions).max())


def test_a_view_alone_is_the_whole_where_it_is_the_only_one(world: Path):
    recognizer = load_recognizer(world / "one-view")
    found = judge(recognizer, world / "speech.wav", LIMITS)
    assert found.alone == {}
    vectors = {"mfcc": np.random.default_rng(0).normal(size=(3, len(recognizer.fitted_.model.modes["inductive"].members[0][0].maps["mfcc"].mean)))}  # fmt: skip # noqa: E501
    model = recognizer.fitted_.model
    assert model.alone(vectors, "mfcc") == pytest.approx(model.probabilities(vectors, "inductive"))


def test_views_alone_add_up_to_the_whole(recognizer: EmotionRecognizer):
    """With one member, log-odds of the whole less those of no view at all are the sum of the views' own."""
    model = recognizer.fitted_.model
    first = replace(model, modes={**model.modes, "inductive": replace(model.modes["inductive"], members=model.modes["inductive"].members[:1])})  # fmt: skip # noqa: E501
    maps = first.modes["inductive"].members[0][0].maps
    random = np.random.default_rng(1)
    vectors = {
        name: view.mean + view.deviation * random.normal(size=(4, len(view.mean))) for name, view in maps.items()
    }
    classifier = first.modes["inductive"].members[0][1]

    def odds(p):
        return np.log(p[:, 1:] / p[:, :1])

    nothing = classifier.intercept[1:] - classifier.intercept[:1]
    parts = sum(odds(first.alone(vectors, name)) - nothing for name in vectors)
    assert odds(first.probabilities(vectors, "inductive")) - nothing == pytest.approx(parts, abs=1e-4)


def test_a_long_recording_is_judged_over_time_and_silent_windows_are_not(world: Path, recognizer: EmotionRecognizer):
    shares: list[float] = []
    found = judge(recognizer, world / "long.wav", LIMITS, shares.append)
    assert found.times_seconds[0].tolist() == [0, 4]
    assert found.times_seconds[-1, 1] == pytest.approx(11)
    assert np.diff(found.times_seconds[:, 0]).max() <= 2
    assert shares == sorted(shares)
    assert shares[-1] == 1
    spoken = recognizer.recognise(
        pd.DataFrame([{"path": str(world / "long.wav"), "start_seconds": 0, "end_seconds": 4}])
    )
    assert found.over_time[0] == pytest.approx(spoken.probabilities[0])
    soundfile.write(world / "half.wav", np.concatenate([soundfile.read(world / "long.wav")[0][:64000], np.zeros(96000)]), 16000)  # fmt: skip # noqa: E501
    half = judge(recognizer, world / "half.wav", LIMITS)
    assert np.isnan(half.over_time[-1]).all()
    assert not np.isnan(half.over_time[0]).any()


def test_a_view_that_hears_only_the_start_is_named(world: Path, recognizer: EmotionRecognizer, tmp_path: Path):
    fitted = recognizer.fitted_
    most = fitted.specs["mfcc"].parameters["maximum_seconds"]
    samples = soundfile.read(world / "long.wav")[0]
    soundfile.write(tmp_path / "longer.wav", np.resize(samples, round(16000 * (most + 1))), 16000)
    limits = replace(LIMITS, seconds=most + 2)
    assert judge(recognizer, tmp_path / "longer.wav", limits).cropped == {"mfcc": most}
    html = recognition.answer(recognizer, str(tmp_path / "longer.wav"), limits, lambda share: None)[1]
    assert f"The view mfcc hears only the first {most:g} seconds." in html
    assert "egemaps hears only" not in html
    assert judge(recognizer, world / "long.wav", limits).cropped == {}
    assert "hears only" not in recognition.answer(recognizer, str(world / "long.wav"), limits, lambda share: None)[1]
    spec = fitted.specs["mfcc"]
    other = {"mfcc": replace(spec, parameters={**spec.parameters, "maximum_seconds": 3.0})}
    assert hears_first(replace(fitted, specs={**fitted.specs, **other})) == {"mfcc": 3.0}


def test_what_is_no_speech_gets_no_emotion(world: Path, recognizer: EmotionRecognizer):
    found = judge(recognizer, world / "noise.wav", LIMITS)
    assert found.best == ""
    assert "so no emotion is given" in found.problem
    assert str(world) not in found.problem
    assert np.isnan([*found.probabilities, *found.place]).all()
    with pytest.raises(AudioError, match="silen"):
        judge(recognizer, world / "silence.wav", LIMITS)
    with pytest.raises(AudioError, match="It lasts 13 s; this page takes up to 12 s"):
        judge(recognizer, world / "too long.wav", LIMITS)


def test_one_bad_file_is_a_row_among_the_others(world: Path, recognizer: EmotionRecognizer):
    names = ("speech.wav", "text.wav", "too long.wav", "noise.wav")
    found, warnings = judge_all(recognizer, [(f"in/{name}", world / name) for name in names], LIMITS)
    assert warnings == ()
    assert found["path"].tolist() == [f"in/{name}" for name in names]
    assert [bool(why) for why in found["problem"]] == [False, True, True, True]
    assert found["emotion"].tolist() == [recognizer.predict([world / "speech.wav"])[0], "", "", ""]
    assert not found["problem"].str.contains(str(world)).any()
    with pytest.raises(UsageError, match="at most 5"):
        judge_all(recognizer, [("a.wav", world / "speech.wav")] * 6, LIMITS)
    with pytest.raises(UsageError, match="no recordings among these files"):
        judge_all(recognizer, [], LIMITS)


@pytest.mark.parametrize("limits", [Limits(seconds=0), Limits(seconds=601), Limits(megabytes=0)])
def test_limits_that_make_no_sense_are_refused(limits: Limits):
    with pytest.raises(UsageError, match="--max-"):
        require_limits(limits)


# Drawings and words


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("colour", pictures.COLOURS)
@pytest.mark.parametrize("back", ["#FFFFFF", "#0B0F19"])
def test_every_colour_can_be_seen_on_light_and_dark(colour: str, back: str):
    lighter, darker = sorted((luminance(colour), luminance(back)), reverse=True)
    assert (lighter + 0.05) / (darker + 0.05) >= 3  # WCAG 2.2, criterion 1.4.11


def test_drawings_say_what_they_show_and_take_the_colour_of_the_text(world: Path, recognizer: EmotionRecognizer):
    found = judge(recognizer, world / "long.wav", LIMITS)
    timeline = pictures.timeline(found)
    placed = pictures.map_of(recognizer.fitted_.labelled, found.labels, found.place)
    for drawing in (timeline, placed):
        assert drawing.count('role="img" aria-label="') == 2
        assert "currentColor" in drawing
        assert "#010203" not in drawing
        ids = re.findall(r'\bid="([^"]+)"', drawing)
        assert len(ids) == len(set(ids))
        assert set(re.findall(r'(?:href="|url\()#([^")]+)', drawing)) <= set(ids)
    assert "Most probable, one after the other: " in timeline
    words = re.search(r"nearest neighbours are labelled ([^.]*)\.", placed)
    assert words is not None
    assert len(words[1].split(", ")) == 5


def test_names_from_outside_can_not_write_the_page(world: Path, recognizer: EmotionRecognizer, tmp_path: Path):
    name = "<img src=x onerror=alert(1)>.wav"
    (tmp_path / name).write_text("no audio")
    for said, html in (
        recognition.answer(recognizer, str(tmp_path / name), LIMITS, lambda share: None),
        recognition.batch(recognizer, [str(tmp_path / name)], LIMITS, lambda share: None)[:2],
    ):
        assert "<img" not in said + html
        assert "&lt;img" in said + html


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("silence", np.zeros(32000), "is silent"),
        ("short", np.ones(100), "s long"),
        ("text", b"I am no recording.", "is no"),
        ("empty", b"", "is empty"),
    ],
)
def test_what_is_wrong_names_the_file_and_not_its_folder(
    recognizer: EmotionRecognizer, tmp_path: Path, name: str, content, why: str
):
    path = tmp_path / f"{name}.wav"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        soundfile.write(path, content, 16000)
    said, _ = recognition.answer(recognizer, str(path), LIMITS, lambda share: None)
    assert f"</strong> {name}.wav" in said
    assert why in said
    assert str(tmp_path) not in said


def test_a_defect_of_ours_is_words_on_the_page(recognizer: EmotionRecognizer, monkeypatch: pytest.MonkeyPatch, capsys):
    def breaks(*_):
        raise ZeroDivisionError("ours")

    monkeypatch.setattr(recognition, "judge", breaks)
    said, html = recognition.answer(recognizer, "a.wav", LIMITS, lambda share: None)
    assert "Something in EmoViews broke on a.wav" in said
    assert html == ""
    assert "ZeroDivisionError: ours" in capsys.readouterr().err


def test_what_to_expect_is_said_or_that_it_is_not_known(recognizer: EmotionRecognizer):
    report = recognizer.fitted_.report
    assert re.search(r"UAR\) of \d+\s% \(95 % interval .*; guessing has 25\s%", recognition.expectation(report))
    found = report.modes["inductive"]
    wide = replace(report, modes={"inductive": replace(found, uar=replace(found.uar, estimate=0.3, low=0.2, high=0.4))})
    assert "guessing has 25\xa0%, so it may be no better than that." in recognition.expectation(wide)
    narrow = replace(
        report, modes={"inductive": replace(found, uar=replace(found.uar, estimate=0.4, low=0.3, high=0.5))}
    )
    assert "no better than that" not in recognition.expectation(narrow)
    over = replace(report, notes=("SPEAKER OVERLAP: tested on …",))
    assert recognition.expectation(over).startswith("On recordings whose speakers may have trained, expect")
    shown = recognition.about(replace(recognizer.fitted_, report=over), local=True)
    assert "on new speakers by more" in shown
    assert "in 7 of 10 cases on new speakers" not in shown
    untested = recognition.about(
        replace(recognizer.fitted_, report=replace(report, modes={}, notes=("None.",))), local=True
    )
    assert untested.count("None.") == 1
    assert "7 of 10 cases" not in untested
    assert recognition.expectation(over).endswith("On new speakers less is to be expected.")
    assert "is not known. not tested" in recognition.expectation(replace(report, modes={}, notes=("not tested",)))


def test_about_numbers_speakers_and_names_none(recognizer: EmotionRecognizer):
    fitted = recognizer.fitted_
    found = fitted.report.modes["inductive"]
    names = {name: f"Ann-{name}" for name in found.by_speaker}
    warning = "UAR differs beyond chance: 40 % for Ann-S01, 90 % for Ann-S02."
    found = replace(
        found, by_speaker={names[name]: score for name, score in found.by_speaker.items()}, warnings=(warning,)
    )
    html = recognition.about(replace(fitted, report=replace(fitted.report, modes={"inductive": found})), local=True)
    assert "Ann-" not in html
    rows = re.findall(r'<th scope="row">(speaker \d)</th><td>(\d+)\xa0%</td><td>(\d+)</td>', html)
    assert rows == [
        (f"speaker {n}", f"{100 * uar:.0f}", str(count)) for n, (uar, count) in enumerate(found.by_speaker.values(), 1)
    ]
    assert len(rows) == 4
    assert "40 % for speaker 1, 90 % for speaker 2." in html
    nobody = replace(fitted, report=replace(fitted.report, n_speakers=0))
    assert f"{fitted.report.n_recordings} recordings of unknown speakers, " in recognition.about(nobody, local=True)


def test_a_batch_says_which_recordings_trained_and_what_that_means(
    world: Path, recognizer: EmotionRecognizer, tmp_path: Path
):
    new = read_table(world / "t.csv").query("speaker == 'S05'")["path"].iloc[0]
    (tmp_path / "new.wav").write_bytes(Path(new).read_bytes())
    trained, other = str(world / "speech.wav"), str(tmp_path / "new.wav")
    _, html, csv_path = recognition.batch(recognizer, [trained, other], LIMITS, lambda share: None)
    assert [row["mode"] for row in csv.DictReader(io.StringIO(Path(csv_path or "").read_text()))] == [
        "transductive, alone",
        "inductive",
    ]
    said = r'speech\.wav<br><em class="ev-soft">transductive, alone</em></th>.*>new\.wav</th>'
    assert re.search(said, html, re.DOTALL)
    assert (
        "<em>transductive, alone</em>: the recogniser learnt from this very recording, so it is judged better" in html
    )
    assert "transductive" not in recognition.batch(recognizer, [other], LIMITS, lambda share: None)[1]


def test_recordings_over_another_channel_are_pointed_out(
    world: Path, recognizer: EmotionRecognizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Five whistling telephones in a batch, and the windows of one long call."""
    new = read_table(world / "t.csv").query("speaker == 'S05'")["path"].head(5)
    bent = []
    for number, path in enumerate(new):
        samples, rate = soundfile.read(path)
        whistle = 0.05 * np.sin(2 * np.pi * 3000 * np.arange(len(samples)) / rate)
        soundfile.write(tmp_path / f"{number}.wav", np.diff(samples, append=0) + whistle, rate)
        bent.append(tmp_path / f"{number}.wav")
    # What is moved that far may be called no speech, one by one; here it is about what is said of those that pass.
    fitted = recognizer.fitted_
    monkeypatch.setattr(recognizer, "fitted_", replace(fitted, limits=replace(fitted.limits, outlier=1e6)))
    (tmp_path / "text.wav").write_text("no sound")
    given = [str(path) for path in (bent[0], tmp_path / "text.wav", *bent[1:])]
    said, _, results = recognition.batch(recognizer, given, replace(LIMITS, files=6), lambda share: None)
    assert "5 of 6 recordings got an emotion.</p>" in said
    assert results is not None
    assert list(pd.read_csv(results, keep_default_na=False)["warning"]) == [UNLIKE, "", *[UNLIKE] * 4]
    assert "rely on these answers: these recordings are, as a whole, unlike those it learnt from" in said
    plain, _, _ = recognition.batch(recognizer, list(new), LIMITS, lambda share: None)
    assert "unlike" not in plain
    call = np.concatenate([soundfile.read(path)[0] for path in bent])
    call = np.tile(call, 1 + int(11.5 * SAMPLING_RATE) // len(call))[: int(11.5 * SAMPLING_RATE)]
    soundfile.write(tmp_path / "call.wav", call, SAMPLING_RATE)
    said, html = recognition.answer(recognizer, str(tmp_path / "call.wav"), LIMITS, lambda share: None)
    assert "the stretches of this recording are, as a whole, unlike" in said
    assert "in noise or with another microphone it can be wrong" in html
    assert "judged as if it were one utterance" not in html
    assert "Calibrated probabilities, by egemaps and mfcc." in html


def test_every_second_of_a_long_recording_is_judged(
    world: Path, recognizer: EmotionRecognizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    speech = soundfile.read(world / "speech.wav")[0]
    soundfile.write(tmp_path / "long.wav", np.resize(speech, 250 * SAMPLING_RATE), SAMPLING_RATE)
    found, nothing = judge(recognizer, world / "long.wav", LIMITS), np.zeros((0, 0))

    def heard(_: EmotionRecognizer, parts: pd.DataFrame, *__: object, **___: object) -> Recognised:
        return Recognised(found.labels, np.full((len(parts), 4), np.nan), (), (), nothing, (), ())

    monkeypatch.setattr(judging, "_one_by_one", heard)
    starts, ends = judge(recognizer, tmp_path / "long.wav", replace(LIMITS, seconds=300)).times_seconds.T
    assert (starts[0], ends[-1]) == (0, 250)
    assert (starts[1:] <= ends[:-1]).all()


def test_recordings_of_one_name_are_pointed_out(world: Path, recognizer: EmotionRecognizer, tmp_path: Path):
    given = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        given.append(str(tmp_path / folder / "1.wav"))
        Path(given[-1]).write_bytes((world / "speech.wav").read_bytes())
    told = "Several recordings have the same name"
    assert told in recognition.batch(recognizer, given, LIMITS, lambda share: None)[1]
    assert told not in recognition.batch(recognizer, given[:1], LIMITS, lambda share: None)[1]
    inner = {f"{folder}/2.wav": (world / "speech.wav").read_bytes() for folder in ("a", "b")}
    packed = str(zipped(tmp_path / "two.zip", **inner))
    assert told not in recognition.batch(recognizer, [*given[:1], packed], LIMITS, lambda share: None)[1]
    assert told in recognition.batch(recognizer, [*given, packed], LIMITS, lambda share: None)[1]


def test_a_port_that_is_taken_is_said():
    with open_socket("127.0.0.1", 0) as taken, pytest.raises(UsageError, match="Name another port"):
        open_socket("127.0.0.1", taken.getsockname()[1])


def test_without_gradio_the_install_command_is_said(world: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(__import__("sys").modules, "gradio", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'emoviews\[app\]'"):
        cli.app_(world / "model", port=0)


def test_recordings_to_label_come_in_the_order_of_suggest(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    frame = read_table(world / "t.csv")
    frame.loc[::2, "emotion"] = ""
    frame.loc[0, "path"] = str(world / "text.wav")  # can't be judged, so it is not suggested
    write_table(frame, tmp_path / "some.csv")
    seen: list[Journal] = []
    monkeypatch.setattr("emoviews.app.labels.serve_labels", lambda table, journal, *_: seen.append(journal))
    how = {"store": world / "store", "workers": 1}
    for strategy in ("random", "core_set"):
        cli.label(tmp_path / "some.csv", model=world / "model", strategy=strategy, **how)
        found = cli.suggest(world / "model", tmp_path / "some.csv", budget=1000, strategy=strategy, **how)
        chosen = list(found["id"])
        assert len(chosen) > 30
        assert [name for name in seen[-1].order if name in chosen] == chosen
        assert sorted(seen[-1].order) == sorted(frame["id"][::2])
        assert seen[-1].labels == tuple(sorted(set(frame["emotion"]) - {""}))
    assert list(seen[1].order[: len(chosen)]) == chosen  # what can't be judged comes last where all are judged
    assert seen[1].order[-1] == frame["id"][0]


def test_a_random_order_asks_no_recogniser(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_table(read_table(world / "t.csv").assign(emotion=""), tmp_path / "some.csv")
    seen: list[Journal] = []
    monkeypatch.setattr("emoviews.app.labels.serve_labels", lambda table, journal, *_: seen.append(journal))
    monkeypatch.setattr(EmotionRecognizer, "recognise", lambda *_: pytest.fail("a recording is judged"))
    cli.label(tmp_path / "some.csv", model=world / "model", store=tmp_path / "store")
    assert seen[0].labels == load_recognizer(world / "model").fitted_.labels
    chosen = cli.suggest(world / "model", tmp_path / "some.csv", budget=9, store=tmp_path / "store")
    assert tuple(chosen["id"]) == seen[0].order[:9]
    assert "guess" not in chosen
    with pytest.raises(CheckpointError, match="holds no recogniser"):
        cli.suggest(tmp_path / "no model", tmp_path / "some.csv")
    cli.label(tmp_path / "some.csv", labels=("a", "b"))
    assert seen[1].order == seen[0].order != tuple(read_table(tmp_path / "some.csv")["id"])
    assert not (tmp_path / "store").exists()


# The page in a browser


HEARD = """() => {
  window.heard = [];
  const watched = {subtree: true, childList: true, characterData: true};
  for (const place of document.querySelectorAll(".ev-live[aria-live]"))
    new MutationObserver(() => window.heard.push(place.innerText.trim())).observe(place, watched);
}"""
"""Keeps what a screen reader is told."""


WAITED = """() => {  // for something that is in sight
  const place = document.getElementById("ev-waiting"), box = place.getBoundingClientRect();
  return /\\d/.test(place.innerText) && box.top >= 0 && box.bottom <= innerHeight;
}"""
ONE, MANY = "input[type=file]:not([multiple])", "input[type=file][multiple]"
"""Where a recording is given, and several; Gradio draws both some time after the buttons."""
IN_SIGHT = """id => {
  const place = document.getElementById(id).getBoundingClientRect();
  return place.top >= 0 && place.top <= 0.7 * innerHeight;
}"""


def test_the_page_is_in_english_whatever_the_browser_speaks(world: Path, tmp_path: Path):
    """Gradio's own parts too, since screen readers are told that the page is."""
    with chromium() as browser, served("app", str(world / "model"), folder=tmp_path) as (url, _):
        page = opened(browser, locale="de-DE")
        wrong = watched(page)
        page.goto(url)
        page.get_by_role("button", name="Recognise the emotion").wait_for()
        expect(page.locator("html")).to_have_attribute("lang", "en")
        expect(page.get_by_text("Drop Audio Here")).to_be_visible()
        expect(page.get_by_text("ablegen")).to_have_count(0)
        assert wrong == []
        with pytest.raises(urllib.error.HTTPError, match="400"):  # a name of another's that leads here
            urllib.request.urlopen(urllib.request.Request(url, headers={"Host": "evil.example"}))


def test_what_is_said_of_a_recording_that_was_taken_away_is_not_said_of_the_next(world: Path, tmp_path: Path):
    """Judging takes a while; on a phone, meanwhile, that it goes on is in sight."""
    speech = soundfile.read(world / "speech.wav")[0]
    soundfile.write(tmp_path / "minute.wav", np.resize(speech, 60 * SAMPLING_RATE), SAMPLING_RATE)
    zipped(tmp_path / "good.zip", **{n: (world / n).read_bytes() for n in ("speech.wav", "text.wav")})
    with chromium() as browser, served("app", str(world / "model"), folder=tmp_path) as (url, _):
        page = opened(browser, viewport=PHONE)
        page.goto(url)
        start = page.get_by_role("button", name="Recognise the emotion")
        start.wait_for()

        def choose(path: Path) -> None:
            page.locator(ONE).set_input_files(path)
            page.get_by_role("button", name="Play", exact=True).wait_for()

        choose(tmp_path / "minute.wav")
        began = time.monotonic()
        start.click()
        page.wait_for_function(WAITED)
        page.get_by_text("Taken as one utterance, most probable: ").wait_for()
        took = time.monotonic() - began
        expect(page.get_by_text("minute.wav, 60.0 seconds")).to_be_visible()
        start.click()
        page.wait_for_function(WAITED)
        page.get_by_role("button", name="Clear").click()
        choose(world / "noise.wav")
        page.wait_for_timeout(1500 * took + 1000)
        expect(page.get_by_text("most probable")).to_have_count(0)
        expect(page.locator("#ev-waiting")).to_have_text("", use_inner_text=True)  # what is hidden is not read
        start.click()
        page.get_by_text("so no emotion is given").wait_for()

        page.get_by_role("tab", name="Batch").click()
        files = page.locator(MANY)
        files.set_input_files([tmp_path / "good.zip", world / "noise.wav"])
        page.get_by_role("button", name="Remove this file").nth(1).wait_for()
        page.get_by_role("button", name="Recognise all").click()
        page.get_by_text("1 of 3 recordings got an emotion").wait_for()
        page.get_by_role("button", name="Remove this file").nth(1).click()
        page.get_by_text("1 of 3 recordings got an emotion").wait_for(state="detached")
        expect(page.get_by_role("button", name="Download all as CSV")).to_have_count(0)


def test_the_page_recognises_one_and_many_in_the_browser(world: Path, tmp_path: Path):
    pytest.importorskip("gradio")
    limits = ["--max-seconds", "12", "--max-megabytes", "1"]
    zipped(tmp_path / "evil.zip", **{"../evil.wav": b"1"})
    zipped(tmp_path / "good.zip", **{n: (world / n).read_bytes() for n in ("speech.wav", "text.wav")}, **{"a.txt": b""})
    (tmp_path / "large.wav").write_bytes(bytes(1_100_000))
    with chromium() as browser, served("app", str(world / "model"), *limits, folder=tmp_path) as (url, _):
        page = opened(browser, viewport=WIDE)
        wrong = watched(page)
        page.goto(url)
        start = page.get_by_role("button", name="Recognise the emotion")
        start.wait_for()
        page.get_by_text("guessing has 25").first.wait_for()
        page.locator(ONE).wait_for(state="attached")
        assert barriers(page) == []
        expect(page.locator(".ev-live[aria-live]")).to_have_count(1)
        expect(page.locator("[aria-live] [aria-live], [aria-live] [data-testid=status-tracker]")).to_have_count(0)
        start.click()
        page.get_by_role("alert").get_by_text("There is no recording yet").wait_for()

        def choose(name: str) -> None:
            page.locator(ONE).set_input_files(world / name)
            page.get_by_role("button", name="Play", exact=True).wait_for()

        page.locator(ONE).set_input_files(tmp_path / "large.wav")
        page.get_by_text(re.compile("exceed", re.IGNORECASE)).first.wait_for()
        page.reload()
        start.wait_for()
        expect(page.locator(".ev-live[aria-live]")).to_have_count(1)
        choose("long.wav")
        page.evaluate(HEARD)
        start.click()
        page.get_by_text("Most probable: ").wait_for()
        heard = set(page.evaluate("window.heard")) - {""}
        assert len(heard) == 1
        assert re.fullmatch(r"Most probable: \w+, \d+\s%\.", heard.pop())
        for heading in ("Over time", "What each view says by itself", "Among the labelled recordings"):
            expect(page.get_by_role("heading", name=heading)).to_be_visible()
        expect(page.get_by_role("img", name="Map of")).to_be_visible()
        expect(page.get_by_role("img", name=re.compile("probability of each emotion over time"))).to_be_visible()
        assert page.get_by_role("row").count() > 8  # probabilities, and each view's
        assert barriers(page) == []
        page.get_by_role("button", name="Clear").click()
        choose("noise.wav")
        start.click()
        page.get_by_text("so no emotion is given").wait_for()

        page.get_by_role("tab", name="One recording").focus()  # by keyboard from here
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        expect(page.get_by_role("tab", selected=True)).to_have_text("Batch")
        expect(page.locator(".ev-live[aria-live]")).to_have_count(2)  # one a tab, once it is open
        expect(start).to_be_hidden()
        files = page.locator(MANY)
        files.set_input_files([tmp_path / "evil.zip"])
        page.get_by_role("button", name="Clear").wait_for()
        page.get_by_role("button", name="Recognise all").click()
        page.get_by_text("leads out of the zip's own folder").wait_for()
        page.get_by_role("button", name="Clear").click()
        expect(page.get_by_role("button", name="Clear")).to_have_count(0)
        files.set_input_files([tmp_path / "good.zip", world / "noise.wav"])
        page.get_by_role("button", name="Remove this file").nth(1).wait_for()
        page.get_by_role("button", name="Recognise all").click()
        page.get_by_text("1 of 3 recordings got an emotion").wait_for()
        with page.expect_download() as download:
            page.get_by_role("button", name="Download all as CSV").click()
        rows = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text())))
        assert [row["id"] for row in rows] == ["speech.wav", "text.wav", "noise.wav"]
        assert [bool(row["problem"]) for row in rows] == [False, True, True]
        assert float(rows[0]["confidence"]) == pytest.approx(max(float(v) for k, v in rows[0].items() if k[:2] == "p_"))
        assert barriers(page) == []
        assert wrong == []
        assert not (tmp_path.parent / "evil.wav").exists()

        phone = opened(browser, viewport=PHONE, color_scheme="dark")
        phone.goto(url)
        phone.get_by_role("button", name="Recognise the emotion").wait_for()
        phone.locator(ONE).wait_for(state="attached")
        assert overflow(phone) == 0
        phone.locator(ONE).set_input_files(world / "long.wav")
        phone.get_by_role("button", name="Play", exact=True).wait_for()
        phone.get_by_role("button", name="Recognise the emotion").click()
        phone.get_by_role("img", name="Map of").wait_for()
        phone.wait_for_function(IN_SIGHT, arg="ev-said")
        assert overflow(phone) == 0
        phone.get_by_role("tab", name="Batch").click()
        expect(phone.get_by_role("button", name="Recognise the emotion")).to_be_hidden()
        zipped(tmp_path / "named.zip", **{"session_01/speaker_01/anger.wav": (world / "speech.wav").read_bytes()})
        phone.locator(MANY).set_input_files([tmp_path / "named.zip"])
        phone.get_by_role("button", name="Clear").wait_for()
        phone.get_by_role("button", name="Recognise all").click()
        phone.get_by_text("1 of 1 recordings got an emotion").wait_for()
        phone.wait_for_function(IN_SIGHT, arg="ev-summary")
        for header in phone.locator(".ev-rows th").all():
            assert header.evaluate("cell => cell.scrollWidth - cell.clientWidth") <= 0
        name = phone.locator(".ev-rows th[scope=row]")
        assert name.evaluate("cell => cell.clientWidth") > 150
        shown = 'session_<wbr>01/<wbr>speaker_<wbr>01/<wbr>anger.wav<br><em class="ev-soft">transductive, alone</em>'
        assert name.evaluate("cell => cell.innerHTML") == shown
        expect(phone.get_by_text("one that the recogniser learnt from is transductive, alone")).to_be_visible()
        for tab in ("Batch", "About"):
            phone.get_by_role("tab", name=tab).click()
            expect(phone.get_by_role("tab", selected=True)).to_have_text(tab)
            if tab == "About":
                expect(phone.get_by_role("rowheader", name="speaker 4")).to_be_visible()
            assert overflow(phone) == 0
            assert barriers(phone) == []
    assert list(tmp_path.glob("emoviews-app-*")) == []  # what people sent is gone
