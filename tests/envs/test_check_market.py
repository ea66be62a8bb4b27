"""`check_market` passes a small correct market, and says in one line what is wrong with each broken one."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from gymnasium import spaces

from ioa_marl.envs import Game, Role, Step, check_market
from ioa_marl.envs.double_dutch.game import DoubleDutchGame
from ioa_marl.foundations.parameters import ParameterError, require


@dataclass(frozen=True)
class TurnsConfig:
    max_cycles: int | None = None


class Turns(Game):
    """A caller quotes a price, then two guessers guess a number and pay a share of the quote; and so on."""

    name, version, config_class, presets = "turns", 0, TurnsConfig, {"plain": {}}
    default_controlled_roles = ("caller", "guesser")
    metric_names, board_metrics = ("return",), ()
    objectives, constant_baseline = {"guesser": "return"}, {"guesser": "lowest"}

    def __init__(self, config, num_envs=1, controlled_roles=None, autoreset=True):
        super().__init__(config, num_envs, controlled_roles, autoreset)
        self.limit = config.max_cycles or 10**9
        whole = ("seed", "stream", "episode", "age", "length")
        self.s = {name: np.zeros(num_envs, np.uint64) for name in whole}
        self.s |= {name: np.zeros(num_envs) for name in ("number", "quote", "total")}
        self.s |= {"paid": np.zeros((num_envs, 2)), "accounts": np.zeros((num_envs, 3))}

    @classmethod
    def make_roles(cls, config):
        seen = spaces.Box(0.0, 1.0, (3,), np.float32)
        return {
            "caller": Role("caller", 1, seen, spaces.Discrete(3), "lowest"),
            "guesser": Role("guesser", 2, seen, spaces.MultiDiscrete([4, 2]), "lowest"),
        }

    def draw(self, b):
        rng = np.random.default_rng([int(self.s[name][b]) for name in ("seed", "stream", "episode")])
        return rng.random(), rng.integers(3, 8)

    def open(self, mask):
        for b in np.flatnonzero(mask):
            self.s["number"][b], self.s["length"][b] = self.draw(b)
        for name in ("age", "quote", "total", "paid"):
            self.s[name][mask] = 0
        return self.seen(), self.active()

    def reset(self, seeds, streams=None):
        self.s["seed"][:], self.s["episode"][:] = seeds, 0
        self.s["stream"][:] = np.arange(self.num_envs) if streams is None else streams
        return self.open(np.ones(self.num_envs, bool))

    def next_episode(self):
        stepped = self.s["age"] > 0
        self.s["episode"][stepped] += np.uint64(1)
        return self.open(stepped)

    def by_role(self, caller, guesser):
        both = {"caller": caller, "guesser": guesser}
        return {role: both[role] for role in self.controlled_roles}

    def state(self):
        columns = (self.s["number"], self.s["age"] / 8, self.s["quote"])
        return np.stack(columns, axis=1).astype(np.float32)

    def seen(self):
        state = self.state()[:, None]
        return self.by_role(state.copy(), np.repeat(state, 2, axis=1))

    def active(self):
        calls = (self.s["age"] % 2 == 0)[:, None]
        return self.by_role(calls.copy(), np.repeat(~calls, 2, axis=1))

    def checked(self, actions):
        lazy = {"caller": np.zeros((self.num_envs, 1), int), "guesser": np.zeros((self.num_envs, 2, 2), int)}
        return lazy | {role: self.checked_actions(role, actions) for role in self.controlled_roles}

    def step(self, actions):
        chosen, s = self.checked(actions), self.s
        calls = s["age"] % 2 == 0
        s["quote"][calls] = chosen["caller"][calls, 0] / 2
        guess = chosen["guesser"][..., 0] / 3
        gain = np.where(calls[:, None], 0, 1 - np.abs(guess - s["number"][:, None]))
        s["paid"] += np.where(calls[:, None], 0, guess * s["quote"][:, None])
        s["total"] += gain.sum(axis=1)
        s["age"] += np.uint64(1)
        terminated = s["age"] >= s["length"]
        truncated = ~terminated & (s["age"] >= self.limit)
        ended = terminated | truncated
        final, metrics = self.seen(), {"return": s["total"].copy()}
        final_state = self.state() if self.final_states else None
        s["accounts"][ended] = np.column_stack([s["paid"].sum(axis=1), -s["paid"]])[ended]
        if self.autoreset:
            s["episode"][ended] += np.uint64(1)
            self.open(ended)
        rewards = self.by_role(np.zeros((self.num_envs, 1), np.float32), gain.astype(np.float32))
        return Step(self.seen(), rewards, terminated, truncated, self.active(), final, metrics, final_state)

    def save(self):
        return {name: array.copy() for name, array in self.s.items()}

    def restore(self, saved):
        for name, array in saved.items():
            self.s[name][...] = array
        return self.seen(), self.active()

    def ledger(self):
        return self.s["accounts"]

    @classmethod
    def scripted_policies(cls, role):
        return ("lowest",)

    def scripted(self, policy, role, **settings):
        require(role in self.roles and policy == "lowest" and not settings, "policy", policy, "lowest")
        shape = (self.num_envs, 1) if role == "caller" else (self.num_envs, 2, 2)
        return lambda: np.zeros(shape, np.int64)

    @classmethod
    def reference(cls, config, seeds, streams):
        game = cls(replace(config, max_cycles=None), len(seeds))
        game.reset(seeds, streams)
        return {"guesser": 2.0 * (game.s["length"] // 2)}

    def render(self, mode, index=0):
        return ""


class Stateful(Turns):
    """Adds what makes the mutants short."""

    def step(self, actions):
        self.before = self.save()
        return self.changed(super().step(actions))

    def changed(self, step):
        return step


class RewardIsNaN(Stateful):
    def changed(self, step):
        step.rewards["guesser"][self.before["age"] == 3, 1] = np.nan
        return step


class SeesTooMuch(Turns):
    def seen(self):
        return {role: array * np.float32(1.4) for role, array in super().seen().items()}


class SeesDoubles(Turns):
    def seen(self):
        return {role: array.astype(float) for role, array in super().seen().items()}


class StateLeavesUnit(Turns):
    def state(self):
        return super().state() * np.float32(1.4)

    def seen(self):
        return {role: np.clip(array, 0, 1) for role, array in super().seen().items()}


class GlobalRandomness(Turns):
    def draw(self, b):
        return np.random.random(), super().draw(b)[1]


class LooksAtNeighbours(Turns):
    def seen(self):
        mean = np.float32(self.s["number"].mean())
        return {role: array * mean for role, array in super().seen().items()}


class DrawsFromItsPlace(Turns):
    def draw(self, b):
        number, length = super().draw(b)
        return number, length + b % 2


class SaveForgets(Turns):
    forgotten = "quote"

    def save(self):
        return {name: array for name, array in super().save().items() if name != self.forgotten}


class SaveForgetsTheEpisode(SaveForgets):
    forgotten = "episode"


class SaveIsNoCopy(Turns):
    def save(self):
        return dict(self.s)


class SaveHasNoBatch(Turns):
    def save(self):
        return super().save() | {"quote": self.s["quote"][:1].copy()}


class LedgerLeaks(Turns):
    def ledger(self):
        return super().ledger() + 1e-6


class InactiveCounts(Turns):
    def step(self, actions):
        step, gift = super().step(actions), actions["caller"].astype(np.float32) / 10
        step.rewards["caller"][...] += gift
        return step


class FinalIsTheReset(Stateful):
    def changed(self, step):
        return replace(step, final_observations=step.observations)


class FinalIsTheResetAtTheLimit(Stateful):
    def changed(self, step):
        if self.autoreset:
            for role, array in step.observations.items():
                step.final_observations[role][step.truncated] = array[step.truncated]
        return step


class FinalStateIsTheReset(Stateful):
    def changed(self, step):
        return replace(step, final_state=self.state() if self.final_states else None)


class FinalStateIsTheResetAtTheLimit(Stateful):
    def changed(self, step):
        if self.final_states and self.autoreset:
            step.final_state[step.truncated] = self.state()[step.truncated]
        return step


class FinalStateIsDouble(Stateful):
    def changed(self, step):
        return replace(step, final_state=self.state().astype(float))


class FinalStateIsMissingWhereNothingEnds(Stateful):
    def changed(self, step):
        return step if (step.terminated | step.truncated).any() else replace(step, final_state=None)


class FinalStatesCost(Stateful):
    def changed(self, step):
        step.rewards["guesser"][...] -= 0.5 * self.final_states
        return step


class IgnoresTheLimit(Turns):
    def __init__(self, config, *args, **kwargs):
        super().__init__(config, *args, **kwargs)
        self.limit = 10**9


class ShowsTheLimit(Turns):
    def state(self):
        return super().state() * np.float32(0.5 if self.config.max_cycles else 1)


class EndsTwice(Stateful):
    def changed(self, step):
        return replace(step, truncated=step.terminated.copy())


class EndlessButTerminates(Stateful):
    endless = True


class MetricIsNaN(Stateful):
    def changed(self, step):
        step.metrics["return"][(step.terminated) & (self.before["total"] > 2)] = np.nan
        return step


class WithLuck(Stateful):
    """A market with a second figure, which some episodes do not have."""

    metric_names = ("return", "luck")
    value = np.nan

    def changed(self, step):
        luck = np.where(self.before["total"] > 2, self.value, 1.0)
        return replace(step, metrics={**step.metrics, "luck": luck})


class LuckIsExplained(WithLuck):
    """A market with a second figure.

    `luck` is 1, and NaN in an episode that brought more than 2.
    """


class LuckIsInfinite(LuckIsExplained):
    """A market with a second figure.

    `luck` is 1, and NaN in an episode that brought more than 2.
    """

    value = np.inf


class ScoreIsExplained(MetricIsNaN):
    """A market without a score: `return` is NaN in an episode that brought more than 2."""


class MetricIsMissing(Turns):
    metric_names = ("return", "welfare")


class ReusesArrays(Turns):
    def seen(self):
        self.shared = getattr(self, "shared", super().seen())
        for role, array in super().seen().items():
            self.shared[role][...] = array
        return self.shared if self.controlled_roles == ("caller", "guesser") else super().seen()

    def step(self, actions):
        step = super().step(actions)
        return replace(step, final_observations={r: a.copy() for r, a in step.final_observations.items()})


class WritesIntoActions(Turns):
    def step(self, actions):
        step = super().step(actions)
        actions["guesser"][...] = 0
        return step


class AlwaysMovesOn(Turns):
    def next_episode(self):
        self.s["episode"] += np.uint64(1)
        return self.open(np.ones(self.num_envs, bool))


class StaysInTheEpisode(Turns):
    def next_episode(self):
        return self.open(self.s["age"] > 0)


class ClipsActions(Turns):
    def checked_actions(self, role, actions):
        space = self.roles[role].action_space
        high = space.n if isinstance(space, spaces.Discrete) else space.nvec
        return super().checked_actions(role, {role: np.clip(actions[role], 0, high - 1)})


class RefusesTooLate(Turns):
    def checked(self, actions):
        self.s["quote"][:] = 0
        return super().checked(actions)


class IndexErrors(Turns):
    def checked(self, actions):
        try:
            return super().checked(actions)
        except ValueError as error:
            raise IndexError from error


class ScriptIsIllegal(Turns):
    def scripted(self, policy, role, **settings):
        made = super().scripted(policy, role, **settings)
        return lambda: made() + 2


class ScriptTakesAnything(Turns):
    def scripted(self, policy, role, **settings):
        return super().scripted("lowest", role)


class ScriptRaisesKeyError(Turns):
    def scripted(self, policy, role, **settings):
        return {"lowest": super().scripted("lowest", role, **settings)}[policy]


class ReferenceIsBeaten(Turns):
    @classmethod
    def reference(cls, config, seeds, streams):
        return {"guesser": np.full(len(seeds), 1.5)}


class ReferenceDependsOnTheBatch(Turns):
    @classmethod
    def reference(cls, config, seeds, streams):
        return {"guesser": np.full(len(seeds), super().reference(config, seeds, streams)["guesser"].max() + len(seeds))}


class NeverEnds(Turns):
    def draw(self, b):
        return 0.5, 10**6

    def state(self):
        return super().state() * 0


class UnknownScript(Turns):
    constant_baseline = {"guesser": "highest"}  # noqa: RUF012


MUTANTS = {
    RewardIsNaN: r"a reward of guesser is not finite \(step 4, market 0, agent 1\)",
    SeesTooMuch: r"observations of caller are outside the observation space \(step \d, market \d, agent 0\)",
    SeesDoubles: r"observations of caller are not float32 \(7, 1, 3\) \(step 0\)",
    StateLeavesUnit: r"state\(\) leaves \[0, 1\] \(step \d, market \d\)",
    GlobalRandomness: r"the same seeds give other numbers: .* \(step 0, market 0\)",
    LooksAtNeighbours: r"a market alone differs from the same one in the batch: observations of caller",
    DrawsFromItsPlace: r"a market alone differs from the same one in the batch: .* market 1\)",
    SaveForgets: r"a restored game goes on differently: observations of caller \(step 1, market \d\)",
    SaveForgetsTheEpisode: r"a restored game goes on differently",
    SaveIsNoCopy: r"save\(\) returned changes as games go on",
    SaveHasNoBatch: r"save\(\) has arrays without the leading axis 7",
    LedgerLeaks: r"the ledger does not sum to 0 \(step \d, market \d\)",
    InactiveCounts: r"an inactive agent's action is used: rewards of caller \(step 2, market \d\)",
    FinalIsTheReset: r"the end of an episode or the next one differ .*: final_observations of caller",
    FinalIsTheResetAtTheLimit: r"final_observations of caller at max_cycles are not the true successors \(step 3,",
    FinalStateIsTheReset: r"the end of an episode or the next one differ .*: final_state",
    FinalStateIsTheResetAtTheLimit: r"final_state at max_cycles is not the true successor \(step 3,",
    FinalStateIsDouble: r"final_state is not float32 \(7, 3\) \(step 1\)",
    FinalStateIsMissingWhereNothingEnds: r"final_state is given in some steps only \(step 4\)",
    FinalStatesCost: r"final_states changes what happens: rewards of guesser",
    IgnoresTheLimit: r"truncated does not follow max_cycles=3 \(step 3, market \d\)",
    ShowsTheLimit: r"max_cycles changes observations of caller \(step 1, market 0\)",
    EndsTwice: r"a market is both terminated and truncated",
    EndlessButTerminates: r"an endless market is terminated \(step \d, market \d\)",
    MetricIsNaN: r"metric return is not finite \(step \d, market \d\)",
    WithLuck: r"metric luck is not finite \(step \d, market \d\)",
    LuckIsInfinite: r"metric luck is not finite \(step \d, market \d\)",
    ScoreIsExplained: r"metric return is not finite \(step \d, market \d\)",
    MetricIsMissing: r"metrics are \['return'\], not metric_names",
    ReusesArrays: r"arrays that the step before returned have changed \(step 1\)",
    WritesIntoActions: r"step\(\) writes into the actions it is given \(step 1\)",
    AlwaysMovesOn: r"next_episode\(\) moves on although nothing was stepped",
    StaysInTheEpisode: r"differ from a game without autoreset: observations of caller",
    ClipsActions: r"an action below its space of caller is not refused \(step 1\)",
    RefusesTooLate: r"of caller is refused, but has changed the game \(step 2\)",
    IndexErrors: r"a market too many of caller raises IndexError, not ValueError",
    ScriptIsIllegal: r"scripted policy 'lowest' of guesser returns an action outside MultiDiscrete",
    ScriptTakesAnything: r"scripted\('lowest', 'caller', 'no_such_setting'\) is not refused",
    ScriptRaisesKeyError: r"scripted\('no_such_policy', 'caller'\) raises KeyError, not ParameterError",
    ReferenceIsBeaten: r"random play beats the reference of guesser \(step \d, market \d\)",
    ReferenceDependsOnTheBatch: r"reference of guesser depends on the other markets",
    NeverEnds: r"an episode does not end within \d+ steps",
    UnknownScript: r"constant_baseline: no policy 'highest' of guesser",
}


@pytest.mark.parametrize("roles", [("caller",), ("guesser",), ("caller", "guesser")], ids="+".join)
def test_correct_market_passes(roles):
    check_market(Turns, controlled_roles=roles, processes=False)
    check_market(Turns, controlled_roles=roles, processes=False, max_cycles=4)


def test_a_metric_may_be_nan_where_the_docstring_says_what_that_means():
    check_market(LuckIsExplained, processes=False)


@pytest.mark.parametrize(("mutant", "said"), [pytest.param(*item, id=item[0].__name__) for item in MUTANTS.items()])
def test_broken_market_is_caught_in_one_line(mutant, said, monkeypatch):
    monkeypatch.setattr("ioa_marl.envs.testing.play.MOST_STEPS", 100)
    with pytest.raises(AssertionError, match=said) as caught:
        check_market(mutant, processes=False)
    message = str(caught.value)
    assert message.startswith(f"{mutant.__name__} with caller+guesser controlled: ")
    assert "\n" not in message


class WithoutFinalState(Stateful):
    def changed(self, step):
        return replace(step, final_state=None)


def test_market_need_not_say_in_which_state_an_episode_ends():
    check_market(WithoutFinalState, processes=False)
    check_market(WithoutFinalState, processes=False, max_cycles=4)


def test_market_that_differs_between_processes_is_caught(tmp_path, monkeypatch):
    (tmp_path / "moody_market.py").write_text(
        "import numpy as np\n"
        "from ioa_marl.envs.double_dutch.game import DoubleDutchGame\n"
        "class Moody(DoubleDutchGame):\n"
        "    def step(self, actions):\n"
        "        step = super().step(actions)\n"
        "        step.rewards['auctioneer'][...] += np.float32(hash('mood') % 1000)\n"
        "        return step\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    from moody_market import Moody  # pyright: ignore[reportMissingImports]  # written above

    check_market(Moody, num_envs=2, processes=False)
    with pytest.raises(AssertionError, match=r"another process gives other numbers \(step 1\)"):
        check_market(Moody, num_envs=2)


def test_class_that_another_process_cannot_import_is_told_so():
    class Local(Turns):
        pass

    with pytest.raises(ValueError, match=r"cannot import .*Local .*processes=False"):
        check_market(Local)


def test_unknown_roles_presets_and_settings_are_refused_as_everywhere():
    for arguments in ({"controlled_roles": ["nobody"]}, {"preset": "nowhere"}, {"speed": 3}):
        with pytest.raises(ParameterError):
            check_market(DoubleDutchGame, **arguments)


def test_contract_can_be_imported_from_the_package_by_one_name():
    import ioa_marl.envs

    assert set(ioa_marl.envs.__all__) == {"Game", "Role", "Step", "VectorGame", "check_market"}
    with pytest.raises(AttributeError, match="nothing_like_it"):
        _ = ioa_marl.envs.nothing_like_it
