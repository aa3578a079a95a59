"""What people are told of a watch, in the transaction that keeps its verdict."""

from evaluators.watched import Answer, Kind, Watched, Word
from lastgood.notice import Level, Notice
from lastgood.store.connection import Row


def notice_of(row: Row, verdict: Watched, stage: str) -> Notice | None:
    """The notice of a verdict; None where a later one only repeats what was told.

    Somebody is called where nothing is proven after a revert, where the cause is elsewhere, and where a
    promotion looks worse; the rest is good to know.
    """
    if stage == "final" and row["fast"] is not None and f'"answer": "{verdict.answer}"' in row["fast"]:
        return None
    open_ = verdict.answer is Answer.INCONCLUSIVE
    worse = any(s.word is Word.STILL for s in verdict.signals)
    called = verdict.answer is Answer.ELSEWHERE or (open_ and (row["kind"] == Kind.REVERT or worse))
    what = "revert" if row["kind"] == Kind.REVERT else "promotion"
    lines = [verdict.reason, *(hint.text for hint in verdict.hints)]
    lines += [f"{name} can't be read: {why}" for name, why in verdict.absent]
    lines.append(f"lastgood watch {row['id']}")
    return Notice(
        row["agent"], row["environment"], "inconclusive" if open_ else "watched",
        f"{row['id']}:{stage}:{verdict.answer}",
        f"the watch after the {what} of b-{row['left_bundle'][:8]} says {verdict.answer}"
        if row["kind"] == Kind.REVERT
        else f"the watch after the {what} of b-{row['good_bundle'][:8]} says {verdict.answer}",
        "\n".join(lines), Level.PAGE if called else Level.INFORM,
    )  # fmt: skip


__all__ = ["notice_of"]
