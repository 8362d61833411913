"""Simulated users with tastes for style, who choose between real texts."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import Bunch

from skmrm._support.randomness import RandomState, as_generator
from skmrm._support.wording import raise_all
from skmrm.datasets._simulated import (
    PairCounts,
    draw_choices,
    integer_problems,
    number_problems,
    pair_count_problems,
    random_state_problems,
    user_ids,
)
from skmrm.episodes import EpisodeSet

__all__ = ["load_style_preferences"]

# What people like on average, in logits per unit of a trait.
_MEAN_TASTE = {
    "length": -0.2,
    "warmth": 0.4,
    "structure": 0.6,
    "formality": -0.3,
    "examples": 0.8,
    "hedging": -0.4,
}

_DESCR = """Style preferences
-----------------
Users: SIMULATED. No person made any of these choices.

Texts: 60 everyday prompts with six answers each, of 20 to 150 words. They were written for this package, under its
licence (BSD-3-Clause), and cover cooking, programming, habits, travel, history, money, science, writing, relationships,
work and hobbies. The six answers to a prompt have much the same substance and are meant to be equally helpful; they
differ in style.

Traits: six numbers between -1 and 1 for each answer, uncorrelated by design.
  length     log2(words / 62), clipped: 31 words or fewer, 62, 124 or more
  warmth     blunt and unsparing, neutral, encouraging or enthusiastic
  structure  a single running paragraph, plain paragraphs, headings with lists
  formality  contractions and slang, plain standard English, formal register
  examples   general statements only, one illustration, several concrete examples
  hedging    assertive and absolute, ordinary, tentative
Length is measured; the other traits were annotated by the author of the texts.

Tastes: each user has one weight for each trait, in logits, drawn around a mean that all users share (people mildly
like examples, structure and warmth, and mildly dislike hedging, formality and length). The reward of an answer is
taste @ traits, and an answer a is preferred to b with probability sigmoid(reward(a) - reward(b)) (Bradley-Terry),
but for lapses, if asked for.

What it is good for: examples, tests, and measuring how fast a method learns a taste for style. What it is not: evidence
that people have such tastes, or that a method works on people.
"""


@dataclass(frozen=True, eq=False)
class StyleCorpus:
    """The bundled texts.

    Attributes
    ----------
    items : tuple of (prompt, response)
        Answers to one prompt stand together.
    traits : (n_items, n_traits) float64 array, read-only
        What each text is like, between -1 and 1.
    trait_names : tuple of str
        Names of the traits.
    n_responses : int
        Answers to each prompt.
    """

    items: tuple[tuple[str, str], ...]
    traits: NDArray[np.float64]
    trait_names: tuple[str, ...]
    n_responses: int


@lru_cache(maxsize=1)
def read_corpus() -> StyleCorpus:
    """Read the bundled texts.

    Returns
    -------
    StyleCorpus
        The same object in every call.
    """
    text = files("skmrm.datasets").joinpath("data").joinpath("style_corpus.json").read_text(encoding="utf-8")
    corpus = json.loads(text)
    names = tuple(corpus["trait_names"])
    answers = [(entry["prompt"], response) for entry in corpus["prompts"] for response in entry["responses"]]
    traits = np.array([[response["traits"][name] for name in names] for _, response in answers])
    traits.setflags(write=False)
    items = tuple((prompt, response["text"]) for prompt, response in answers)
    return StyleCorpus(items, traits, names, n_responses=len(items) // len(corpus["prompts"]))


def load_style_preferences(
    n_users: int = 200,
    n_pairs: PairCounts = 30,
    *,
    n_taste_types: int | None = None,
    taste_strength: float = 1.0,
    noise: float = 0.0,
    random_state: RandomState = 0,
) -> Bunch:
    """Load texts in different styles, with simulated users who have their own tastes in style.

    The texts are real: 60 everyday prompts, each answered six times with much the same substance in different
    styles, written for this package. Six traits between -1 and 1 say what each text is like. The users are simulated:
    the true reward of a text is ``taste @ traits``, in logits, and user u prefers a to b, two answers to one prompt,
    with probability ``sigmoid(tastes[u] @ (traits[a] - traits[b]))`` (Bradley-Terry). A taste is the population's
    mean plus a Gaussian deviation. A user meets no pair of answers twice before having met all 900.

    With the defaults the true tastes predict about 85 % of the choices, and the population's mean taste 63 %: the
    first is the most that a personalised model can hope for, the second the most that a pooled one can.

    Parameters
    ----------
    n_users : int, default=200
        Number of simulated users.
    n_pairs : int or (low, high), default=30
        Pairs of each user; for a tuple, each user's number is drawn from low to high, both included.
    n_taste_types : int, optional
        Draw that many deviations and give each user one of them at random; None draws one for each user. With few
        types, their average is some way from ``mean_taste``.
    taste_strength : float, default=1.0
        Standard deviation of tastes around their mean, in logits per unit of a trait; 0 gives all users one taste.
    noise : float, default=0.0
        Lapse rate: share of choices, from 0 to 1, that are made by tossing a coin.
    random_state : int, numpy Generator, RandomState, or None, default=0
        The same integer gives the same data.

    Returns
    -------
    Bunch
        episodes : EpisodeSet
            Over all 360 texts, ``episodes.items``, each a (prompt, response); the group of a pair is its prompt.
        tastes : (n_users, 6) array
            True taste of each user, in logits per unit of a trait.
        taste_names : list of str
            Names of the traits: length, warmth, structure, formality, examples, hedging.
        mean_taste : (6,) array
            The population's mean taste.
        taste_type : (n_users,) int array, or None
            Type of each user, where `n_taste_types` is given.
        traits : (360, 6) array
            What each text of ``episodes.items`` is like.
        rewards : (n_users, 360) array
            True rewards, ``tastes @ traits.T``, in logits.
        DESCR : str
            Where texts, traits and users come from.

    Raises
    ------
    ValueError
        If parameters are out of their range; all of them are listed.

    See Also
    --------
    oracle_accuracy : How well the true tastes, or the mean taste, predict the choices.

    Examples
    --------
    >>> data = load_style_preferences(n_users=20, n_pairs=8)
    >>> data.episodes
    EpisodeSet(n_users=20, n_pairs=160, n_items=360, texts)
    >>> data.episodes[0].prompts[0], data.tastes.shape
    (..., (20, 6))
    """
    problems = [
        *integer_problems("n_users", n_users),
        *pair_count_problems(n_pairs),
        *([] if n_taste_types is None else integer_problems("n_taste_types", n_taste_types)),
        *number_problems("taste_strength", taste_strength),
        *number_problems("noise", noise, high=1.0),
        *random_state_problems(random_state),
    ]
    raise_all(problems, "load_style_preferences")

    rng = as_generator(random_state)
    corpus = read_corpus()
    mean_taste = np.array([_MEAN_TASTE[name] for name in corpus.trait_names])
    taste_type = None if n_taste_types is None else rng.integers(n_taste_types, size=n_users)
    deviations = taste_strength * rng.standard_normal((n_taste_types or n_users, len(mean_taste)))
    tastes = mean_taste + (deviations if taste_type is None else deviations[taste_type])
    columns = draw_choices(tastes, corpus.traits, corpus.n_responses, n_pairs, noise, rng)
    return Bunch(
        episodes=EpisodeSet(users=user_ids(n_users), items=list(corpus.items), shared_groups=True, **columns),
        tastes=tastes,
        taste_names=list(corpus.trait_names),
        mean_taste=mean_taste,
        taste_type=taste_type,
        traits=corpus.traits.copy(),
        rewards=tastes @ corpus.traits.T,
        DESCR=_DESCR,
    )
