"""docs/soak.md, from what a soak found."""

import time
from importlib.metadata import version

from tests.faults.run import SAID, machine
from tests.soak.archive import HISTORY_RUNS
from tests.soak.findings import Findings
from tests.soak.stack import AGENTS, OVER_HTTP, PACE

_PAGE = """# Soak: a week in an hour

Made by `make soak`{minutes} on {date}: {machine},
load {before:.1f} at the start and {mean:.1f} in the mean{others}. Prefect {prefect} and the store on one
Postgres (fsync off, autovacuum on), two `prefect worker` processes that clone the branch for each flow run,
`lastgood serve`, eight agent processes with {pace:g} runs a second each ({stored} on the store, {http} over
`LASTGOOD_URL`), each serving two of {agents} agents. {hours:.2f} hours in all; {cores:.2f} cores in the mean.

No clock can be virtual where Prefect, Postgres, HTTP and the kernel each have their own, so every limit that
is counted in days is divided instead: the {length:g} minutes stand for a week, run records are kept for a day
of it ({day:.1f} minutes), evidence and ledger for two, Prefect's runs and events for one, and of a bundle in
service {history} runs instead of 20,000. Policies look every 4 s under a lease of 20 s.

## What must be zero

| checked | found |
|---|---|
{checks}
A run is right when the bundle, arm, epoch, share and lease that it was served by are those of the ledger's
last row before it: both carry the database's time from inside a transaction that holds the control point's
lock, so this is exact. A decision without the store has to be a baseline that the process could know. All
runs, outcomes and ledger rows were copied before retention deleted them. A crash of the database itself may
lose what was acknowledged in the second before it, as telemetry commits with `synchronous_commit=off`;
nothing else is excused.

## What happened

| what | figure |
|---|---|
{facts}
| fault | times |
|---|---|
{faults}
## What is held

A line fitted to the last two thirds of the longest life of each process (the median of all slopes), beside
what it may gain in an hour.

| of | what | first | last | an hour | at most | holds |
|---|---|---|---|---|---|---|
{trends}
## What grows, and what bounds it

Peaks of the middle and of the last third: what is pruned goes up and down, what is not goes on.

| what | middle third | last third | bounded |
|---|---|---|---|
{growth}
These keep a row for good, of each bundle, release, incident or control point:

| table | first | last |
|---|---|---|
{kept}"""


def _row(*cells: object) -> str:
    return f"| {' | '.join(str(cell).replace('|', '/') for cell in cells)} |\n"


def _rows(rows: list[tuple[object, ...]]) -> str:
    return "".join(_row(*each) for each in rows)


def _said(holds: bool | None) -> str:
    return "too short to say" if holds is None else SAID[holds]


def made(found: Findings, minutes: float, others: str = "") -> str:
    """The page."""
    total = sum(found.cpu.values())
    facts = [*found.facts.items()]
    cpu = ", ".join(f"{name} {seconds:.0f}" for name, seconds in sorted(found.cpu.items()))
    trends = [
        (
            *(each.series.name, each.series.unit, f"{each.first:.1f}", f"{each.last:.1f}"),
            *("" if each.slope is None else f"{each.slope:+.1f}", f"{each.bound:g}", _said(each.holds)),
        )
        for each in found.trends
    ]
    growth = [
        (
            f"{each.series.name} ({each.series.unit})",
            *(f"{each.middle:.0f}", f"{each.last:.0f}", _said(each.holds)),
        )
        for each in found.growth
    ]
    return _PAGE.format(
        minutes="" if minutes == 60 else f" MINUTES={minutes:g}",
        date=time.strftime("%Y-%m-%d", time.gmtime()),
        machine=machine(),
        before=found.load[0],
        mean=found.load[1],
        others=others,
        prefect=version("prefect"),
        pace=PACE,
        stored=len(AGENTS) - len(OVER_HTTP),
        http=len(OVER_HTTP),
        agents=len(AGENTS),
        hours=found.hours,
        cores=total / 3600 / found.hours,
        length=minutes,
        day=minutes / 7,
        history=HISTORY_RUNS,
        checks=_rows([(name, f"**{n}**" if n else 0) for name, n in found.checks.items()]),
        facts=_rows([*facts, ("CPU seconds", cpu)]),
        faults=_rows(sorted(found.faults.items())),
        trends=_rows(trends),
        growth=_rows(growth),
        kept=_rows([(name, f"{a:.0f}", f"{b:.0f}") for name, a, b in found.kept]),
    )
