"""What requests and answers look like, for a bundle of texts or one of feature vectors."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

import numpy as np
from limits import Limits
from pydantic import BaseModel, ConfigDict, Field, model_validator

_LARGEST = 1e9  # of a feature, so that no product overflows


class Adapted(BaseModel):
    user_id: str
    n_pairs: int = Field(description="Pairs and ratings that the weights are made from")
    n_bases: int = Field(description="Weights of a user, one for each base reward function")


class Scores(BaseModel):
    rewards: list[float] = Field(description="In the order of the request; only differences mean anything")
    units: Literal["logits"] = Field("logits", description="A difference of 1 is odds of e")
    known_user: bool = Field(description="False: these are the rewards of a user without choices")


class Ranking(Scores):
    order: list[int] = Field(description="Indices into the responses, best first; ties keep their order")


class Health(BaseModel):
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


def _said(pairs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Pairs without outcomes where none says one; beside those that do, a choice is one of the least strength."""
    if all(pair["outcome"] is None for pair in pairs):
        return [{name: value for name, value in pair.items() if name != "outcome"} for pair in pairs]
    return [pair | {"outcome": 1 if pair["outcome"] is None else pair["outcome"]} for pair in pairs]


class _Rated(_Strict):
    """What was said of a response that was judged alone."""

    rating: bool | float | Annotated[str, Field(max_length=100)] = Field(
        description="True or False for a thumb, or a level of the scale that the model was fitted on", examples=[True]
    )
    weight: float = Field(1.0, gt=0, le=_LARGEST, description="How often the rating counts")


class _Adapt(_Strict):
    """All that the user has said: choices of two, and ratings of one."""

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.pairs and not self.ratings:
            raise ValueError("pairs and ratings are both empty: send at least one")
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
            return _said([pair.model_dump() for pair in self.pairs]) + [one.model_dump() for one in self.ratings]

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

    return Forms("text", "texts", Adapt, Score, Rank)


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
            return _said(pairs) + [one.model_dump() | {"response": np.array(one.response)} for one in self.ratings]

    class Score(_Strict):
        """Feature vectors of responses."""

        features: list[vector] = Field(min_length=1, max_length=limits.items)

        def read(self) -> np.ndarray:
            return np.array(self.features)

    class Rank(Score):
        """Feature vectors of responses to one prompt."""

    return Forms("features", f"feature vectors of {n_features} numbers", Adapt, Score, Rank)


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
