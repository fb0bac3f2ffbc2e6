"""A recogniser goes to the hub and comes back at a named commit, by the real client against a stand-in of the hub."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import huggingface_hub
import pytest
import yaml
from huggingface_hub import constants
from tests.hub_stand_in import Hub, hub

from emoviews import cli, from_pretrained, push_to_hub
from emoviews.bundles import load_recognizer, save_recognizer
from emoviews.checkpoints import described
from emoviews.errors import CheckpointError, HubError, UsageError
from emoviews.hub import fetched
from emoviews.recognizer import EmotionRecognizer
from emoviews.table import read_table, write_table
from emoviews.verification import verify


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hub")
    cli.main(["corpus", "synthetic", str(folder / "audio"), "--out", str(folder / "t.csv"), "--preset", "tiny"])
    recognizer = EmotionRecognizer(views=("mfcc",), store=folder / "store", workers=1)
    save_recognizer(folder / "model", recognizer.fit(read_table(folder / "t.csv")))
    return folder


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with hub() as running:
        monkeypatch.setattr(constants, "ENDPOINT", running.url)
        address = f"{running.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        yield running


def test_a_recogniser_comes_back_as_it_was(world: Path, server: Hub) -> None:
    commit = push_to_hub(str(world / "model"), "someone/voices", private=True)
    assert server.private == {"someone/voices"}
    assert server.objects
    assert not server.xorbs  # by LFS
    files = server.commits[commit]
    assert sorted(name.split("-")[0] for name in files) == [".gitattributes", "README.md", "emoviews.json", "model"]
    again = from_pretrained("someone/voices", commit).set_params(store=world / "store", workers=1)
    table = read_table(world / "t.csv")
    here = load_recognizer(world / "model").set_params(store=world / "store", workers=1)
    assert again.predict_proba(table) == pytest.approx(here.predict_proba(table), abs=1e-12)


def test_a_fitted_recogniser_is_pushed_without_a_folder(world: Path, server: Hub) -> None:
    commit = push_to_hub(load_recognizer(str(world / "model")), "someone/voices", branch="trial")
    assert server.branches["someone/voices"]["trial"] == commit
    assert "emoviews.json" not in server.commits[server.branches["someone/voices"]["main"]]
    assert from_pretrained(f"hf://someone/voices@{commit}").classes_.tolist() == [
        "anger",
        "happiness",
        "neutral",
        "sadness",
    ]


def test_what_is_not_pinned_is_said_with_its_commit(world: Path, server: Hub) -> None:
    commit = push_to_hub(world / "model", "someone/voices")
    for name in ("someone/voices", "hf://someone/voices@main"):
        with pytest.warns(UserWarning, match=f"main is commit {commit} now.*Pin it: hf://someone/voices@{commit}"):
            from_pretrained(name)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        from_pretrained("someone/voices", revision=commit)


def test_a_second_push_replaces_the_first_and_a_pin_keeps_the_first(world: Path, server: Hub) -> None:
    first = push_to_hub(world / "model", "someone/voices")
    other = EmotionRecognizer(views=("mfcc",), store=world / "store", workers=1, evaluate=False, strength=1.0)
    second = push_to_hub(other.fit(read_table(world / "t.csv")), "someone/voices")
    names = [[n for n in server.commits[c] if n.endswith(".safetensors")] for c in (first, second)]
    assert len(names[0]) == len(names[1]) == 1
    assert names[0] != names[1]
    assert from_pretrained("someone/voices", first).fitted_.report.modes
    assert not from_pretrained("someone/voices", second).fitted_.report.modes


def test_no_speaker_and_no_file_is_named_in_what_is_pushed(world: Path, server: Hub, tmp_path: Path) -> None:
    table = read_table(world / "t.csv")
    names = {name: f"Name-{name}" for name in set(table["speaker"])}
    table = table.assign(speaker=table["speaker"].map(names), group=table["speaker"].map(names))
    table.loc[0, ["id", "path"]] = ["gone", str(tmp_path / "gone.wav")]
    recognizer = EmotionRecognizer(views=("mfcc",), store=world / "store", workers=1).fit(table)
    assert recognizer.fitted_.report.left_out
    commit = push_to_hub(recognizer, "someone/voices")
    for name in ("README.md", "emoviews.json"):
        text = server.commits[commit][name].decode()
        assert "Name-" not in text
        assert "gone" not in text
    (found,) = verify(fetched("someone/voices", commit))
    assert (found.what, found.problems) == ("a recogniser, weights and description (emoviews.json)", ())
    report = from_pretrained("someone/voices", commit).fitted_.report
    assert len(report.left_out) == 1
    scores = recognizer.fitted_.report.modes["inductive"].by_speaker.values()
    assert list(report.modes["inductive"].by_speaker.values()) == list(scores)


def test_the_card_names_the_repository_unless_it_was_written_by_hand(world: Path, server: Hub, tmp_path: Path) -> None:
    commit = push_to_hub(world / "model", "someone/voices")
    card = server.commits[commit]["README.md"].decode()
    assert "emoviews predict hf://someone/voices@COMMIT" in card
    assert yaml.safe_load(card.split("---")[1])["library_name"] == "emoviews"
    shutil.copytree(world / "model", tmp_path / "model")
    (tmp_path / "model" / "README.md").write_text("My own words")
    assert server.commits[push_to_hub(tmp_path / "model", "someone/voices")]["README.md"] == b"My own words"


def test_a_graph_goes_with_it(world: Path, server: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnxruntime")
    shutil.copytree(world / "model", tmp_path / "model")
    cli.main(["export", str(tmp_path / "model"), "--format", "onnx"])
    cli.main(["export", str(tmp_path / "model"), "--format", "hub", "--to", "someone/voices"])
    pushed = capsys.readouterr().out.split()[-1]
    recording = str(next((world / "audio").rglob("*.wav")))
    cli.main(["predict", pushed, recording, "--backend", "onnx", "--format", "csv"])
    assert recording in capsys.readouterr().out
    notes = json.loads((tmp_path / "model" / "emoviews.json").read_text())
    (tmp_path / "model" / "emoviews.json").write_bytes(described({**notes, "limits": {"outlier": 1.0, "shift": 1.0}}))
    with pytest.raises(CheckpointError, match="was made from another recogniser"):
        push_to_hub(tmp_path / "model", "someone/voices")


def test_what_was_downloaded_serves_without_the_hub(world: Path, server: Hub) -> None:
    commit = push_to_hub(world / "model", "someone/voices")
    folder = fetched(f"someone/voices@{commit}")
    server.broken = True
    assert fetched(f"someone/voices@{commit}") == folder
    with pytest.raises(HubError, match="someone/other"):
        fetched("someone/other")


def test_names_that_are_not_there(world: Path, server: Hub, tmp_path: Path) -> None:
    push_to_hub(world / "model", "someone/voices")
    with pytest.raises(UsageError, match=r"no model someone/vioces on the hub, or it is private.*HF_TOKEN"):
        from_pretrained("someone/vioces")
    with pytest.raises(UsageError, match="has no revision 'v2'"):
        from_pretrained("someone/voices@v2")
    server.gated.add("someone/voices")
    with pytest.raises(HubError, match="its owner lets in"):
        from_pretrained("someone/voices")
    server.commit("someone/text", "main", {"README.md": b"another kind of model"})
    with pytest.raises(CheckpointError, match=r"is no recogniser of EmoViews: it has no emoviews\.json"):
        from_pretrained("someone/text@" + server.branches["someone/text"]["main"])
    with pytest.raises(UsageError, match="is a folder and has no revision"):
        from_pretrained(world / "model", "v1")
    with pytest.raises(UsageError, match="names another revision than v1"):
        from_pretrained("someone/voices@v2", "v1")
    for name in ("voices", "someone/voices@v1", "a/b/c"):
        with pytest.raises(UsageError, match="Expected the name of a repository"):
            push_to_hub(world / "model", name)
    with pytest.raises(UsageError, match="is no name that the hub takes"):
        push_to_hub(world / "model", "someone/-voices-")
    with pytest.raises(UsageError, match="is no name on the hub; expected hf://OWNER/NAME"):
        fetched("hf://voices")


def test_a_hub_that_refuses_and_one_that_is_not_there(
    world: Path, server: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.token = "secret"
    with pytest.raises(HubError, match=r"Nothing was changed here\. Log in with a token"):
        push_to_hub(world / "model", "someone/voices", token="wrong")
    push_to_hub(world / "model", "someone/voices", token="secret")
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(HubError, match=r"hub can't be reached for someone/other .*; try again with a network"):
        from_pretrained("someone/other")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(
        HubError, match=r"hub can't be reached for someone/voices .* an empty repository may have been made"
    ):
        push_to_hub(world / "model", "someone/voices")


def test_on_the_command_line(world: Path, tmp_path: Path) -> None:
    """Exit codes and words, with the hub named by the environment alone."""
    with hub() as running:

        def run(*arguments: str, **changes: str) -> tuple[int, str, str]:
            place = {"HF_ENDPOINT": running.url, "HF_HOME": str(tmp_path / "hf")}
            env = {**os.environ, **place, **changes}
            code = "import sys; from emoviews import cli; cli.main(sys.argv[1:])"
            command = [sys.executable, "-c", code, *arguments]
            done = subprocess.run(command, env=env, capture_output=True, text=True)
            assert "Traceback" not in done.stderr
            return done.returncode, done.stdout, " ".join(done.stderr.split())

        recording = str(next((world / "audio").rglob("*.wav")))
        code, said, words = run("export", str(world / "model"), "--format", "hub", "--to", "someone/voices")
        assert code == 0, words
        place = said.split()[-1]
        assert place.startswith("hf://someone/voices@")
        assert bool(running.xorbs) == (find_spec("hf_xet") is not None), "the weights come by Xet"
        assert run("predict", place, recording)[0] == 0
        table = read_table(world / "t.csv")
        write_table(table.assign(emotion=table["emotion"].where(table.index > 3, "")), tmp_path / "some.csv")
        code, said, words = run("suggest", place, str(tmp_path / "some.csv"), "--store", str(world / "store"))
        assert (code, said.count("S0") >= 4) == (0, True), words
        code, _, words = run("predict", "hf://someone/voices", recording)
        assert code == 0
        assert f"Pin it: {place}" in words
        code, _, words = run("predict", "hf://someone/else", recording)
        assert (code, "no model someone/else on the hub" in words) == (2, True)
        code, _, words = run("predict", "hf://someone/else", recording, HF_HUB_OFFLINE="1")
        assert (code, "can't be reached" in words) == (1, True)
        assert run("predict", place, recording, HF_HUB_OFFLINE="1")[0] == 0
        code, _, words = run("predict", "someone/voices", recording)
        assert (code, "holds no recogniser" in words) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--format", "hub"], "--to OWNER/NAME"),
        (["--format", "onnx", "--private"], "are for --format hub"),
        (["--format", "tensorboard", "--branch", "v1"], "are for --format hub"),
    ],
)
def test_options_of_another_format_are_refused(
    arguments: list[str], words: str, world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        cli.main(["export", str(world / "model"), *arguments])
    assert left.value.code == 2
    assert words in " ".join(capsys.readouterr().err.split())


def test_the_hub_s_client_reads_the_card(world: Path) -> None:
    card = huggingface_hub.ModelCard.load(world / "model" / "README.md")
    (first, *_) = card.data.eval_results
    report = load_recognizer(world / "model").fitted_.report
    assert first.metric_value == pytest.approx(report.modes["inductive"].uar.estimate, abs=1e-4)
    assert first.metric_args == {"average": "macro"}
