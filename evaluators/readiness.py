"""Readiness: the seven questions of a release, and the share that their answers allow."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Self


class Question(StrEnum):
    """What has to be known before a candidate serves anybody."""

    BUNDLE = "bundle"  #: which exact bundle served a run?
    BACK = "back"  #: can it be switched back in one step?
    ACTIONS = "actions"  #: are all external actions known, the new ones by name?
    THRESHOLDS = "thresholds"  #: is it written down what reverts by itself?
    OUTPUTS = "outputs"  #: can the outputs of a bad window be told from the others?
    UNDO = "undo"  #: is there a compensation for every kind of action?
    TESTS = "tests"  #: has every incident become a test?


#: the questions as people read them
ASKED = {
    Question.BUNDLE: "can the exact bundle of any run be found?",
    Question.BACK: "does one step switch back?",
    Question.ACTIONS: "are the external actions known?",
    Question.THRESHOLDS: "do written thresholds revert by themselves?",
    Question.OUTPUTS: "can the outputs of a bad window be isolated?",
    Question.UNDO: "is there a compensation for every kind of action?",
    Question.TESTS: "has every incident become a test?",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """One question, answered by a check."""

    question: Question
    yes: bool
    #: what the check found, one or two clauses
    evidence: str
    #: what makes it a yes; empty where it is
    way_out: str = ""


@dataclass(frozen=True, slots=True)
class Bounds:
    """The highest share by the number of yes answers, basis points; None: none. 0 refuses the release."""

    all_seven: int | None = None
    five_or_six: int | None = 2_500
    three_or_four: int | None = 1_000
    fewer: int | None = 500

    def of(self, yes: int) -> int | None:
        """The bound of so many yes answers."""
        for least, bound in ((7, self.all_seven), (5, self.five_or_six), (3, self.three_or_four)):
            if yes >= least:
                return bound
        return self.fewer


@dataclass(frozen=True, slots=True)
class Readiness:
    """The answers of one moment, and what they allow."""

    answers: tuple[Answer, ...]
    #: basis points that a canary may reach; None: no bound; 0: no release
    share_bp: int | None

    @property
    def yes(self) -> int:
        """How many questions are answered with yes."""
        return sum(answer.yes for answer in self.answers)

    @property
    def said(self) -> str:
        """One line for people."""
        allowed = "no bound on the share"
        if self.share_bp == 0:
            allowed = "no release"
        elif self.share_bp is not None:
            allowed = f"a share of {self.share_bp / 100:g}% at most"
        return f"{self.yes} of {len(self.answers)} answered with yes: {allowed}"

    def to_json(self) -> dict[str, Any]:
        """A plain dict."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`."""
        answers = (Answer(**{**raw, "question": Question(raw["question"])}) for raw in data["answers"])
        return cls(tuple(answers), data["share_bp"])


def judged(answers: Sequence[Answer], bounds: Bounds) -> Readiness:
    """The share that these answers allow; a question that nobody answered counts as no."""
    known = {answer.question: answer for answer in answers}
    whole = tuple(known.get(q, Answer(q, yes=False, evidence="it was not checked")) for q in Question)
    return Readiness(whole, bounds.of(sum(answer.yes for answer in whole)))


__all__ = ["ASKED", "Answer", "Bounds", "Question", "Readiness", "judged"]
