"""Retrieval: BM25 over a folder of documents, weighed as a bundle's memory part says.

    retrieval: {k1: 1.2, b: 0.75, idf: true, title: 2, stopwords: "the a", synonyms: {coupon: gift card}}

Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond" (2009), equation 3.15.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

DOCUMENTS = Path(__file__).parent / "docs"
_WORD = re.compile(r"[a-z0-9]+")
_ENDINGS = ("ing", "ies", "es", "ed", "s")


def stem(word: str) -> str:
    """A word without its commonest endings."""
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)]
    return word


def words(text: str) -> list[str]:
    """The stems of a text."""
    return [stem(word) for word in _WORD.findall(text.lower())]


@dataclass(frozen=True, slots=True)
class Document:
    """One document."""

    #: name of its file without the ending
    name: str
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Found:
    """A document that was found, and how well it fits."""

    document: Document
    #: BM25 score, > 0
    score: float
    #: 0..1: how much of its score the next document does not reach
    confidence: float


@lru_cache(maxsize=4)
def documents(folder: Path = DOCUMENTS) -> tuple[Document, ...]:
    """Every document of a folder, in order of file name."""
    found = []
    for path in sorted(folder.glob("*.md")):
        title, _, text = path.read_text(encoding="utf-8").strip().partition("\n\n")
        found.append(Document(path.stem, title.removeprefix("# "), " ".join(text.split())))
    return tuple(found)


class Index:
    """The documents, weighed by one configuration."""

    def __init__(self, config: Mapping[str, Any], folder: Path = DOCUMENTS) -> None:
        self._k1, self._b = float(config["k1"]), float(config["b"])
        self._stopwords = frozenset(words(config["stopwords"]))
        self._synonyms = {stem(word): words(meant) for word, meant in config["synonyms"].items()}
        self.documents = documents(folder)
        self._counts = [self._counted(each, int(config["title"])) for each in self.documents]
        sizes = [sum(counts.values()) for counts in self._counts]
        mean = sum(sizes) / len(sizes)
        self._norms = [1.0 - self._b + self._b * size / mean for size in sizes]
        self._idf = self._rarity() if config["idf"] else {}

    def _counted(self, document: Document, title: int) -> Counter[str]:
        return Counter(self._kept(words(document.text) + words(document.title) * title))

    def _kept(self, found: Iterable[str]) -> list[str]:
        return [word for word in found if word not in self._stopwords]

    def _rarity(self) -> dict[str, float]:
        n = len(self._counts)
        seen = Counter(word for counts in self._counts for word in counts)
        return {word: math.log(1.0 + (n - df + 0.5) / (df + 0.5)) for word, df in seen.items()}

    def find(self, question: str) -> list[Found]:
        """The documents that share a word with a question, the best first."""
        asked = self._kept(words(question))
        asked += [meant for word in asked for meant in self._synonyms.get(word, ())]
        scored = ((self._score(place, asked), place) for place in range(len(self.documents)))
        ranked = sorted((-score, place) for score, place in scored if score > 0)
        after = [score for score, _ in ranked[1:]] + [0.0]
        return [
            Found(self.documents[place], -score, 1.0 - following / score)
            for (score, place), following in zip(ranked, after, strict=False)
        ]

    def _score(self, place: int, asked: Iterable[str]) -> float:
        counts, norm = self._counts[place], self._norms[place]
        total = 0.0
        for word in set(asked):
            tf = counts.get(word, 0)
            rarity = self._idf.get(word, 0.0) if self._idf else 1.0
            total += rarity * tf * (self._k1 + 1.0) / (tf + self._k1 * norm)
        return total
