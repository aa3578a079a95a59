"""The report of a watch: its answer, every signal with its n in each part, and what points elsewhere."""

from dataclasses import dataclass
from pathlib import Path

from evaluators.watched import Answer, Group, Kind, SignalVerdict, Watched
from lastgood.shown import short, when
from lastgood.store.connection import Row
from tasks.report import escaped
from tasks.watching import Glance

_STAGES = {
    "early": "the window goes on: a first glance, no verdict yet",
    "fast": "the fast verdict: metrics that mature later may still change it",
    "final": "the final verdict",
}


@dataclass(frozen=True, slots=True)
class WatchReport:
    """A watch's report."""

    #: lower-case key that stays the same while the watch lives
    key: str
    headline: str
    markdown: str


def build(found: Glance, image: str = "") -> WatchReport:
    """Write a look out; `image` is the picture's target, a file's name or a data URI."""
    row, verdict = found.row, found.verdict
    headline = f"{verdict.answer.upper()}: {verdict.reason}"
    sections = [
        f"# {_title(row)}",
        f"**{escaped(headline)}**",
        _window(found),
        _table(verdict, Kind(row["kind"])),
        _listed("## What points elsewhere", [hint.text for hint in verdict.hints]),
        _listed("## What could not be read", [f"{name}: {why}" for name, why in verdict.absent]),
        f"![before, during and after]({image})" if image else "",
        _next(row, verdict),
    ]
    key = f"watch-{row['id'].replace('_', '-').lower()}"
    return WatchReport(key, headline, "\n\n".join(part for part in sections if part) + "\n")


def drawn(found: Glance) -> bytes:
    """The picture as a PNG."""
    from evaluators import watch_charts  # matplotlib takes half a second to load
    from tasks.png import png

    return png(watch_charts.picture(found.seen, found.verdict))


def illustrated(found: Glance) -> WatchReport:
    """The report with its picture inside, as a data URI: what Prefect's artifacts show."""
    from tasks.png import data_uri

    return build(found, data_uri(drawn(found)))


def write(found: Glance, path: Path) -> WatchReport:
    """Write the report to a file and its picture beside it."""
    image = path.with_name(f"{path.stem}-watch.png")
    image.write_bytes(drawn(found))
    made = build(found, image.name)
    path.write_text(made.markdown, encoding="utf-8")
    return made


def _title(row: Row) -> str:
    left, good = short(row["left_bundle"]), short(row["good_bundle"])
    moved = (
        f"{left} was left for {good}" if row["kind"] == Kind.REVERT else f"{good} was promoted over {left}"
    )
    return f"{row['agent']} in {row['environment']}: {moved}"


def _window(found: Glance) -> str:
    row = found.row
    return (
        f"Watch {row['id']}, {_STAGES[found.stage]}. Window {when(row['from_us'])} to {when(row['at_us'])}, "
        f"read up to {when(found.seen.until_us)}."
    )


def _table(verdict: Watched, kind: Kind) -> str:
    groups = [g for g in Group if kind is Kind.REVERT or g is not Group.BAD]
    heads = {
        Group.BEFORE: "before", Group.BAD: "bundle that was left", Group.AFTER: "since the switch",
        Group.BESIDE: "good bundle beside it" if kind is Kind.REVERT else "as the candidate",
    }  # fmt: skip
    lines = [
        f"| signal | says | {' | '.join(heads[g] for g in groups)} | ln e worse | ln e back |",
        f"|---|---|{'---|' * len(groups)}---|---|",
    ]
    for signal in verdict.signals:
        cells = [signal.name, str(signal.word), *(_level(signal, g) for g in groups)]
        cells += [f"{signal.log_still:.1f}", f"{signal.log_back:.1f}"]
        lines.append(f"| {' | '.join(escaped(text) for text in cells)} |")
    lines += ["", *(f"- {signal.name}: {escaped(signal.reason)}" for signal in verdict.signals)]
    return "\n".join(lines)


def _level(signal: SignalVerdict, group: Group) -> str:
    n, level = signal.n.get(group, 0), signal.level.get(group)
    if level is None:
        return f"- (n {n})"
    shown = f"${level:.3g}" if signal.unit.startswith("USD") else f"{level:.1%}"
    return f"{shown} (n {n})"


def _listed(head: str, lines: list[str]) -> str:
    return "\n".join([head, "", *(f"- {escaped(line)}" for line in lines)]) if lines else ""


def _next(row: Row, verdict: Watched) -> str:
    if verdict.answer is Answer.FIXED:
        return "Next: nothing; the good bundle serves."
    if verdict.answer is Answer.ELSEWHERE:
        return (
            "Next: look at what points elsewhere; another bundle will not help. `lastgood stop "
            f"{row['agent']}` denies external actions meanwhile."
        )
    return (
        "Next: a person looks at the signals above; more runs may decide it (`lastgood watch` looks again)."
    )


__all__ = ["WatchReport", "build", "drawn", "illustrated", "write"]
