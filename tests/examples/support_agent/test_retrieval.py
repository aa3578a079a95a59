"""Retrieval: BM25, weighed as a bundle says."""

import pytest

from examples.support_agent.retrieval import Index, stem
from examples.support_agent.shop import bundle
from examples.support_agent.tickets import cases

PLAIN = {"k1": 1.2, "b": 0.75, "idf": True, "title": 0, "stopwords": "the", "synonyms": {}}


@pytest.fixture
def folder(tmp_path):
    for name, text in {"a": "the cat and the dog", "b": "the dog", "c": "the bird sings"}.items():
        (tmp_path / f"{name}.md").write_text(f"# {name} title\n\n{text}\n")
    return tmp_path


def names(found):
    return [each.document.name for each in found]


def test_scores_are_those_of_bm25(folder):
    found = Index(PLAIN, folder).find("dog")
    # three documents of 3, 1 and 2 kept words; "dog" is in two of them: idf = ln(1 + 1.5/2.5)
    assert names(found) == ["b", "a"]
    assert found[0].score == pytest.approx(0.4700036 * 2.2 / (1 + 1.2 * (0.25 + 0.75 * 1 / 2)))
    assert found[1].score == pytest.approx(0.4700036 * 2.2 / (1 + 1.2 * (0.25 + 0.75 * 3 / 2)))


def test_confidence_is_the_lead_over_the_next(folder):
    first, second = Index(PLAIN, folder).find("dog")
    assert first.confidence == pytest.approx(1 - second.score / first.score)
    assert second.confidence == 1.0


def test_what_shares_no_word_is_not_found(folder):
    assert Index(PLAIN, folder).find("the zebra") == []


def test_synonyms_are_asked_for_too(folder):
    assert names(Index({**PLAIN, "synonyms": {"sparrow": "bird"}}, folder).find("sparrows")) == ["c"]


def test_titles_count_as_often_as_the_bundle_says(folder):
    assert names(Index(PLAIN, folder).find("title")) == []
    assert len(Index({**PLAIN, "title": 2}, folder).find("title")) == 3


@pytest.mark.parametrize(("word", "stemmed"), [("orders", "order"), ("shipping", "shipp"), ("gas", "gas")])
def test_stems(word, stemmed):
    assert stem(word) == stemmed


@pytest.mark.parametrize(
    ("name", "least", "most"), [("good", 0.75, 0.9), ("better", 0.95, 1.0), ("confidently_wrong", 0.0, 0.1)]
)
def test_how_often_the_shipped_bundles_are_confident_and_right(name, least, most):
    found = bundle(name)
    index, sure = Index(found.memory.data["retrieval"]), found.policy.data["confident_from"]
    asked = [each for each in cases(1, 1_500) if each.ticket.task_type == "faq"]
    first = [(index.find(each.ticket.text) or [None])[0] for each in asked]
    right = [
        hit is not None and hit.confidence >= sure and each.truth.fact in hit.document.text
        for each, hit in zip(asked, first, strict=True)
    ]
    assert least <= sum(right) / len(right) <= most


def test_the_confidently_wrong_bundle_is_as_sure_as_the_good_one():
    asked = [each.ticket.text for each in cases(1, 1_500) if each.ticket.task_type == "faq"]
    sure = {}
    for name in ("good", "confidently_wrong"):
        found = bundle(name)
        hits = [Index(found.memory.data["retrieval"]).find(text) for text in asked[:200]]
        sure[name] = (
            sum(bool(h) and h[0].confidence >= found.policy.data["confident_from"] for h in hits) / 200
        )
    assert sure["confidently_wrong"] >= sure["good"] - 0.1
