"""Speakers and listeners: a guide becomes a speech, and a speech becomes evidence in the exact posterior.

A speaker fills in its guide's worksheet and then speaks; a listener rates what a speech, or a whole discussion, changes
in its beliefs. Both are generators that ask for samples, so that `run_lockstep` puts what many games ask for at one
time in one call of the model. A reply that cannot be read counts as no change and is noted; it never raises.

    job = Job("table 7", lambda ledger: discuss(table, guides, Speaker(), Discriminator(), path=(7,)))
    discussion = run_lockstep([job, ...], sampler)[0].value
    belief = listen(game, belief, discussion.ratings[seat], scale_good=0.5, scale_merlin=0.5)

Shapes: `P` players, `K` assignments of roles.

Reference: Light et al., "Strategist" (arXiv 2408.10635), dialogue generation and discriminator. In the released code a
rating of how evil a player is was added to the logit of its being good; here evidence for evil counts against good.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Generator, Mapping
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from jaxrl_suite.avalonbench.beliefs import Belief, tilt
from jaxrl_suite.avalonbench.dialogue import words
from jaxrl_suite.avalonbench.dialogue.guides import Guide
from jaxrl_suite.envs.avalon.game import Avalon
from jaxrl_suite.envs.avalon.state import AvalonState
from jaxrl_suite.llm.fences import without_thinking
from jaxrl_suite.llm.parsing import fill
from jaxrl_suite.llm.protocol import Completion, Decoding, Message, Reply, Request
from jaxrl_suite.llm.questions import Sample

PROMPTS = "jaxrl_suite.avalonbench.dialogue"  # the package whose prompts are filled in

LARGEST = 2  # ratings go from -2 to 2
Dialogue: TypeAlias = tuple[tuple[int, str], ...]  # (seat, speech) in order
_THINK, _SPEAK, _RATE = range(3)  # part of a request's path

_RATING = re.compile(
    r"(?:player\s*)?[\"']?(?<![\d.+-])(\d+)[\"']?[^\d\n]*?evil[\"']?\s*[:=]?\s*([+-]?\d+)"
    r"[^\d\n]*?merlin[\"']?\s*[:=]?\s*([+-]?\d+)(?!\.?\d)",
    re.IGNORECASE,
)


class Scene(NamedTuple):
    """A discussion as it stands when somebody is to speak or has spoken."""

    game: Avalon
    state: AvalonState  # concrete, before a proposal
    dialogue: Dialogue = ()


class Utterance(NamedTuple):
    seat: int
    worksheet: str  # the answers, which nobody else sees
    speech: str  # empty if the player said nothing
    failures: tuple[str, ...] = ()


class Ratings(NamedTuple):
    """A listener's ratings of a speech: whole numbers from -2 to 2 for each player, 0 where its reply was unclear."""

    evil: tuple[int, ...]  # change of the belief that the player is evil
    merlin: tuple[int, ...]  # change of the belief that it is Merlin
    failures: tuple[str, ...] = ()


class Discussion(NamedTuple):
    utterances: tuple[Utterance, ...]  # in the order of speaking
    ratings: Mapping[int, Ratings]  # by listener, of the whole discussion


@dataclasses.dataclass(frozen=True)
class Speaker:
    """Fills in a worksheet, then speaks: two samples.

    Args:
      thinking: how the answers are drawn.
      speaking: how the speech is drawn.
    """

    thinking: Decoding = Decoding(max_tokens=512, temperature=0.7)  # noqa: RUF009 (it is frozen)
    speaking: Decoding = Decoding(max_tokens=200, temperature=0.7)  # noqa: RUF009

    def speak(
        self, guide: Guide, scene: Scene, seat: int, intention: str, path: tuple[int, ...]
    ) -> Generator[Sample, Any, Utterance]:
        """Asks twice.

        Args:
          guide: whose questions are answered.
          scene: what was said before.
          seat: who speaks.
          intention: what it means to do next, in words; for instance what a search found.
          path: of the random stream.
        """
        task = Message(
            "user",
            fill(
                PROMPTS,
                "worksheet",
                **_known(scene, seat),
                intention=intention,
                worksheet=guide.text,
            ),
        )
        reply = yield Sample(Request((task,), decoding=self.thinking, path=(*path, _THINK), role="think"))
        failures = []
        answers = _text(reply)
        if not answers:
            failures.append(f"player {seat} left the worksheet empty")
        chat = (task, Message("assistant", answers or "(no answers)"), Message("user", fill(PROMPTS, "speech")))
        reply = yield Sample(Request(chat, decoding=self.speaking, path=(*path, _SPEAK), role="speak"))
        speech = " ".join(_text(reply).split())
        if not speech:
            failures.append(f"player {seat} said nothing")
        return Utterance(seat, answers, speech, tuple(failures))


@dataclasses.dataclass(frozen=True)
class Discriminator:
    """A listener: one sample.

    Args:
      decoding: how the rating is drawn.
    """

    decoding: Decoding = Decoding(max_tokens=200, temperature=0.0)  # noqa: RUF009

    def ask(self, scene: Scene, listener: int, speaker: int | None, path: tuple[int, ...]) -> Sample:
        """The question to `listener`: on the last speech, by `speaker`, or on the whole discussion if that is None."""
        form = "\n".join(f"player {seat}: evil +0, merlin +0" for seat in range(scene.game.num_players))
        known = _known(scene, listener)
        if speaker is None:
            text = fill(PROMPTS, "rating_round", **known, form=form)
        else:
            text = fill(PROMPTS, "rating", **known, form=form, speaker=str(speaker))
        path = (*path, _RATE, listener)
        return Sample(Request((Message("user", text),), decoding=self.decoding, path=path, role="rate"))

    def read(self, scene: Scene, listener: int, reply: Reply) -> Ratings:
        """The ratings in the reply to `ask`."""
        ratings = parse_ratings(_text(reply), scene.game.num_players)
        return ratings._replace(failures=tuple(f"listener {listener}: {what}" for what in ratings.failures))


def parse_ratings(text: str, num_players: int) -> Ratings:
    """Reads lines like "player 3: evil +1, merlin -2", or the same as JSON.

    A player without a rating, with one out of range, or with two that differ counts as unchanged, and is a failure.
    """
    ratings: dict[int, tuple[int, int]] = {}
    bad: dict[int, str] = {}
    for match in _RATING.finditer(text.replace("\N{MINUS SIGN}", "-")):
        seat, pair = int(match[1]), (int(match[2]), int(match[3]))
        if seat >= num_players:
            bad[seat] = f"there is no player {seat}"
        elif max(map(abs, pair)) > LARGEST:
            bad[seat] = f"the rating of player {seat} is out of range: {pair}"
        elif ratings.setdefault(seat, pair) != pair:
            bad[seat] = f"player {seat} is rated twice"
    for seat in range(num_players):
        if seat not in ratings and seat not in bad:
            bad[seat] = f"player {seat} is not rated"
    pairs = [(0, 0) if seat in bad else ratings[seat] for seat in range(num_players)]
    evil, merlin = zip(*pairs, strict=True)
    return Ratings(evil, merlin, tuple(bad[seat] for seat in sorted(bad)))


def discuss(
    scene: Scene,
    guides: Mapping[str, Guide],
    speaker: Speaker,
    discriminator: Discriminator,
    intentions: Mapping[int, str],
    path: tuple[int, ...],
) -> Generator[Sample | tuple[Sample, ...], Any, Discussion]:
    """A whole discussion: from the leader on each player speaks once, having heard the others; then all rate it.

    It asks 2P times for one sample, then once for P; many tables in lockstep make as many calls as one.

    Args:
      scene: before the discussion.
      guides: by role name, one for each role in play.
      speaker: of all seats.
      discriminator: of all seats.
      intentions: by seat, what each means to do next.
      path: of the random streams.
    """
    state, game = jax.device_get(scene.state), scene.game
    utterances: list[Utterance] = []
    roles = [words.ROLE_NAMES[int(role)] for role in state.roles]
    for turn in range(game.num_players):
        seat = (int(state.leader) + turn) % game.num_players
        heard = scene._replace(dialogue=(*scene.dialogue, *((one.seat, one.speech) for one in utterances)))
        utterances.append((yield from speaker.speak(guides[roles[seat]], heard, seat, intentions[seat], (*path, turn))))
    heard = scene._replace(dialogue=(*scene.dialogue, *((one.seat, one.speech) for one in utterances)))
    seats = range(game.num_players)
    replies = yield tuple(discriminator.ask(heard, seat, None, (*path, game.num_players)) for seat in seats)
    ratings = {seat: discriminator.read(heard, seat, reply) for seat, reply in zip(seats, replies, strict=True)}
    return Discussion(tuple(utterances), ratings)


def evidence(ratings: Ratings) -> tuple[jax.Array, jax.Array]:
    """(float32[P], float32[P]): evidence for being good, and for being Merlin; likelier evil speaks against good."""
    return -jnp.asarray(ratings.evil, jnp.float32), jnp.asarray(ratings.merlin, jnp.float32)


def listen(
    game: Avalon, belief: Belief, ratings: Ratings, scale_good: float = 1.0, scale_merlin: float = 1.0
) -> Belief:
    """The belief after a speech or discussion: one joint exponential tilt of the weights of all K assignments.

    Args:
      game: the rules.
      belief: of the listener, before.
      ratings: what it made of what was said.
      scale_good: log-odds for one step of a rating on sides.
      scale_merlin: log-odds for one step of a rating on Merlin.
    """
    good, merlin = evidence(ratings)
    return tilt(game, belief, good, merlin, scale_good, scale_merlin)


def _known(scene: Scene, seat: int) -> dict[str, str]:
    return dict(
        rules=words.rules_text(scene.game),
        public=words.public_text(scene.game, scene.state),
        private=words.private_text(scene.game, scene.state, seat),
        dialogue=words.dialogue_text(scene.dialogue),
    )


def _text(reply: Reply) -> str:
    """The words of a reply, without what the model thought: thoughts are neither said aloud nor ratings."""
    completions: tuple[Completion, ...] = reply.completions
    return without_thinking(completions[0].text or "").strip() if completions else ""
