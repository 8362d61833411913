"""What a notebook shows of preferences: counts, and a few choices to look at."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from skmrm.display import Part, Table, as_html, shortened
from skmrm.episodes.messages import Conversation, as_conversation, is_messages

__all__ = ["FEW", "Choice", "choices_of_episode", "choices_of_set", "episode_page", "set_page"]

FEW = 3  # choices that are shown


class Choice(NamedTuple):
    """One choice as it is shown: four short texts, and its user's."""

    user: str
    prompt: str
    chosen: str
    rejected: str
    said: str


def set_page(episodes: Any) -> str:
    """An `EpisodeSet` as HTML: its sizes, and the first choice of each of a few users."""
    counts = episodes.pairs_per_user
    spread = f"{counts.min():,} to {counts.max():,}, median {np.median(counts):,g}" if len(counts) else "none"
    facts = {
        "users": f"{episodes.n_users:,}",
        "pairs": f"{episodes.n_pairs:,}"
        + (f", {episodes.n_ties:,} of them ties" if episodes.n_ties else "")
        + (f", {episodes.n_rated:,} of them ratings" if episodes.n_rated else ""),
        "pairs per user": spread,
        "items": f"{episodes.n_items:,}" + (" texts" if episodes.is_text else ""),
        "features": "not encoded yet" if episodes.n_features is None else f"{episodes.n_features:,}",
    }
    firsts = episodes.offsets[np.flatnonzero(counts)[:FEW]].tolist()
    return as_html(
        "EpisodeSet",
        "",
        [Table([*facts.items()], named=True), *_choice_table(choices_of_set(episodes, firsts), named=True)],
    )


def episode_page(user: Any, n_pairs: int, n_features: int | None, said: Iterable[str], choices: list[Choice]) -> str:
    """An `Episode` as HTML."""
    facts = {"user": shortened(user), "pairs": f"{n_pairs:,}"}
    if n_features is not None:
        facts["features"] = f"{n_features:,}"
    if known := ", ".join(said):
        facts["also known"] = known
    return as_html("Episode", "", [Table([*facts.items()], named=True), *_choice_table(choices, named=False)])


def choices_of_set(episodes: Any, pairs: Sequence[int]) -> list[Choice]:
    """Some pairs of an `EpisodeSet` as they are shown; none where its items are features alone."""
    if episodes.items is None:
        return []
    found = []
    for pair in pairs:
        prompt, chosen = episodes.items[episodes.chosen[pair]]
        rejected = episodes.items[episodes.rejected[pair]][1]
        ends = (_text(prompt), _text(chosen), _text(rejected))
        outcome, rating = (
            None if column is None else int(column[pair]) for column in (episodes.outcome, episodes.rating)
        )
        found.append(_choice(episodes.users[episodes.user[pair]], *ends, outcome, rating))
    return found


def choices_of_episode(episode: Any) -> list[Choice]:
    """The first pairs of an `Episode`, of which nothing was checked, as they are shown."""
    found = []
    for pair in range(min(FEW, len(episode.chosen))):
        chosen, rejected = episode.chosen[pair], episode.rejected[pair]
        prompt = _asked(chosen) if episode.prompts is None else episode.prompts[pair]
        ends = (_text(prompt), _text(chosen), _text(rejected))
        outcome, rating = (None if one is None else int(one[pair]) for one in (episode.outcomes, episode.ratings))
        found.append(_choice(episode.user, *ends, outcome, rating))
    return found


def _choice(user: Any, prompt: str, chosen: str, rejected: str, outcome: int | None, rating: int | None) -> Choice:
    if rating:
        return Choice(shortened(user), prompt, chosen, "", f"rated {rating}")
    said = "tie" if outcome == 0 else f"strength {outcome}" if outcome is not None and outcome > 1 else ""
    return Choice(shortened(user), prompt, chosen, rejected, said)


def _choice_table(choices: list[Choice], *, named: bool) -> list[Part]:
    """A table of choices, without columns that say nothing."""
    columns = {"user": named, "prompt": True, "chosen": True, "rejected": True, "said": True}
    kept = [name for name, shown in columns.items() if shown and any(getattr(one, name) for one in choices)]
    rows = [[getattr(one, name) for name in kept] for one in choices]
    return [Table(rows, ["" if name == "said" else name for name in kept])] if rows else []


def _text(value: Any) -> str:
    """A text, or what the last of some chat messages says, short."""
    if not isinstance(value, str) and is_messages(value):
        value = as_conversation(value)
    return shortened(value.messages[-1][1] if isinstance(value, Conversation) else value)


def _asked(chosen: Any) -> Any:
    """The message before the last; nothing of plain texts."""
    return list(chosen)[:-1] if is_messages(chosen) and len(chosen) > 1 else ""
