"""``ioa-marl watch`` shows exactly the episode that is evaluated, and writes a complete GIF or nothing."""

import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from ioa_marl import registry
from ioa_marl.cli import app
from ioa_marl.envs.double_dutch.game import DoubleDutchGame
from ioa_marl.evaluation.playing import play_episodes
from ioa_marl.training import watch as module
from ioa_marl.training.gif import COLOURS, Gif, evenly
from ioa_marl.training.store import SeedFolder
from ioa_marl.training.watch import from_checkpoint, from_settings, watch

PLUGIN = Path(__file__).parents[1] / "plugin" / "example_plugin"
MARKETS = [name for name in registry.env_names() if registry.entry("environment", name).source == "ioa_marl"]
MIXED = ("--env", "double_dutch/mixed", "--agent", "fixed_step", "--set", "agent.settings.step=3")


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "MPLBACKEND"):
        monkeypatch.delenv(name, raising=False)


def ioa_marl(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def frames_of(path):
    """Return the pictures and how long each is shown [ms]."""
    pictures, durations = [], []
    with Image.open(path) as gif:
        for i in range(gif.n_frames):
            gif.seek(i)
            pictures.append(np.asarray(gif.convert("RGB")))
            durations.append(gif.info["duration"])
    return pictures, durations


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A trained learner with random buyers."""
    runs = tmp_path_factory.mktemp("store")
    done = ioa_marl(
        "train", "env=double_dutch/mixed", "agent=sac", "roles.buyer.agent=random", "seeds=[3]", "budget=1024",
        "evaluation.episodes=4", "evaluation.points=1", f"runs={runs}", "--quiet",
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    return runs


@pytest.fixture
def seed_folder(store):
    (folder,) = store.rglob("seed_3")
    return folder


@pytest.fixture
def posted_price(monkeypatch):
    """A market of another package with small frames."""
    monkeypatch.syspath_prepend(PLUGIN)
    entry = registry.Entry("environment", "posted_price", "example_plugin.market:PostedPriceGame", "example_plugin 1.2")
    registry.env_names()  # so that it is not looked for later
    monkeypatch.setitem(registry._entries["environment"], "posted_price", entry)
    yield
    for name in [name for name in sys.modules if name.startswith("example_plugin")]:
        del sys.modules[name]


def test_gif_begins_with_the_opening_and_holds_the_final_state():
    done = ioa_marl("watch", *MIXED, "--episode", 2, "--every", 5, "--fps", 10)
    assert done.exit_code == 0, done.stderr
    (path,) = Path().glob("*.gif")
    assert path.name == "double_dutch-mixed-fixed_step-episode_2.gif"
    pictures, durations = frames_of(path)
    steps = int(re.search(r"episode 2, (\d+) steps", done.stdout)[1])
    assert len(pictures) == 1 + steps // 5 + (steps % 5 > 0)
    assert f"{len(pictures)} frames (one step in 5)" in done.stdout
    assert {picture.shape for picture in pictures} == {(720, 1080, 3)}
    assert durations == [100] * (len(pictures) - 1) + [3000]
    assert path.stat().st_size < 30_000 * len(pictures)
    # Colours that are drawn on purpose are exact: the paper is white.
    assert (pictures[0][0, 0] == 255).all()
    assert not np.array_equal(pictures[-1], pictures[-2])


def test_frames_are_what_the_market_draws(monkeypatch):
    drawn = []
    render = DoubleDutchGame.render

    def kept(game, mode, index=0):
        drawn.append(render(game, mode, index))
        return drawn[-1]

    monkeypatch.setattr(DoubleDutchGame, "render", kept)
    seen = watch(from_settings("double_dutch/mixed", "two_phase"), Path("a.gif"), every=30)
    pictures, _ = frames_of(seen.path)
    assert len(pictures) == len(drawn) == seen.frames
    for picture, frame in zip(pictures, drawn, strict=True):
        # Smoothed edges may be a little off, areas not.
        off = np.abs(picture.astype(int) - frame).max(axis=2)
        assert off.max() < 48
        assert (off == 0).mean() > 0.97


def test_the_same_command_writes_the_same_bytes():
    for name in ("a.gif", "b.gif"):
        assert ioa_marl("watch", *MIXED, "--every", 25, "--out", name).exit_code == 0
    assert Path("a.gif").read_bytes() == Path("b.gif").read_bytes()
    assert ioa_marl("watch", *MIXED, "--every", 25, "--episode", 1, "--out", "c.gif").exit_code == 0
    assert Path("a.gif").read_bytes() != Path("c.gif").read_bytes()


@pytest.mark.parametrize("episode", [0, 3])
def test_figures_of_a_checkpoint_are_those_of_its_evaluation(seed_folder, episode):
    (table,) = SeedFolder(seed_folder).episodes().values()
    row = table.slice(episode, 1).to_pylist()[0]
    seen = watch(from_checkpoint(seed_folder), Path("seen.gif"), episode=episode, every=1000)
    assert row["episode"] == episode
    assert seen.metrics == {name: row[name] for name in seen.metrics}
    assert {"welfare", "reward_auctioneer", "reward_buyer"} <= seen.metrics.keys()
    assert seen.steps == row["length"]
    assert seen.frames == 2


def test_best_checkpoint_plays_the_episodes_on_which_it_was_not_chosen(tmp_path):
    done = ioa_marl(
        "train", "env=double_dutch/mixed", "agent=two_phase", "seeds=[3]", "budget=640", "evaluation.episodes=4",
        f"runs={tmp_path}", "--quiet",
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    (best,) = tmp_path.rglob("best.safetensors")
    players = from_checkpoint(best)
    seen = watch(players, Path("best.gif"), episode=1, every=1000)
    played = play_episodes(DoubleDutchGame, players.spec.env_config, players.agents, ("auctioneer",), 1, 1, 5)
    assert seen.metrics == {name: float(values[0, 0]) for name, values in played.items()}


def test_roles_can_be_given_to_different_policies():
    honest = watch(from_settings("double_dutch/mixed", "two_phase"), Path("a.gif"), every=1000)
    settings = ["roles.buyer.agent=random", "roles.seller.agent=scripted", "roles.seller.agent.policy=truthful"]
    seen = watch(from_settings("double_dutch/mixed", "two_phase", settings), Path("b.gif"), every=1000)
    assert "reward_buyer" in seen.metrics
    assert "reward_buyer" not in honest.metrics
    assert seen.metrics["welfare"] < honest.metrics["welfare"]


@pytest.mark.parametrize("market", MARKETS)
def test_every_market_of_the_suite_can_be_watched(market):
    # Seed 3: where there are instances, its own one. The replay refuses to show another episode than was evaluated.
    seen = watch(from_settings(market, "random", ["seeds=[3]"]), Path("seen.gif"), episode=2, every=10_000)
    game_class = registry.load_env(market)
    assert set(game_class.metric_names) <= seen.metrics.keys()
    pictures, _ = frames_of(seen.path)
    assert len(pictures) == seen.frames == 2
    assert pictures[0].shape == (720, 1080, 3)


def test_market_of_a_plugin_can_be_watched(posted_price):
    from_plenty = from_settings("posted_price/plenty", "random")
    seen = watch(from_plenty, Path("plugin.gif"), episode=7)
    pictures, durations = frames_of(seen.path)
    assert seen.steps == 8
    assert {picture.shape for picture in pictures} == {(110, 80, 3)}
    assert len(pictures) == seen.frames == 9
    assert seen.metrics["revenue"] == pytest.approx(seen.metrics["reward_seller"], rel=1e-6)
    assert durations[-1] == 3000


def test_long_episodes_are_thinned(posted_price):
    seen = watch(from_settings("posted_price", "random", ["env.customers=250", "env.stock=1000"]), Path("long.gif"))
    assert (seen.steps, seen.every, seen.frames) == (250, 3, 1 + 83 + 1)
    assert sum(frames_of(seen.path)[1]) == 84 * 170 + 3000


def test_too_many_frames_are_refused(posted_price, monkeypatch):
    monkeypatch.setattr(module, "MAX_FRAMES", 4)
    done = ioa_marl("watch", "--env", "posted_price/plenty", "--agent", "random", "--every", 1)
    assert done.exit_code == 2
    assert done.stderr == "ioa-marl: every=1 is not allowed: the episode has 8 steps; use 2 or more\n"


def test_a_market_that_depends_on_its_batch_is_noticed(posted_price):
    players = from_settings("posted_price", "random")
    game_class = players.spec.game_class
    reset = game_class.reset
    try:
        game_class.reset = lambda game, seeds, streams=None: reset(game, seeds, np.arange(len(seeds)))
        with pytest.raises(RuntimeError, match="posted_price plays episode 6 differently alone than in a batch"):
            watch(players, Path("seen.gif"), episode=6)
    finally:
        game_class.reset = reset
    assert not list(Path().iterdir())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], ["either a seed's folder", "--env"]),
        (["nowhere"], ["there is no checkpoint nowhere"]),
        (["note.txt"], ["note.txt cannot be read"]),
        (["."], ["there is no checkpoint", "latest.safetensors"]),
        ([".", "--env", "double_dutch"], ["either a seed's folder"]),
        ([".", "--agent", "oracle"], ["--agent and --set are for --env"]),
        (["--env", "double_duch", "--agent", "oracle"], ["double_duch", "double_dutch"]),
        (["--env", "double_dutch/clam", "--agent", "oracle"], ["clam", "double_dutch/calm"]),
        (["--env", "double_dutch", "--agent", "orakel"], ["orakel", "oracle"]),
        (["--env", "double_dutch"], ["agent is not set"]),
        (["--env", "double_dutch", "--agent", "ppo"], ["ppo has to be trained", "ioa-marl train env=double_dutch"]),
        (["--env", "double_dutch", "--agent", "oracle", "--set", "roles.buyer.agent=sac"], ["sac has to be trained"]),
        ([*MIXED, "--set", "env.byers=3"], ["env.byers", "buyers"]),
        ([*MIXED, "--set", "env.buyers=0"], ["env.buyers=0", "1 to 100000"]),
        ([*MIXED, "--set", "env.buyers=4,5"], ["env.buyers=4,5", "one value"]),
        ([*MIXED, "--set", "budget=3"], ["budget=3", "env.KEY="]),
        ([*MIXED, "--set", "buyers"], ["buyers"]),
        ([*MIXED, "--set", "seeds=[3,4]"], ["seeds=[3, 4]", "use one"]),
        ([*MIXED, "--episode", "1000"], ["episode=1000", "0 to 999"]),
        ([*MIXED, "--episode", "-1"], ["episode=-1", "0 to 999"]),
        ([*MIXED, "--every", "0"], ["every=0", "1 or more"]),
        ([*MIXED, "--fps", "0"], ["fps=0", "1 to 50"]),
        ([*MIXED, "--fps", "nan"], ["fps=nan", "1 to 50"]),
        ([*MIXED, "--out", "film.mp4"], ["film.mp4", ".gif"]),
        ([*MIXED, "--out", "note.txt/film.gif"], ["cannot write note.txt/film.gif"]),
        ([*MIXED, "--out", "folder.gif"], ["cannot write folder.gif", "a folder"]),
        ([*MIXED, "--window"], ["no window can be opened", "display"]),
    ],
    ids=lambda value: " ".join(map(str, value)),
)
def test_mistakes_are_told_in_one_line_and_nothing_is_written(arguments, said):
    Path("note.txt").write_text("a note")
    Path("folder.gif").mkdir()
    done = ioa_marl("watch", *arguments)
    assert done.exit_code == 2
    (line,) = done.stderr.splitlines()
    assert all(part in line for part in said), line
    assert done.stdout == ""
    assert sorted(path.name for path in Path().rglob("*")) == ["folder.gif", "note.txt"]


def test_a_checkpoint_of_another_version_is_refused(seed_folder, monkeypatch):
    monkeypatch.setattr(DoubleDutchGame, "version", DoubleDutchGame.version + 1)
    done = ioa_marl("watch", seed_folder)
    assert done.exit_code == 2
    assert "other versions" in done.stderr
    assert not list(Path().iterdir())


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser can write everywhere")
def test_a_folder_that_cannot_be_written_to_is_refused(tmp_path):
    Path("closed").mkdir(mode=0o500)
    done = ioa_marl("watch", *MIXED, "--out", "closed/film.gif")
    assert done.exit_code == 2
    assert "cannot write closed/film.gif" in done.stderr


def test_the_old_animation_stays_when_the_new_one_fails(posted_price, monkeypatch):
    Path("film.gif").write_bytes(b"old")

    def broken(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", broken)
    done = ioa_marl("watch", "--env", "posted_price", "--agent", "random", "--out", "film.gif")
    assert done.exit_code == 2
    assert "No space left on device" in done.stderr
    assert [path.name for path in Path().iterdir()] == ["film.gif"]
    assert Path("film.gif").read_bytes() == b"old"


def test_a_window_shows_every_frame_at_its_pace(posted_price, monkeypatch):
    from ioa_marl.envs import rendering

    shown, slept = [], []
    show = rendering.Window.show
    monkeypatch.setattr(rendering.Window, "show", lambda window, frame: (shown.append(frame), show(window, frame)))
    monkeypatch.setattr("time.sleep", slept.append)
    monkeypatch.setenv("MPLBACKEND", "agg")
    seen = watch(from_settings("posted_price/plenty", "random"), Path("seen.gif"), fps=4.0, window=True)
    assert len(shown) == seen.frames == 9
    assert slept == [0.25] * 9
    import matplotlib.pyplot as plt

    assert plt.get_fignums() == []


def test_a_display_without_a_toolkit_is_told_and_the_gif_is_written(posted_price, monkeypatch):
    import matplotlib.pyplot as plt

    plt.switch_backend("agg")  # what Matplotlib picks where it can open no window
    monkeypatch.setenv("DISPLAY", ":0")
    command = ("watch", "--env", "posted_price", "--agent", "random", "--out", "film.gif")
    done = ioa_marl(*command)
    assert done.exit_code == 0, done.stderr
    assert "no window can be opened: " in done.stdout.splitlines()[-1]
    assert Path("film.gif").exists()
    assert "no window" not in ioa_marl(*command, "--no-window").stdout
    assert ioa_marl(*command, "--window").exit_code == 2


def test_palette_keeps_common_colours_and_finds_the_nearest_for_the_rest():
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)
    noise[:20] = (1, 2, 3)
    gif = Gif()
    gif.add(noise, 0.1)
    gif.add(noise[::-1], 0.1)
    Path("noise.gif").write_bytes(gif.encode())
    (first, second), durations = frames_of(Path("noise.gif"))
    assert durations == [100, 100]
    assert (first[:20] == (1, 2, 3)).all()
    assert (second == first[::-1]).all()
    assert len(np.unique(first.reshape(-1, 3), axis=0)) <= COLOURS
    # A cube of 255 cells has an edge of 40 levels: halves of it are the usual error.
    assert np.abs(first.astype(int) - noise)[20:].mean() < 20


def test_equal_neighbours_are_one_frame_that_is_shown_for_as_long():
    gif = Gif()
    for shade in (0, 0, 0, 9):
        gif.add(np.full((5, 6, 3), shade, np.uint8), 0.2)
    Path("still.gif").write_bytes(gif.encode())
    pictures, durations = frames_of(Path("still.gif"))
    assert [int(picture[0, 0, 0]) for picture in pictures] == [0, 9]
    assert durations == [600, 200]


@pytest.mark.parametrize("count", [1, 2, 3, 11, 12, 13, 1000])
def test_sample_has_both_ends(count):
    chosen = evenly(count, 12)
    assert chosen[0] == 0
    assert chosen[-1] == count - 1
    assert len(chosen) == min(count, 12)
