"""`lastgood adopt | rollback | kill | clear | stop | promote | readmit | rotate-key`: one move each."""

import click

from lastgood import control, identity, registry, vouching
from lastgood.cli.common import actor_option, environment_option, reason_option, short, store
from lastgood.moves import ControlPoint
from lastgood.shown import percent
from lastgood.store.connection import Store
from lastgood.vouching import Vouched


def _resolve(held: Store, reference: str) -> str:
    with held.reading() as txn:
        return registry.resolve(txn, reference)


def _say(point: ControlPoint, done: str) -> None:
    state = ", kill switch on" if point.killed else ""
    served = f"baseline {short(point.baseline)} ({point.standing})"
    serving = point.share_bp and not point.killed
    candidate = f", {percent(point.share_bp)} to {short(point.candidate)}" if serving else ""
    click.echo(f"{done}: {point.name} serves {served}{candidate}, epoch {point.epoch}{state}")


@click.command()
@click.argument("agent")
@click.argument("bundle")
@environment_option
@actor_option
@reason_option
def adopt(agent: str, bundle: str, environment: str, actor: str, reason: str) -> None:
    """Make a registered BUNDLE the first baseline of AGENT: you vouch for it."""
    held = store()
    point = control.adopt(held, agent, environment, _resolve(held, bundle), actor=actor, reason=reason)
    _say(point, "adopted")


@click.command()
@click.argument("agent")
@click.option(
    "--to", default=None, metavar="BUNDLE", help="Go to this bundle instead of the newest other good one."
)
@click.option("--vouch", is_flag=True, help="You answer for a --to bundle that never served here as good.")
@environment_option
@actor_option
@reason_option
def rollback(agent: str, to: str | None, environment: str, actor: str, reason: str, *, vouch: bool) -> None:
    """Put the last known good of AGENT back, in one action.

    A live release is reverted; without one the newest other last known good bundle serves again. Needs
    nothing but the store.
    """
    if vouch and not (to and reason):
        msg = "--vouch goes with --to BUNDLE and --reason: you answer for a bundle that never served here"
        raise click.UsageError(msg)
    held = store()
    target = _resolve(held, to) if to else None
    point = control.rollback(
        held,
        agent,
        environment,
        actor=actor,
        reason=reason or "rolled back by hand",
        to=target,
        vouched=vouch,
    )
    _say(point, "rolled back")


@click.command()
@click.argument("agent")
@environment_option
@actor_option
@reason_option
def kill(agent: str, environment: str, actor: str, reason: str) -> None:
    """Stop every new candidate run of AGENT at once; the release stays and gets no evidence."""
    _say(control.kill(store(), agent, environment, actor=actor, reason=reason), "killed")


@click.command()
@click.argument("agent")
@environment_option
@actor_option
@reason_option
def clear(agent: str, environment: str, actor: str, reason: str) -> None:
    """Turn the kill switch of AGENT off."""
    _say(control.clear(store(), agent, environment, actor=actor, reason=reason), "cleared")


@click.command()
@click.argument("agent")
@click.option("--clear", "allow", is_flag=True, help="Allow external actions again.")
@environment_option
@actor_option
@reason_option
def stop(agent: str, environment: str, actor: str, reason: str, *, allow: bool) -> None:
    """Deny every external action of AGENT, in both arms, at once.

    Runs go on and are routed as before; `lastgood stop AGENT --clear` allows their actions again.
    """
    move = control.unstop if allow else control.stop
    changed = move(store(), agent, environment, actor=actor, reason=reason or "by hand")
    state = "allowed" if allow else "denied"
    click.echo(f"external actions of {agent} in {environment} are {state}{'' if changed else ' already'}")


@click.command("rotate-key")
def rotate_key() -> None:
    """Sign run tokens with a new key; tokens that are out there still count until they expire."""
    held = store()
    key_id = identity.rotate(held)
    click.echo(f"run tokens are signed with the key {key_id} from now on ({identity.key_file(held)})")


@click.command()
@click.argument("agent")
@click.option(
    "--vouch", is_flag=True, help="You answer for it: it will be shown as vouched, never as proven."
)
@click.option("--code", default="", help="Your one-time code, where the policy wants one.")
@environment_option
@actor_option
@reason_option
def promote(agent: str, environment: str, actor: str, reason: str, code: str, *, vouch: bool) -> None:
    """Promote the live candidate of AGENT by hand.

    Evidence promotes by itself. A person promotes with --vouch and a reason.
    """
    if not vouch or not reason:
        msg = (
            "evidence promotes by itself; to promote by hand give --vouch and --reason: "
            "it will stand as vouched"
        )
        raise click.UsageError(msg)
    vouched = Vouched(actor, reason, code=code)
    _say(vouching.promote(store(), agent, environment, vouched), "promoted")


@click.command()
@click.argument("agent")
@click.argument("bundle")
@environment_option
@actor_option
@reason_option
def readmit(agent: str, bundle: str, environment: str, actor: str, reason: str) -> None:
    """Lift the quarantine or cool-down of BUNDLE for AGENT; --reason says what was reviewed."""
    if not reason:
        msg = "a re-admission is recorded: say with --reason what was reviewed"
        raise click.UsageError(msg)
    held = store()
    bundle_id = _resolve(held, bundle)
    control.readmit(held, agent, environment, bundle_id, actor=actor, reason=reason)
    click.echo(f"re-admitted: {short(bundle_id)} may be a candidate of {agent} in {environment} again")
