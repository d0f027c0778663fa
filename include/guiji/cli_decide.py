"""``./guiji hold`` and ``./guiji link``: what a person decides, and why; it is kept in the audit trail."""

from __future__ import annotations

from typing import Annotated

import typer

from guiji.settings import Settings

hold_app = typer.Typer(help="Batches that a guard holds.", no_args_is_help=True)
link_app = typer.Typer(help="Rows without a key that may be one of a library's.", no_args_is_help=True)

WhyOption = Annotated[str, typer.Option("--why", help="the reason, kept in the audit trail")]


# --- held batches ------------------------------------------------------------------------------------


@hold_app.command("list")
def hold_list() -> None:
    """Batches that wait for a decision."""
    from guiji.library.hold import list_held
    from guiji.render import render_held
    from guiji.warehouse import connect

    with connect(Settings.from_env()) as conn:
        print(render_held(list_held(conn)))


@hold_app.command("show")
def hold_show(batch: Annotated[str, typer.Argument(metavar="BATCH")]) -> None:
    """Why a batch is held."""
    from guiji.library.hold import show_held
    from guiji.render import render_held_batch
    from guiji.warehouse import connect

    with connect(Settings.from_env()) as conn:
        print(render_held_batch(show_held(conn, batch)))


@hold_app.command("approve")
def hold_approve(batch: Annotated[str, typer.Argument(metavar="BATCH")], why: WhyOption) -> None:
    """Publish a held batch after all."""
    _decide(batch, why, approve=True)


@hold_app.command("reject")
def hold_reject(batch: Annotated[str, typer.Argument(metavar="BATCH")], why: WhyOption) -> None:
    """Refuse a held batch; the former data go on serving."""
    _decide(batch, why, approve=False)


def _decide(batch: str, why: str, *, approve: bool) -> None:
    import getpass

    from guiji.pipeline import decide_held
    from guiji.render import render_batch

    print(render_batch(decide_held(Settings.from_env(), batch, approve=approve, who=getpass.getuser(), why=why)))


# --- probable matches --------------------------------------------------------------------------------


@link_app.command("list")
def link_list(
    status: Annotated[str, typer.Option(help="proposed, confirmed, rejected or withdrawn")] = "proposed",
) -> None:
    """Probable matches that wait for a decision, masked."""
    from guiji.catalog import load_libraries
    from guiji.library.proposals import list_proposals, render_proposals
    from guiji.warehouse import connect

    settings = Settings.from_env()
    with connect(settings) as conn:
        print(render_proposals(list_proposals(conn, load_libraries(settings.catalog), status=status)))


@link_app.command("approve")
def link_approve(proposal: Annotated[int, typer.Argument(metavar="PROPOSAL")], why: WhyOption) -> None:
    """Confirm a probable match: the row then belongs to that key."""
    _decide_link(proposal, why, approve=True)


@link_app.command("reject")
def link_reject(proposal: Annotated[int, typer.Argument(metavar="PROPOSAL")], why: WhyOption) -> None:
    """Reject a probable match, also one that was confirmed; it is not proposed again for the same values."""
    _decide_link(proposal, why, approve=False)


def _decide_link(proposal: int, why: str, *, approve: bool) -> None:
    import getpass

    from guiji.library.proposals import decide_proposal
    from guiji.warehouse import connect

    settings = Settings.from_env()
    with connect(settings) as conn:
        print(decide_proposal(conn, settings, proposal, approve=approve, who=getpass.getuser(), why=why))
