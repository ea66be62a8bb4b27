"""The settings that are offered for a market are those that the search chose, and the table has all of them."""

import csv
import importlib.util
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module

from ioa_marl import registry
from ioa_marl.training.compose import specification

FOLDER = Path(__file__).parents[2] / "benchmarks" / "tuning"


def module(name):
    sys.path.insert(0, str(FOLDER))
    try:
        spec = importlib.util.spec_from_file_location(f"tuning_{name}", FOLDER / f"{name}.py")
        loaded = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = loaded
        spec.loader.exec_module(loaded)
    finally:
        sys.path.remove(str(FOLDER))
    return loaded


search, table, spaces = module("search"), module("table"), module("spaces")
CELLS = [(market, learner) for learner in spaces.GRIDS for market in spaces.MARKETS]


def rows(name):
    with (FOLDER / "results" / name).open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_market_and_every_learner_is_searched():
    assert set(spaces.MARKETS) == {
        n for n in registry.env_names() if registry.entry("environment", n).source == "ioa_marl"
    }
    learners = {
        name
        for name in registry.agent_names()
        if registry.entry("agent", name).source == "ioa_marl" and registry.load_agent(name).learns
    }
    assert learners - set(spaces.GRIDS) == {"greedy", "diffusion_sac_ref"}, "a baseline, and a reproduction"


def test_every_learner_gets_the_same_number_of_candidates():
    assert {len(search.candidates(learner)) for learner in spaces.GRIDS} == {4}


@pytest.mark.parametrize(("market", "learner"), CELLS)
def test_settings_of_a_market_are_those_that_the_search_chose(market, learner):
    found = [row for row in rows("search.csv") if (row["market"], row["learner"]) == (market, learner)]
    assert {row["setting"] for row in found} == {search.label(setting) for setting in search.candidates(learner)}
    assert {int(row["seed"]) for row in found} == set(spaces.SEARCH_SEEDS)
    (chosen,) = {row["setting"] for row in found if row["chosen"] == "1"}
    assert search.choose(found) == chosen
    with initialize_config_module("ioa_marl.conf", version_base="1.3"):
        offered = compose("config", overrides=[f"agent={learner}/{market}"]).agent
    wanted = spaces.fixed(learner, spaces.MARKETS[market]) | {
        key: float(value) for key, value in (part.split("=") for part in chosen.split())
    }
    assert {key: offered[key] for key in wanted} == wanted


@pytest.mark.parametrize(("market", "learner"), CELLS)
def test_command_of_the_table_is_one_that_a_user_can_type(market, learner, tmp_path):
    spec = specification([a for a in table.command(market, learner, tmp_path)[1:] if a != "--quiet"])
    preset = spaces.MARKETS[market].preset or next(iter(spec.game_class.presets))
    assert (spec.game_class.name, spec.preset) == (market, preset)
    assert len(spec.seeds) == table.SEEDS
    most = max(spec.game_class.make_roles(spec.env_config)[role].count for role in spec.controlled_roles)
    assert spec.budget == (20_000 if most > 3 else 100_000)


def test_one_terrible_figure_does_not_decide():
    def row(setting, score):
        return {"setting": setting, "score": score}

    assert search.choose([row("a", -50.0), row("a", 0.9), row("b", 0.0), row("b", -0.2)]) == "a"
    assert search.choose([row("a", 0.1), row("b", 0.3)]) == "b"


@pytest.mark.parametrize("market", spaces.MARKETS)
def test_table_has_five_seeds_of_every_learner_on_everything_that_is_scored(market):
    found = {(row["market"], row["scored"], row["agent"]): row for row in rows("scores.csv")}
    for learner in spaces.GRIDS:
        for key in registry.load_env(market).objectives:
            row = found[market, key, learner]
            seeds = [float(score) for score in row["seeds"].split()]
            assert len(seeds) == table.SEEDS
            assert int(row["budget"]) == spaces.MARKETS[market].budget
            assert int(row["seeds_above_constant"]) == sum(score > float(row["best_constant"]) for score in seeds)


def test_agents_that_play_together_have_a_short_name():
    assert table.short("mappo") == "mappo"
    assert table.short("mobile+fixed=best_response,auctioneer=fixed_pair 292b04") == "best_response, fixed_pair"


def test_rows_of_other_markets_stay_to_the_letter(tmp_path):
    kept = [row for row in rows("scores.csv") if row["market"] != "second_bid"]
    fresh = [dict.fromkeys(kept[0], "new") | {"market": "second_bid", "scored": "auctioneer"}]
    together = table.with_kept(fresh)
    assert [row["market"] for row in together] == sorted(row["market"] for row in together)
    assert [row for row in together if row["market"] == "second_bid"] == fresh
    with (tmp_path / "scores.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(kept[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(row for row in together if row["market"] != "second_bid")
    with (tmp_path / "scores.csv").open(newline="") as file:
        assert list(csv.DictReader(file)) == kept


def test_the_page_begins_with_the_notes_of_today():
    page = (FOLDER / "results" / "README.md").read_text()
    assert page.startswith((FOLDER / "notes.md").read_text().rstrip("\n"))
    assert "of older versions" in page.split("##")[0]
