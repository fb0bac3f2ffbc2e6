"""The page for labelling: what its server answers, and the whole of it in a real browser."""

from __future__ import annotations

import io
import json
import signal
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from tests.pages import PHONE, WIDE, barriers, chromium, expect, opened, overflow, served, watched

from emoviews import cli, extraction
from emoviews.app.labels import label_page, token
from emoviews.labelling import Journal, journal_of, read_journal
from emoviews.table import make_table, read_table, write_table

pytest.importorskip("starlette")

LABELS = ("anger", "joy", "sadness")


def write_corpus(folder: Path) -> Path:
    time = np.arange(8000) / 16000
    for number, name in enumerate("abcd"):
        soundfile.write(folder / f"{name}.wav", 0.5 * np.sin(2 * np.pi * 220 * (number + 1) * time), 16000)
    (folder / "d.wav").write_text("no audio")
    rows = [{"id": name, "path": f"{name}.wav"} for name in "abcd"]
    rows += [{"id": "cut", "path": "b.wav", "start_seconds": 0.1, "end_seconds": 0.3}]
    rows += [{"id": "known", "path": "a.wav", "emotion": "joy"}]
    write_table(make_table(rows, folder), folder / "table.csv")
    return folder / "table.csv"


@pytest.fixture
def client(tmp_path: Path):
    table = write_corpus(tmp_path)
    journal = Journal(table, ["a", "cut", "d", "b", "c"], LABELS)
    yield client_of(table, journal)
    journal.close()


def client_of(table: Path, journal: Journal):
    from starlette.testclient import TestClient

    client = TestClient(label_page(read_table(table), journal, "127.0.0.1"), base_url="http://127.0.0.1")
    client.tokens = {name: token(journal, name) for name in journal.order}
    return client


def send(client, name="a", **changes):
    sent = {
        "annotator": "Ann",
        "expected": 0,
        "recording": client.tokens[name],
        "action": "label",
        "emotion": "joy",
        **changes,
    }
    return client.post("/answer", json=sent)


def test_an_answer_gives_the_next_recording(client):
    first = client.get("/state", params={"annotator": "Ann"}).json()
    assert (first["total"], first["done"], first["current"], first["last"]) == (5, 0, client.tokens["a"], None)
    assert first["labels"] == list(LABELS)
    after = send(client).json()
    assert (after["done"], after["current"], after["expected"]) == (1, client.tokens["cut"], 1)
    assert after["last"] == {"recording": client.tokens["a"], "action": "label"}
    undone = send(client, action="undo", expected=1, emotion="").json()
    assert (undone["done"], undone["current"], undone["last"]) == (0, client.tokens["a"], None)
    assert client.get("/state", params={"annotator": "Bob"}).json()["done"] == 0


@pytest.mark.parametrize("action", ["label", "cannot_tell", "skip"])
def test_an_answer_of_a_page_left_open_is_not_taken_for_another_recording(tmp_path: Path, action: str):
    table = write_corpus(tmp_path)
    with closing(Journal(table, ["a", "b", "c"], LABELS)) as journal:
        old = client_of(table, journal)
        shown = old.get("/state", params={"annotator": "Ann"}).json()["current"]
    with closing(Journal(table, ["b", "a", "c"], LABELS)) as journal:  # started again, with another --seed
        client = client_of(table, journal)
        refused = send(client, recording=shown, action=action)
        assert (refused.status_code, read_journal(journal.path)) == (409, [])
        assert send(client, "b", action=action).status_code == 200
        assert (
            send(client, recording=shown, action="undo", expected=1).status_code == 409
        )  # not of a's answer, there is none
        assert [(entry.id, entry.action) for entry in read_journal(journal.path)] == [("b", action)]
        assert (
            client.get(f"/audio/{shown}").content == old.get(f"/audio/{shown}").content
        )  # the same sound, whatever the order


@pytest.mark.parametrize(
    ("changes", "status", "said"),
    [
        ({"emotion": "boredom"}, 400, "'boredom' is none of anger, joy, sadness. Nothing was saved"),
        ({"expected": 3}, 409, "gone on in another window"),
        ({"recording": "no token"}, 409, "another recording comes now. Nothing was saved"),
        ({"name": "cut"}, 409, "another recording comes now. Nothing was saved"),
        ({"recording": None}, 400, "Nothing was saved; load the page again"),
        ({"annotator": " "}, 400, "Expected a name"),
        ({"annotator": 3}, 400, "Nothing was saved; load the page again"),
        ({"action": "undo"}, 400, "nothing to undo"),
    ],
)
def test_what_is_no_answer_is_said(client, changes, status, said):
    answer = send(client, **changes)
    assert answer.status_code == status
    assert said in answer.json()["error"]
    assert client.get("/state", params={"annotator": "Ann"}).json()["done"] == 0


def test_other_web_sites_can_not_answer(client):
    sent = json.dumps({"annotator": "Ann", "expected": 0, "recording": client.tokens["a"], "action": "label"})
    assert client.post("/answer", content=sent, headers={"Content-Type": "text/plain"}).status_code == 415
    assert client.get("/state?annotator=Ann", headers={"Host": "evil.example"}).status_code == 400
    assert "default-src 'none'" in client.get("/").headers["Content-Security-Policy"]


def test_sound_is_the_recording_or_its_part_and_names_no_file(client, caplog: pytest.LogCaptureFixture):
    def sound(name: str):
        return client.get(f"/audio/{client.tokens[name]}")

    samples, rate = soundfile.read(io.BytesIO(sound("cut").content))
    whole, _ = soundfile.read(io.BytesIO(sound("b").content))
    assert rate == 16000
    assert samples == pytest.approx(whole[1600:4800], abs=2**-14)
    assert sound("d").status_code == 404
    assert "d.wav" in caplog.text
    assert sound("d").json() == {"error": "the terminal of emoviews label says why."}
    assert client.get("/audio/none").status_code == 404
    assert "b.wav" not in client.get("/state", params={"annotator": "Ann"}).text


def test_what_is_too_long_for_one_emotion_is_not_played(
    client, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(extraction, "MAXIMUM_SECONDS", 0.4)
    assert client.get(f"/audio/{client.tokens['cut']}").status_code == 200
    assert client.get(f"/audio/{client.tokens['b']}").status_code == 404
    assert (
        "b.wav lasts 0 s; an utterance may last at most 0 s, since one emotion for more means nothing." in caplog.text
    )


def test_it_says_how_well_annotators_agree(client):
    for person, emotions in (("Ann", ("joy", "anger")), ("Bob", ("joy", "sadness"))):
        for turn, (name, emotion) in enumerate(zip(("a", "cut"), emotions, strict=True)):
            assert send(client, name, annotator=person, expected=turn, emotion=emotion).status_code == 200
    found = client.get("/agreement").json()
    assert found["text"].startswith("Krippendorff's alpha (nominal) = 0.4")
    assert found["counts"] == {"Ann": 2, "Bob": 2}
    assert found["disagreements"] == [{"place": 2, "said": {"Ann": "anger", "Bob": "sadness"}}]


TOO_SOON = """() => {
  const watch = setInterval(() => {
    if (now.expected !== 1 || busy || "ready" in document.body.dataset) return;
    clearInterval(watch);
    document.body.dispatchEvent(new KeyboardEvent("keydown", { key: "1", bubbles: true }));
    window.pressed = true;
  }, 5);
}"""
"""Presses a key as soon as the second recording is there, before anybody can have heard it."""


def heard(page) -> None:
    """Wait until the page takes an answer: once it sounds, and not at once, or a key pressed twice would label the next one."""
    page.locator("body[data-ready][data-sound]").wait_for(state="attached")


def test_two_people_label_in_the_browser_and_a_kill_loses_nothing(tmp_path: Path):
    table = write_corpus(tmp_path)
    before = table.read_bytes()
    with (
        chromium() as browser,
        served("label", str(table), "--labels", ",".join(LABELS), folder=tmp_path) as (url, process),
    ):
        page = opened(browser, viewport=WIDE)
        wrong = watched(page)

        def press(key: str, said: str, done: str) -> None:
            heard(page)
            page.keyboard.press(key)
            page.get_by_text(said).wait_for()
            page.get_by_role("heading", name=done).wait_for()

        page.goto(url)
        assert barriers(page) == []
        page.keyboard.type("Ann")  # the field has the focus
        page.keyboard.press("Enter")
        page.get_by_role("heading", name="0 of 5 done").wait_for()
        expect(page.get_by_role("button", name="Undo")).to_be_disabled()
        page.evaluate(TOO_SOON)
        press("2", "Saved: joy.", "1 of 5 done")
        heard(page)
        assert page.evaluate("window.pressed")
        expect(page.get_by_role("heading", name="1 of 5 done")).to_be_visible()
        press("u", "Undone: the recording before is back.", "0 of 5 done")
        expect(page.locator("#status")).to_have_text("Undone: the recording before is back.")
        press("s", "Skipped.", "0 of 5 done")
        press("0", "Saved: can’t tell.", "1 of 5 done")
        press("1", "Saved: anger.", "2 of 5 done")
        press("1", "Saved: anger.", "3 of 5 done")
        heard(page)
        page.get_by_role("button", name="sadness").click()
        page.get_by_text("Saved: sadness. A recording that you skipped.").wait_for()
        press("2", "Saved: joy. All recordings are done.", "All 5 done")
        assert barriers(page) == []
        assert wrong == []

        other = opened(browser, viewport=PHONE, color_scheme="dark")  # somebody else, on a phone
        other.goto(url)
        other.get_by_label("Who is labelling?").fill("Bob")
        other.get_by_role("button", name="Start").click()
        other.get_by_role("heading", name="0 of 5 done").wait_for()
        assert overflow(other) == 0
        second = other.context.new_page()  # Bob opens it twice
        second.goto(url)
        second.get_by_label("Who is labelling?").fill("Bob")
        second.keyboard.press("Enter")
        second.get_by_role("heading", name="0 of 5 done").wait_for()
        heard(other)
        other.get_by_role("button", name="joy").click()
        other.get_by_role("heading", name="1 of 5 done").wait_for()
        heard(second)
        second.get_by_role("button", name="anger").click()
        second.get_by_text("Bob has gone on in another window").wait_for()
        second.get_by_role("heading", name="1 of 5 done").wait_for()
        second.get_by_text("Agreement of the annotators").click()
        second.get_by_text("1 recording labelled by two or more").wait_for()
        assert barriers(second) == []

        process.send_signal(signal.SIGKILL)
        process.wait()
        heard(second)
        second.get_by_role("button", name="Can’t tell").click()
        second.get_by_text("The program that serves this page does not answer").wait_for()
    given = [(e.annotator, e.action, e.emotion) for e in read_journal(journal_of(table))]
    assert given[-1] == ("Bob", "label", "joy")
    assert [what for who, what, _ in given if who == "Ann"].count("label") == 5
    assert table.read_bytes() == before


@contextmanager
def labelling(folder: Path, *ids: str, script: str = "() => {}") -> Iterator[tuple[Any, Path]]:
    """Ann's page and its journal, on these recordings of `write_corpus`, with the labels a and b; the script runs first."""
    table = write_corpus(folder)
    write_table(read_table(table).query("id in @ids"), table)
    with chromium() as browser, served("label", str(table), "--labels", "a,b", folder=folder) as (url, _):
        page = opened(browser)
        page.add_init_script(f"({script})()")
        page.goto(url)
        page.get_by_label("Who is labelling?").fill("Ann")
        page.keyboard.press("Enter")
        yield page, journal_of(table)


def test_somebody_else_can_go_on_in_the_same_window(tmp_path: Path):
    with labelling(tmp_path, "a", "b") as (page, journal):
        page.locator("#where:focus").wait_for()  # not lost with the form
        heard(page)
        page.keyboard.press("1")
        page.get_by_role("heading", name="1 of 2 done").wait_for()
        page.reload()
        page.get_by_role("heading", name="1 of 2 done").wait_for()  # the window knows its annotator
        page.get_by_role("button", name="Not Ann?").click()
        page.locator("#name:focus").wait_for()
        expect(page.get_by_label("Who is labelling?")).to_have_value("")
        page.keyboard.type("Bob")
        page.keyboard.press("Enter")
        page.get_by_role("heading", name="0 of 2 done").wait_for()
        expect(page.get_by_role("button", name="Not Bob?")).to_be_visible()
        heard(page)
        page.keyboard.press("2")
        page.get_by_role("heading", name="1 of 2 done").wait_for()
    assert [(e.annotator, e.emotion) for e in read_journal(journal)] == [("Ann", "a"), ("Bob", "b")]


def test_keys_answer_wherever_the_focus_is(tmp_path: Path):
    with labelling(tmp_path, "a", "b", "c") as (page, _):
        heard(page)
        for x in (25, 150, 150):  # its button, and its slider twice
            page.locator("audio").click(position={"x": x, "y": 27})
            page.keyboard.press("1")
            page.get_by_role("heading", name="1 of 3 done").wait_for()
            heard(page)
            page.keyboard.press("u")
            page.get_by_role("heading", name="0 of 3 done").wait_for()
            heard(page)
        page.locator("audio").focus()
        page.keyboard.press("1")
        page.get_by_role("heading", name="1 of 3 done").wait_for()
        heard(page)
        summary = page.get_by_text("Keys, and what happens to the labels")
        summary.focus()
        page.keyboard.press(" ")  # opens it, as everywhere
        page.get_by_label("Use single keys").focus()
        page.keyboard.press("2")
        page.get_by_role("heading", name="2 of 3 done").wait_for()
        heard(page)
        page.keyboard.press("u")
        page.get_by_role("heading", name="1 of 3 done").wait_for()
        page.keyboard.press(" ")  # off
        heard(page)
        page.keyboard.press("1")
        page.get_by_role("button", name="b", exact=True).click()
        page.get_by_text("Saved: b.").wait_for()
        page.get_by_role("heading", name="2 of 3 done").wait_for()


def test_a_recording_that_can_not_be_played_is_said_on_the_page(tmp_path: Path):
    with labelling(tmp_path, "d") as (page, journal):
        page.get_by_role("alert").get_by_text("This recording can't be played").wait_for()
        assert "d.wav" not in page.content()
        heard(page)
        page.keyboard.press("1")
        page.get_by_text("it has not been heard. Answer “can't tell”, or skip it.").wait_for()
        page.get_by_role("button", name="b", exact=True).click()
        assert read_journal(journal) == []
        page.keyboard.press("0")
        page.get_by_role("heading", name="All 1 done").wait_for()
    assert [entry.action for entry in read_journal(journal)] == ["cannot_tell"]


SILENT_FIRST = """() => {
  const play = HTMLMediaElement.prototype.play;
  HTMLMediaElement.prototype.play = function () {
    HTMLMediaElement.prototype.play = play;
    return Promise.reject(new DOMException("wants a click", "NotAllowedError"));
  };
}"""
"""A browser that does not let a page sound by itself."""


def test_what_has_not_sounded_yet_gets_no_label(tmp_path: Path):
    with labelling(tmp_path, "a", "b", script=SILENT_FIRST) as (page, journal):
        page.get_by_text("Next recording. Press space to listen.").wait_for()
        page.locator("body[data-ready]").wait_for(state="attached")
        for key in "10":
            page.keyboard.press(key)
            page.get_by_text("Press space to listen.", exact=True).wait_for()
        assert read_journal(journal) == []
        page.keyboard.press(" ")
        heard(page)
        page.keyboard.press("1")
        page.get_by_text("Saved: a.").wait_for()
    assert [entry.emotion for entry in read_journal(journal)] == ["a"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Say which emotions there are to choose from"),
        (["--merge", "out.csv"], "has no labels yet. Give some first: emoviews label"),
        (["--labels", "a,b", "--host", "203.0.113.7"], "Can't open a page at 203.0.113.7:7861"),
    ],
)
def test_wrong_use_is_said_in_the_shell(tmp_path: Path, arguments, said, capsys: pytest.CaptureFixture[str]):
    table = write_corpus(tmp_path)
    with pytest.raises(SystemExit) as left:
        cli.main(["label", str(table), *arguments])
    assert left.value.code == 2
    assert said in " ".join(capsys.readouterr().err.split())


def test_merge_says_what_it_did(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    table = write_corpus(tmp_path)
    journal = Journal(table, "abc", LABELS)
    for person, emotions in (("Ann", ("joy", "anger")), ("Bob", ("joy", "sadness"))):
        for turn, (name, emotion) in enumerate(zip("ab", emotions, strict=True)):
            journal.add(person, turn, name, "label", emotion)
    journal.close()
    cli.main(["label", str(table), "--merge", str(tmp_path / "labelled.csv")])
    printed = " ".join(capsys.readouterr().out.split())
    assert "1 recording got an emotion" in printed
    assert "b: Ann anger, Bob sadness" in printed
    assert read_table(tmp_path / "labelled.csv")["emotion"].tolist() == ["joy", "", "", "", "", "joy"]
