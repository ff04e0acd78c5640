"""Tables and figures of talk without a language model: what was learned, and what talk adds to bots' games.

Shapes: `S` seeds, `T` = points + 1, `V` ways to talk, `N` proposals.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_suite.avalonbench import beliefs
from jaxrl_suite.avalonbench.assignments import OUTSIDER, index_of
from jaxrl_suite.avalonbench.cheap_talk.game import claim_probabilities
from jaxrl_suite.avalonbench.cheap_talk.policies import SILENCE, ClaimPolicy, accuse, vouch
from jaxrl_suite.avalonbench.observation_models import FailCounts
from jaxrl_suite.core import plot, stats
from jaxrl_suite.core.run import Run
from jaxrl_suite.envs.avalon.roles import ASSASSIN, EVIL_ROLES, MERLIN, MINION, ROLE_NAMES, SERVANT
from jaxrl_suite.experiments.avalon_dialogue.talk import ARMS, GAME, MEASURES, Learned, TalkGames

if TYPE_CHECKING:
    from jaxrl_suite.experiments.avalon_dialogue.config import Config

TITLE = "Talk without a language model"
SHOWN = (  # measure, label of its axis, title of its figure
    ("good_return", "return of good, nats and weighed certainty", "Value of communication for good"),
    ("log_loss", "log loss of the Servants, nats a seat", "What the Servants deduce"),
    ("merlin_found", "the Assassin's belief in the true Merlin", "What the Assassin deduces"),
)
GLOSSARY = (
    "Open: good says what it believes, evil the opposite. Evil (half) hides: it speaks as a Servant in its seat would, "
    "always or half the time. All hide: Merlin does so too, 9 times of 10. Trusted: evil hides, and listeners take it "
    "to be open. Good learns, both learn: as learned before the first quest. Another deal: open, but the claims are "
    "about another deal, a control in which nothing can be gained."
)
_ACCURACY, _LOG_LOSS, _MERLIN = range(3)  # of `TalkGames`
REACHED = 0.2  # proposals that fewer games have are not shown


def cells(interval: stats.Interval, name: str) -> dict[str, float]:
    """An interval as three columns, without the dust of rounding."""
    return {column: tidy(value) for column, value in interval.columns(name).items()}


def tidy(value: float) -> float:
    return round(float(value), 4) + 0.0


def text_of(interval: stats.Interval, seeds: int, digits: int = 3) -> str:
    """An interval in words."""
    middle, low, high = (f"{round(value, digits) + 0.0:+.{digits}f}" for value in interval)
    return f"{middle} ({low} to {high})" if seeds > 1 else middle


def write_learned(config: Config, run: Run, learned: Learned) -> None:
    at = {name: place for place, name in enumerate(MEASURES)}
    last = {arm.title: learned.curves[arm.name][:, -1] for arm in ARMS}
    settings = last | {"misled": learned.misled}
    rows: list[dict[str, Any]] = [
        {"setting": "silence", **cells(stats.Interval(0.0, 0.0, 0.0), "gain"),
         **{name: tidy(learned.silent[at[name]]) for name in MEASURES}}
    ]  # fmt: skip
    gains: dict[str, stats.Interval] = {}
    for title, returns in settings.items():
        gain = stats.mean_or_value(returns[:, at["good_return"]] - learned.silent[at["good_return"]])
        gains[title] = stats.Interval(*map(tidy, gain))
        rows.append(
            {"setting": title, **gains[title].columns("gain"),
             **{name: tidy(returns[:, at[name]].mean()) for name in MEASURES}}
        )  # fmt: skip
    how = config.learning
    caption = (
        f"Policies of talk after {how.updates} updates of {how.batch_size} deals, measured on {how.deals} fresh "
        f"deals a seed, the same for all; one claim a player, before the first quest. Good's return: minus the "
        f"Servants' log loss, minus {how.merlin_weight:g} times the Assassin's belief in the true Merlin. Gain: of "
        f"that return over silence, with 95 % intervals over {len(config.seeds)} seeds. Surprise: the listeners' -ln "
        "posterior of the true roles. Evil learns in the row `both learn` alone. Controls, in which nothing can be "
        "gained: `another deal`, as `good learns`, but all claims are about another deal; `misled`, those of `good "
        "learns` who now hear claims of another deal."
    )
    run.table("talk_learned", rows, caption=caption)
    write_pairs(config, run, last)
    updates = np.arange(config.learning.points + 1) * (config.learning.updates // config.learning.points)
    for name, label, title in SHOWN:
        series = {}
        for arm in ARMS:
            line = [stats.mean_or_value(values) for values in learned.curves[arm.name][..., at[name]].T]
            series[arm.title] = (updates, *np.array(line).T)
        figure = plot.lines(
            series, xlabel="updates", ylabel=label, title=title, references={"silence": float(learned.silent[at[name]])}
        )
        run.figure(f"talk_{name}", figure, f"On fresh deals. Bands: 95 % intervals over {len(config.seeds)} seeds.")
    shuffled = gains[ARMS[2].title]
    sound = "as it must" if shuffled.low <= 0 else "which it must not: something is wrong"
    good_only, both = (
        f"{text_of(gains[arm.title], len(config.seeds))}{_sure(gains[arm.title], len(config.seeds))}"
        for arm in ARMS[:2]
    )
    run.text(
        f"{TITLE}: players who make one claim each before the first quest. Where good learns to talk and to listen, "
        f"and evil babbles, talk changes good's return by {good_only}; where evil learns too, by {both}. With claims "
        f"of another deal good changes its return by {text_of(shuffled, len(config.seeds))}: "
        f"{'it gains nothing' if shuffled.low <= 0 else 'it gains'}, {sound}. 95 % intervals over "
        f"{len(config.seeds)} seeds."
    )
    write_policies(config, run, learned)


def _sure(interval: stats.Interval, seeds: int) -> str:
    if seeds < 2:
        return ", one seed without an interval"
    return ", which excludes zero" if interval.low > 0 or interval.high < 0 else ", which does not exclude zero"


def write_pairs(config: Config, run: Run, last: dict[str, np.ndarray]) -> None:
    """Writes the leads of the first arm over the others, paired by seed."""
    ours, *others = last
    rows = []
    for other in others:
        row: dict[str, Any] = {"setting": ours, "less": other}
        for name, _, _ in SHOWN:
            place = MEASURES.index(name)
            row |= cells(stats.mean_or_value(last[ours][:, place] - last[other][:, place]), name)
        rows.append(row)
    run.table(
        "talk_differences",
        rows,
        caption="Differences after the last update, on the same deals and paired by seed, 95 %: of good's return, of "
        "the Servants' log loss, of the Assassin's belief in the true Merlin.",
    )


def write_policies(config: Config, run: Run, learned: Learned) -> None:
    """Writes what each role has learned to say when it speaks first."""
    rows = []
    for arm in ARMS[:2]:
        chances = first_claims(learned.params[arm.name].speaking)
        for role, kinds in chances.items():
            rows.append(
                {"setting": arm.title, "role": role, **{kind: tidy(values[0]) for kind, values in kinds.items()}}
            )
    caption = (
        f"What who speaks first says, seed {config.seeds[0]}; other seeds agree on other habits. A habit that evil "
        "does not share marks a good player, whatever it says; what is said about the others tells something where "
        "good and evil seats are spoken of differently."
    )
    run.table("talk_policies", rows, caption=caption)
    habits = first_claims(learned.params[ARMS[0].name].speaking)
    evil, merlin = (_apart(habits["servant"], habits[role]) for role in ("minion", "merlin"))
    run.text(
        f"Where good alone learns, the first claims of Servants and of an evil player differ by {evil:.2f} in total "
        f"variation, those of a Servant and of Merlin by {merlin:.2f}: "
        + ("evil gives itself away because it does not share the habits of good, and Merlin stays hidden among them."
           if merlin < evil / 2 else "Merlin says what a Servant would not say.")
    )  # fmt: skip


def _apart(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> float:
    """Total variation between two roles' kinds of claims, a mean over seeds."""
    return float(np.mean(sum(np.abs(one[kind] - other[kind]) for kind in one) / 2))


def first_claims(policy: ClaimPolicy) -> dict[str, dict[str, np.ndarray]]:
    """Probabilities of each role's kinds of claim at the start: by role and kind, float[S]."""
    roles = np.array(GAME.roles)
    evil = np.isin(roles, EVIL_ROLES)
    seats = [int(np.flatnonzero(roles == role)[0]) for role in (MERLIN, SERVANT, MINION, ASSASSIN)]
    chances = np.asarray(_first_chances(policy, np.array(seats)))
    chances_of = {}
    for seat, own_chances in zip(seats, chances, strict=True):
        claims = np.arange(own_chances.shape[1])
        others = np.arange(len(roles)) != seat
        kinds = {"silence": claims == SILENCE}
        for verb, claim in (("accuses", accuse), ("vouches_for", vouch)):
            for whom, of in (("good", others & ~evil), ("evil", others & evil), ("itself", ~others)):
                kinds[f"{verb}_{whom}"] = np.isin(claims, [claim(int(other)) for other in np.flatnonzero(of)])
        chances_of[ROLE_NAMES[roles[seat]]] = {kind: own_chances[:, mask].sum(axis=1) for kind, mask in kinds.items()}
    return chances_of


@jax.jit
def _first_chances(policy: ClaimPolicy, seats: jax.Array) -> jax.Array:
    """float32[seats, S, C]: how likely the claims of the seats are on the deal `GAME.roles`."""
    roles = jnp.asarray(GAME.roles)
    prior, truth = beliefs.posterior(beliefs.prior(GAME, roles, OUTSIDER, FailCounts())), index_of(GAME, roles)

    def one(seat: jax.Array, policy: ClaimPolicy) -> jax.Array:
        return claim_probabilities(GAME, policy, prior, seat)[truth]

    return jax.vmap(jax.vmap(one, (None, 0)), (0, None))(seats, policy)


def write_games(config: Config, run: Run, games: TalkGames) -> None:
    change = games.whole[:, :, 1] - games.whole[:, :, 0]  # [V, S, 3]
    rows, dots = [], {}
    for way, title in enumerate(games.ways):
        loss, accuracy, merlin = (stats.mean_or_value(change[way, :, k]) for k in (_LOG_LOSS, _ACCURACY, _MERLIN))
        row: dict[str, Any] = {"talk": title, "log_loss_silent": tidy(games.whole[way, :, 0, _LOG_LOSS].mean())}
        row |= {**cells(loss, "change"), **cells(accuracy, "accuracy_change"), **cells(merlin, "merlin_change")}
        rows.append(row)
        dots[title] = tuple(loss)
    caption = (
        f"What talk before each proposal adds to {config.learning.games} games of naive bots a seed, who do not "
        "listen: changes against the same games read in silence, means over a game's proposals. Listeners count failed "
        "quests in both cases. Log loss and accuracy: of the Servants on sides; Merlin: the Assassin's belief in the "
        f"true one. 95 % intervals over {len(config.seeds)} seeds. {GLOSSARY}"
    )
    run.table("talk_games", rows, caption=caption)
    figure = plot.dots(
        dots, xlabel="change of the Servants' log loss, nats a seat", title="What talk adds to games of naive bots",
        references={"silence": 0.0},
    )  # fmt: skip
    run.figure(
        "talk_games", figure, f"Below zero the Servants know more than in silence. Means, 95 % intervals. {GLOSSARY}"
    )
    shown = [at for at in range(games.reached.shape[2]) if games.reached[0, :, at].mean() >= REACHED]
    first = games.by_proposal[0, :, :, 0, _LOG_LOSS]  # in silence all ways are the same games
    lines = {"silence": first} | {games.ways[way]: games.by_proposal[way, :, :, 1, _LOG_LOSS] for way in (0, 1, 2)}
    series = {
        title: (np.array(shown) + 1, *np.array([stats.mean_or_value(values[:, at]) for at in shown]).T)
        for title, values in lines.items()
    }
    figure = plot.lines(
        series, xlabel="proposal", ylabel="log loss of the Servants, nats a seat", title="Talk as the game goes on"
    )
    run.figure(
        "talk_by_proposal",
        figure,
        "After the talk before each proposal, in the games that got there. Bands: 95 % intervals over seeds.",
    )
    table = [
        {
            "talk": title,
            "proposal": at + 1,
            "games_with_it": tidy(games.reached[way, :, at].mean()),
            **cells(_change(games, way, at, _LOG_LOSS), "log_loss_change"),
            **cells(_change(games, way, at, _MERLIN), "merlin_change"),
        }
        for way, title in enumerate(games.ways[:3])
        for at in shown
    ]
    run.table("talk_by_proposal", table, caption="Talked less silent, in the games that got there; 95 % over seeds.")
    seeds, loss, hidden = len(config.seeds), *(stats.mean_or_value(change[way, :, _LOG_LOSS]) for way in (0, 2))
    merlin = stats.mean_or_value(change[0, :, _MERLIN])
    run.text(
        f"In games of naive bots, claims by which good says what it believes and evil the opposite change the "
        f"Servants' log loss by {text_of(loss, seeds)} nats a seat and the Assassin's belief in the true Merlin by "
        f"{text_of(merlin, seeds)}; where evil always speaks as a Servant, the log loss by {text_of(hidden, seeds)}."
    )


def _change(games: TalkGames, way: int, at: int, measure: int) -> stats.Interval:
    values = games.by_proposal[way, :, at]
    return stats.mean_or_value(values[:, 1, measure] - values[:, 0, measure])
