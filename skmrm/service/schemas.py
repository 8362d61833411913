"""What requests and answers look like, for a bundle of texts or one of feature vectors."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from skmrm.service.limits import Limits

_LARGEST = 1e9  # of a feature, so that no product overflows
_MOST_USER_FEATURES = 1000
_LATEST = 1e18  # of times in whatever unit: nanoseconds of this century are

Time = Annotated[
    float | None,
    Field(ge=-_LATEST, le=_LATEST, description="When it was said, in any unit, for half_life; of all, or of none"),
]


class Adapted(BaseModel):
    """What the weights of a user are made from."""

    user_id: str
    n_pairs: int = Field(description="Pairs and ratings that the weights are made from")
    n_bases: int = Field(description="Weights of a user, one for each base reward function")


class Scores(BaseModel):
    """Rewards of responses."""

    rewards: list[float] = Field(description="In the order of the request; only differences mean anything")
    units: Literal["logits"] = Field(default="logits", description="A difference of 1 is odds of e")
    known_user: bool = Field(description="False: these are the rewards of a user without choices")


class Ranking(Scores):
    """Rewards of responses to one prompt, and their order."""

    order: list[int] = Field(description="Indices into the responses, best first; ties keep their order")


class AskedPair(BaseModel):
    """A comparison to ask for."""

    prompt: str | None = Field(description="What both answer; null for feature vectors")
    response_a: str | list[float]
    response_b: str | list[float]
    first: int = Field(description="Place of response_a among the candidates")
    second: int = Field(description="Place of response_b")
    information: float = Field(description="What the answer is expected to tell of the user, in bits; 1 at most")


class Questions(BaseModel):
    """Comparisons that would teach most about a user."""

    questions: list[AskedPair] = Field(description="The most telling first, each beside the answers to those before")
    n_pairs: int = Field(description="Pairs and ratings of the user that were taken into account")
    known_user: bool = Field(description="False: these are for a user without choices")


class ToldEffect(BaseModel):
    """A statistic of responses that the user likes more, or less, than the crowd does."""

    words: str = Field(description="What the user likes better than the crowd does", examples=["shorter answers"])
    per: str = Field(description="For which step", examples=["for half the words"])
    statistic: str
    effect: float = Field(description="What one step more adds, over what it adds to the crowd's reward")
    low: float | None = Field(description="Interval of the effect; null where the model defines no posterior")
    high: float | None
    crowd: float = Field(description="What the step adds to the crowd's reward")
    probability: float | None = Field(description="That the user's taste lies on this side of the crowd's")
    stated: bool = Field(description="Whether the model is sure enough to say so")
    leaning: bool = Field(description="Whether it is not, but likely")


class ToldResponse(BaseModel):
    """A response that gains or loses under the user's taste."""

    item: int = Field(description="Place among the responses that were sent, each counted once")
    prompt: str | None
    response: str | None
    difference: float = Field(description="The user's reward less the crowd's, against the responses compared with")
    low: float | None
    high: float | None


class Explained(BaseModel):
    """What has been learnt of a user."""

    text: str = Field(description="All of it, to be read")
    headline: str
    effects: list[ToldEffect] = Field(description="Those that are stated, those that are likely, then all others")
    gains: list[ToldResponse] = Field(description="Responses that gain most against the crowd, of those sent")
    losses: list[ToldResponse] = Field(description="Responses that lose most")
    n_choices: int
    n_items: int = Field(description="Over how many responses effects were computed")
    level: float | None = Field(description="Coverage of intervals; null where there are none")
    settled: float | None = Field(description="Share of what was not known of the user that the choices have settled")
    explained: float | None = Field(description="Share of the difference from the crowd that what is stated explains")
    explainable: float | None = Field(description="Share that all statistics explain together")
    adaptive: bool = Field(description="Whether the model found any differences between users")
    units: Literal["logits"] = Field(default="logits", description="Of effects and differences")
    known_user: bool = Field(description="False: this is a user without choices")


class ListedUser(BaseModel):
    """A user and how much was said."""

    user_id: str
    n_pairs: int = Field(description="Pairs and ratings that the weights are made from")


class UserList(BaseModel):
    """A page of users."""

    users: list[ListedUser] = Field(description="In the order of ids")
    after: str | None = Field(description="What to pass as `after` for the next page; null on the last one")


class UserData(ListedUser):
    """All that is kept of a user."""

    weights: list[float] = Field(description="One for each base reward function")
    gaps: list[list[float]] | None = Field(
        description="Of each choice, base rewards of the chosen response less those of the rejected one (of a rated "
        "one, less those of the bar); null where a version adapted the user that did not keep them"
    )
    said: dict[str, list[float]] | None = Field(description="Outcome, weight, time and rating of each choice, if told")
    shift: list[float] | None = Field(
        description="By how much what is known of the user besides moves the weights; null where nothing is"
    )
    asked: list[str] = Field(description="Keys of the comparisons that the labelling page asked for, without texts")


class PoolQuestion(BaseModel):
    """A comparison of the pool, to be shown."""

    key: str = Field(description="What the answer is sent with", examples=["0123456789abcdef"])
    prompt: str
    left: str = Field(description="The response to show on the left; which one that is, is drawn by chance")
    right: str
    information: float = Field(description="What the answer is expected to tell of the user, in bits; 1 at most")


class Labelling(BaseModel):
    """How far a user is, and what to ask next."""

    question: PoolQuestion | None = Field(description="Null where all comparisons of the pool have been asked")
    n_choices: int = Field(description="Choices that the user's weights are made from")
    n_asked: int = Field(description="Comparisons that were asked, those that were skipped among them")
    n_left: int = Field(description="Comparisons of the pool that were not asked yet")
    ties: bool = Field(description="Whether a tie is an answer: whether there were some in fit")


class Health(BaseModel):
    """What is served."""

    status: Literal["ok"] = "ok"
    kind: Literal["text", "features"] = Field(description="What the bundle scores")
    n_features: int
    n_bases: int
    n_users: int = Field(description="Users with weights")
    package_version: str = Field(description="Of the skmrm that exported the bundle")
    schema_version: int = Field(description="Of the bundle")


@dataclass(frozen=True)
class Forms:
    """Request bodies of one kind of bundle; `read` of each gives what `OnnxScorer` takes."""

    kind: Literal["text", "features"]
    takes: str
    adapt: type[BaseModel]
    score: type[BaseModel]
    rank: type[BaseModel]
    ask: type[BaseModel]

    def wrong_kind(self, body: Any) -> str | None:
        """What to say to a body that is of the other kind of bundle; None for any other body."""
        if _kind(body) in (self.kind, None):
            return None
        return f"this bundle takes {self.takes}, got {'texts' if self.kind == 'features' else 'feature vectors'}"


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True)  # "1.5" is no number, and 1 is no text


class _Said(_Strict):
    """What may be said of a pair beside which response was chosen."""

    outcome: int | None = Field(None, ge=0, le=20, description="0: a tie, 1: a choice, 2 and more: a stronger one")
    weight: float = Field(1.0, gt=0, le=_LARGEST, description="How often the pair counts")
    time: Time = None


def _said(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Pairs and ratings without what none says; beside pairs that have an outcome, a choice is the least strong one."""
    told = [row["outcome"] for row in rows if row.get("outcome") is not None]
    rows = [row | {"outcome": 1} if told and row.get("outcome", 0) is None else row for row in rows]
    return [{name: value for name, value in row.items() if value is not None} for row in rows]


class Answer(_Strict):
    """What the user answered to a comparison of the pool."""

    key: str = Field(pattern="^[0-9a-f]{16}$", description="Of the question", examples=["0123456789abcdef"])
    choice: Literal["left", "right", "tie", "skip"] = Field(description="Skip: it is not asked again, and says nothing")


class _Rated(_Strict):
    """What was said of a response that was judged alone."""

    rating: bool | float | Annotated[str, Field(max_length=100)] = Field(
        description="True or False for a thumb, or a level of the scale that the model was fitted on", examples=[True]
    )
    weight: float = Field(1.0, gt=0, le=_LARGEST, description="How often the rating counts")
    time: Time = None


Cell = bool | float | Annotated[str, Field(max_length=100)] | None


class _Adapt(_Strict):
    """What the user has said: choices of two, and ratings of one; and what is known of the user besides."""

    pairs: list[Any] = []
    ratings: list[Any] = []
    user_features: dict[str, Cell] | list[Cell] | None = Field(
        None,
        max_length=_MOST_USER_FEATURES,
        description="What is known of the user, under the names of the columns in fit, or in their order; what was "
        "sent before still counts if there are none",
    )

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        said = [*self.pairs, *self.ratings]
        if not said and self.user_features is None:
            raise ValueError("pairs and ratings are both empty: send at least one")
        if len({one.time is None for one in said}) > 1:
            raise ValueError("some pairs and ratings have a time and some have none: give all of them one, or none")
        return self


def text_forms(limits: Limits) -> Forms:
    """Bodies for bundles of texts."""
    text = Annotated[str, Field(max_length=limits.characters, examples=["Ten minutes."])]
    question = Annotated[str, Field(max_length=limits.characters, examples=["How do I boil an egg?"])]

    class Pair(_Said):
        prompt: question
        chosen: text
        rejected: text = Field(examples=["It depends! Maybe try seven, and see how you like it?"])

    class Rated(_Rated):
        prompt: question
        response: text

    class Adapt(_Adapt):
        pairs: list[Pair] = Field([], max_length=limits.pairs)
        ratings: list[Rated] = Field([], max_length=limits.pairs)

        def read(self) -> list[dict[str, Any]]:
            return _said([one.model_dump() for one in (*self.pairs, *self.ratings)])

    class Item(_Strict):
        prompt: question
        response: text

    class Score(_Strict):
        """Responses, each with its prompt."""

        items: list[Item] = Field(min_length=1, max_length=limits.items)

        def read(self) -> list[tuple[str, str]]:
            return [(item.prompt, item.response) for item in self.items]

    class Rank(_Strict):
        """Responses to one prompt."""

        prompt: question
        responses: list[text] = Field(min_length=1, max_length=limits.items)

        def read(self) -> list[tuple[str, str]]:
            return [(self.prompt, response) for response in self.responses]

    class Ask(_Strict):
        """Candidates for a comparison: responses to one prompt; or items, of which those to one prompt are compared."""

        prompt: question | None = None
        responses: list[text] = Field([], max_length=limits.items)
        items: list[Item] = Field([], max_length=limits.items)
        n: int = Field(1, ge=1, le=limits.questions, description="How many comparisons")

        @model_validator(mode="after")
        def _has_one_form(self) -> Self:
            if bool(self.items) == bool(self.responses) or (self.prompt is None) != (not self.responses):
                raise ValueError("send either a prompt and responses, or items")
            return self

        def read(self) -> tuple[list[Any], str | None]:
            items = [(item.prompt, item.response) for item in self.items]
            return items or self.responses, self.prompt

    return Forms("text", "texts", Adapt, Score, Rank, Ask)


def feature_forms(limits: Limits, n_features: int) -> Forms:
    """Bodies for bundles of feature vectors."""
    number = Annotated[float, Field(ge=-_LARGEST, le=_LARGEST, allow_inf_nan=False, examples=[0.5])]
    # Stops at the first mistake: a body of a few MB could make millions of them.
    vector = Annotated[list[number], Field(min_length=n_features, max_length=n_features, fail_fast=True)]

    class Pair(_Said):
        chosen: vector
        rejected: vector

    class Rated(_Rated):
        response: vector

    class Adapt(_Adapt):
        pairs: list[Pair] = Field([], max_length=limits.pairs)
        ratings: list[Rated] = Field([], max_length=limits.pairs)

        def read(self) -> list[dict[str, Any]]:
            sides = ("chosen", "rejected")
            pairs = [pair.model_dump() | {side: np.array(getattr(pair, side)) for side in sides} for pair in self.pairs]
            rated = [one.model_dump() | {"response": np.array(one.response)} for one in self.ratings]
            return _said(pairs + rated)

    class Vectors(_Strict):
        features: list[vector] = Field(min_length=1, max_length=limits.items)

    class Score(Vectors):
        """Feature vectors of responses."""

        def read(self) -> np.ndarray:
            return np.array(self.features)

    class Rank(Score):
        """Feature vectors of responses to one prompt."""

    class Ask(Vectors):
        """Feature vectors of candidates for a comparison."""

        n: int = Field(1, ge=1, le=limits.questions, description="How many comparisons")

        def read(self) -> tuple[np.ndarray, None]:
            return np.array(self.features), None

    return Forms("features", f"feature vectors of {n_features} numbers", Adapt, Score, Rank, Ask)


def _kind(body: Any) -> Literal["text", "features"] | None:
    """Which kind of bundle a body seems to be for."""
    if not isinstance(body, dict):
        return None
    if "features" in body:
        return "features"
    if "items" in body or "responses" in body:
        return "text"
    pairs = body.get("pairs") or body.get("ratings")
    pair = pairs[0] if isinstance(pairs, list) and pairs else None
    one = (pair.get("chosen") or pair.get("response")) if isinstance(pair, dict) else None
    return "text" if isinstance(one, str) else "features" if isinstance(one, list) else None
