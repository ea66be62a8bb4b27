"""The ``ioa-marl`` command; each subcommand imports what it needs, so that help is fast."""

from __future__ import annotations

import functools
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, ParamSpec

import typer
from typer.core import TyperCommand

from ioa_marl.foundations import interrupts, output

P = ParamSpec("P")

app = typer.Typer(
    name="ioa-marl",
    help="Benchmark suite for multi-agent reinforcement learning in economic markets.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _one_line(command: Callable[P, None]) -> Callable[P, None]:
    """Return a command whose mistakes of the user and interruptions are printed in one line."""

    @functools.wraps(command)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> None:
        with interrupts.raised(kill_by_another=True):
            try:
                command(*args, **kwargs)
            except BaseException as error:
                line, status = _explained(error, command.__name__)
                if status is None:
                    raise
                typer.echo(f"ioa-marl: {line}", err=True)
                raise typer.Exit(status) from error

    return guarded


def _explained(error: BaseException, name: str) -> tuple[str, int | None]:
    """Return the message and the exit status for an error; the status is None for an error in the code."""
    from ioa_marl.foundations.errors import ParameterError, UserError, one_line
    from ioa_marl.foundations.files import check_working_folder

    number = interrupts.received()
    if number is None and isinstance(error, KeyboardInterrupt):  # from another process of this sweep
        number = getattr(error, "number", signal.SIGINT)
    if number is not None:
        goes_on = " to go on" if name == "train" else ""  # the others begin anew
        return f"{name} was interrupted; run it again{goes_on}", 128 + number
    if isinstance(error, FileNotFoundError):
        try:
            check_working_folder()
        except UserError as gone:
            return str(gone), 2
    return one_line(error), 2 if isinstance(error, (UserError, ParameterError)) else None


_TRAIN_HELP = """Train agents: ioa-marl train env=NAME agent=NAME [key=value ...] [-m] [--quiet]

Settings are Hydra overrides. With -m every combination of comma-separated values is run; what is in the run store
already is not run again, and a killed run goes on where it was.

\b
  env=double_dutch          market, or a preset of it: env=double_dutch/calm
  agent=ppo                 who plays it; `ioa-marl list` names all
  agent=NAME/PRESET         the same with other settings, as conf/agent/NAME/PRESET.yaml lists them
  roles.buyer.agent=sac     who plays another role as well
  roles.vsp.agents.0=shaded who plays agent 0 of a role
  env.data=FILE             agents, bids or providers of your own (docs/own_numbers.md)
  budget=100000             environment steps per seed
  seeds=5                   a count, or numbers: seeds=[3,7]; with -m seeds=[0,1],[2,3] is a job for each list
  num_envs=64               markets stepped side by side, per seed
  runs=runs                 folder of the run store
  evaluation.episodes=100   episodes of an evaluation on the way; the last one has 1000, or evaluation.final_episodes
  evaluation.points=20      evaluations during training
  env.KEY=... agent.KEY=... any setting of the market or the agent
  --cfg job                 print all settings and stop
  --config-dir DIR          settings of your own: agent=MINE is DIR/agent/MINE.yaml
  +experiment=NAME          DIR/experiment/NAME.yaml, any settings under "# @package _global_"; a sweep is kept in its
                            hydra.sweeper.params

\b
  -m 'agent=glob(*)'        every agent that can play; presets match NAME/*
  'runs=/data/a b'          quotes for the shell; a path may have any characters

\b
  hydra/launcher=joblib hydra.launcher.n_jobs=2     with -m: two jobs at a time
"""


@app.command(
    help=_TRAIN_HELP,
    context_settings={
        "allow_extra_args": True,
        "ignore_unknown_options": True,
        "help_option_names": ["--help", "-h"],
    },
)
@_one_line
def train(context: typer.Context) -> None:
    """Train agents."""
    from ioa_marl.training.compose import train as train_with

    status = train_with(context.args)
    if status:
        raise typer.Exit(status)


@app.command("list")
@_one_line
def list_names() -> None:
    """List environments and agents with their presets, where each comes from, and plug-ins that are broken."""
    from rich.console import Console
    from rich.table import Table

    from ioa_marl import registry
    from ioa_marl.training.groups import presets

    console = Console(markup=False, emoji=False, highlight=False)  # names from plug-ins are shown literally
    titles: dict[registry.Kind, str] = {"environment": "Environments", "agent": "Agents"}
    for kind, title in titles.items():
        table = Table(title=title, title_justify="left", box=None, pad_edge=False)
        for column in ("name", "from", "presets: NAME/PRESET"):
            table.add_column(column, overflow="fold")
        for entry in registry.listing(kind):
            table.add_row(
                entry.name, entry.source, f"BROKEN: {entry.error}" if entry.error else ", ".join(presets(entry))
            )
        console.print(table, "")


@app.command()
@_one_line
def evaluate(
    checkpoint: Annotated[Path, typer.Argument(help="Folder of a seed, or a checkpoint file.")],
    episodes: Annotated[int | None, typer.Option(help="Episodes; default: those of the run.")] = None,
) -> None:
    """Play a checkpoint on the evaluation episodes again, and say whether the run's row is confirmed."""
    from ioa_marl.training.check import evaluate_checkpoint, report

    score = evaluate_checkpoint(checkpoint, episodes)
    typer.echo(report(score))
    if score.confirmed is False:
        raise typer.Exit(1)


_AUDIT_HELP = """Find what agents gain by deviating, and what the mechanism guarantees.

\b
  ioa-marl audit runs/double_dutch-paper/ppo/*/seed_0      a seed, a checkpoint file, or a whole run
  ioa-marl audit env=double_dutch agent=two_phase          the stored run of these settings, or a scripted agent
  ioa-marl audit env=double_dutch agent=ppo budget=100000  settings as for train

What is found is written into each seed's folder, audit.json and audit.png, and `ioa-marl leaderboard` shows it beside
the scores. A search for deviations gives lower bounds, and every figure says whether it is one.
"""


@app.command(help=_AUDIT_HELP, context_settings={"allow_extra_args": True, "help_option_names": ["--help", "-h"]})
@_one_line
def audit(
    context: typer.Context,
    markets: Annotated[
        int | None, typer.Option(help="Evaluation markets; default: as many as each audit says.")
    ] = None,
    reports: Annotated[int, typer.Option(help="Reports that a bidder tries, where reports are searched.")] = 41,
    refine: Annotated[
        bool, typer.Option("--refine/--no-refine", help="Try reports next to others' and to the best one as well.")
    ] = True,
    best_response: Annotated[
        str | None, typer.Option(metavar="ROLE", help="Train a learner for this role against all others, frozen.")
    ] = None,
    learner: Annotated[str, typer.Option(help="The learner of --best-response.")] = "ppo",
    budget: Annotated[int, typer.Option(help="Environment steps of --best-response.")] = 100_000,
    picture: Annotated[Path | None, typer.Option(help="A .png file for the picture as well.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Find what agents gain by deviating."""
    from rich.console import Console

    from ioa_marl.evaluation.audits.subject import AuditSettings
    from ioa_marl.training.audit import BestResponse, audit_command

    console = Console(markup=False, emoji=False, highlight=False, soft_wrap=True)
    with output.without_messages(quiet):
        done = audit_command(
            context.args,
            AuditSettings(markets, reports, refine),
            picture,
            None if best_response is None else BestResponse(best_response, learner, budget),
            quiet=quiet,
            console=console,
        )
    if any(audited.confirmed is False for audited in done):
        raise typer.Exit(1)


_WATCH_HELP = """Write an evaluation episode as an animated GIF, and show it where there is a display.

\b
  ioa-marl watch runs/double_dutch-paper/ppo/*/seed_0
  ioa-marl watch --env double_dutch/mixed --agent two_phase --set agent.settings.coarse=5
  ioa-marl watch --env double_dutch --agent oracle --set roles.buyer.agent=random
"""


@app.command(help=_WATCH_HELP)
@_one_line
def watch(
    checkpoint: Annotated[Path | None, typer.Argument(help="Folder of a seed, or a checkpoint file.")] = None,
    env: Annotated[str | None, typer.Option(help="Without a checkpoint: market, or NAME/PRESET.")] = None,
    agent: Annotated[str | None, typer.Option(help="Without a checkpoint: an agent that needs no training.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="As for train: env.KEY=, agent.KEY=, roles.ROLE.agent=, seeds=[3]."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The GIF; default: a name that says who plays, in here.")] = None,
    episode: Annotated[int, typer.Option(help="Evaluation episode.")] = 0,
    every: Annotated[int | None, typer.Option(help="Draw every n-th step; default: as many as are watchable.")] = None,
    fps: Annotated[float, typer.Option(help="Frames per second, 1 to 50.")] = 6.0,
    window: Annotated[
        bool | None, typer.Option("--window/--no-window", help="Show it as well; default: where there is a display.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Write an evaluation episode as an animated GIF."""
    from ioa_marl.training.watch import watch_command

    with output.without_messages(quiet):
        summary = watch_command(
            checkpoint,
            env,
            agent,
            settings or [],
            out,
            episode=episode,
            every=every,
            fps=fps,
            window=window,
            quiet=quiet,
        )
    typer.echo(summary)


_VERIFY = "--verify"
_SAMPLE = "5"
_LEADERBOARD_HELP = """Compare all runs: a table here, and leaderboard.md, .csv and a TensorBoard folder.

Rows are compared with the checksums that were written with them. --verify plays a sample of seeds again, the same one
every time, spread over markets and runs: a seed that does not give the recorded numbers is shown as damaged, and the
exit status is 1.

\b
  ioa-marl leaderboard runs
  ioa-marl leaderboard runs --verify          # 5 seeds
  ioa-marl leaderboard runs --verify 20
  ioa-marl leaderboard runs --verify all
"""


class _VerifyCommand(TyperCommand):
    """A command with an option ``--verify`` whose value is optional."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Insert the default value where the option has none."""
        for place in (i for i, arg in enumerate(args) if arg == _VERIFY):
            after = args[place + 1 : place + 2]
            if not after or not (after[0].isdecimal() or after[0] == "all"):
                args = [*args[:place], f"{_VERIFY}={_SAMPLE}", *args[place + 1 :]]
        return super().parse_args(ctx, args)


@app.command(help=_LEADERBOARD_HELP, cls=_VerifyCommand)
@_one_line
def leaderboard(
    runs: Annotated[Path, typer.Argument(help="Folder of the run store.")] = Path("runs"),
    out: Annotated[Path | None, typer.Option(help="Where to write; default: RUNS/leaderboard.")] = None,
    verify: Annotated[
        str | None,
        typer.Option(_VERIFY, metavar="[N|all]", help=f"Play N seeds again before writing; default: {_SAMPLE}."),
    ] = None,
) -> None:
    """Compare all runs."""
    from ioa_marl.leaderboard.board import make_leaderboard
    from ioa_marl.leaderboard.verify import sample_size

    count = sample_size(verify)
    if make_leaderboard(runs, out if out is not None else runs / "leaderboard", count):
        raise typer.Exit(1)


_MECHANISMS_HELP = """Compare mechanisms on the same bids: means, and paired differences to the first one, the base.

The table has a row for each mechanism: welfare, efficiency, revenue, budget surplus, the regret of truthful bidders (a
lower bound: the largest gain by the reports that are tried), bidders who lose, and messages.

\b
  FAMILY           mechanisms, and the preset that the bids are drawn from
  double_auction   fixed_step traditional two_phase step_table learnt mcafee trade_reduction k_double sbba vcg;
                   presets of double_dutch
  single_item      second_price msb ratio_rule threshold first_price; presets of second_bid
  shares           vcg qvcg kelly kelly_equilibrium dual_currency; presets of vcg_slicing

\b
  ioa-marl mechanisms double_auction --preset paper --markets 200 --picture mechanisms.png
  ioa-marl mechanisms double_auction --checkpoint runs/double_dutch-paper/ppo/*/seed_0
  ioa-marl mechanisms double_auction --bids mine.csv --mechanism mcafee --mechanism vcg --out table.csv
  ioa-marl mechanisms single_item --rho 1.5

\b
  columns of --bids   double_auction: market,side,value (side: buyer or seller)
                      single_item:    market,station,value and, if there is a UAV, uav
                      shares:         market,provider,worth,bandwidth,computing,cache
"""


@app.command(help=_MECHANISMS_HELP)
@_one_line
def mechanisms(
    family: Annotated[str, typer.Argument(help="double_auction, single_item or shares.")],
    preset: Annotated[str | None, typer.Option(help="Preset of the market; default: paper.")] = None,
    markets: Annotated[int | None, typer.Option(help="Markets that are drawn; default: 200, of shares 10.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the draw and of lotteries; default: 0.")] = None,
    bids: Annotated[Path | None, typer.Option(help="Your own bids, CSV or Parquet, in place of drawn ones.")] = None,
    mechanism: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Compare only these, the first is the base; repeatable.")
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="double_auction: folder of a seed, or a checkpoint, of a trained auctioneer.")
    ] = None,
    psi: Annotated[
        float | None, typer.Option(help="double_auction: weight of the buyer clock in the double Dutch price.")
    ] = None,
    k: Annotated[float | None, typer.Option("--k", help="double_auction: weight k of k_double; default: 0.5.")] = None,
    rho: Annotated[float | None, typer.Option(help="single_item: ρ of msb; default: the best constant.")] = None,
    threshold: Annotated[
        float | None, typer.Option(help="single_item: threshold of the highest bid; default: the best one.")
    ] = None,
    quanta: Annotated[int | None, typer.Option(help="shares: units of each resource of qvcg; default: 20.")] = None,
    grid: Annotated[
        int | None, typer.Option(help="Evenly spaced reports that bidders try; default: 11, of single_item 31.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the table as CSV as well, at full precision.")] = None,
    picture: Annotated[Path | None, typer.Option(help="Write a picture as well, as PNG.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Compare mechanisms on the same bids."""
    from rich.console import Console

    from ioa_marl.training.mechanisms import mechanisms_command

    with output.without_messages(quiet):
        table = mechanisms_command(
            family,
            bids=bids,
            draw={"preset": preset, "markets": markets, "seed": seed, "grid": grid},
            mechanisms=mechanism or [],
            settings={
                "psi": psi, "k": k, "checkpoint": checkpoint, "rho": rho, "threshold": threshold, "quanta": quanta
            },
            out=out,
            picture_file=picture,
            quiet=quiet,
        )  # fmt: skip
    # Not `typer.echo`, which writes UTF-8 where the output lacks characters.
    Console(markup=False, emoji=False, highlight=False).print(table, soft_wrap=True)


def main() -> None:
    """Run the command."""
    output.prepare()
    undo = interrupts.install(kill_by_another=True)
    try:
        app()
        status: int | str | None = 0
    except SystemExit as end:
        status = end.code
    code = output.status(status if isinstance(status, int) else int(status is not None))
    number = interrupts.received()
    if number is not None:  # also if it came while arguments were parsed
        code = 128 + number
    undo()
    if number is not None:
        # Objects whose construction was interrupted may fail when they are deleted; the message is already printed.
        sys.unraisablehook = lambda unraisable: None
    sys.exit(code)
