"""Every registered corpus but the built-in one, through the protocol of `emoviews.corpora`."""

from pathlib import Path

import pytest

from emoviews.corpora import CORPORA, Corpus
from emoviews.errors import CorpusError, UsageError

NAMES = [name for name in CORPORA.names() if name != "synthetic"]


def test_all_corpora_are_registered() -> None:
    assert set(NAMES) >= {
        "audformat", "cremad", "emodb", "esd", "folder", "iemocap", "meld", "msp_podcast", "nemo", "ravdess", "table", "urdu",
    }  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
class TestCorpus:
    def test_describes_itself(self, name: str) -> None:
        corpus = CORPORA.load(name)
        assert isinstance(corpus, Corpus)
        assert corpus.name == name
        for text in (
            corpus.title,
            corpus.licence,
            corpus.citation,
            corpus.url,
            *corpus.presets,
            *corpus.presets.values(),
        ):
            assert isinstance(text, str)
            assert text.strip() == text != ""
        assert corpus.url.startswith(("http://", "https://"))

    def test_refuses_a_missing_root(self, name: str, tmp_path: Path) -> None:
        root = tmp_path / "nowhere"
        with pytest.raises(CorpusError) as error:
            CORPORA.load(name).parse(root)
        assert str(root) in str(error.value)
        assert "does not exist" in str(error.value)
        assert "looked for" in str(error.value)

    def test_refuses_an_empty_root(self, name: str, tmp_path: Path) -> None:
        with pytest.raises(CorpusError, match="looked for"):
            CORPORA.load(name).parse(tmp_path)

    def test_refuses_a_root_of_something_else(self, name: str, tmp_path: Path) -> None:
        (tmp_path / "photos").mkdir()
        (tmp_path / "photos" / "one.jpg").touch()
        (tmp_path / "._one.wav").touch()
        with pytest.raises(CorpusError, match="looked for"):
            CORPORA.load(name).parse(tmp_path)

    def test_refuses_an_unknown_preset(self, name: str, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match=f"The corpus '{name}' has no preset 'nothing-like-it'"):
            CORPORA.load(name).parse(tmp_path, "nothing-like-it")
