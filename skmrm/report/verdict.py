"""The verdict of a report: what the comparisons say, in words, and no more than they say."""

from __future__ import annotations

from collections.abc import Sequence

from skmrm.metrics import Interval
from skmrm.model_selection.curve import Comparison

__all__ = ["MIN_USERS", "effect", "percent", "points", "reached_by_enough", "size_key", "word_verdict"]

_IN_FIT = "These are new choices of users who were in fit; of new users they say nothing."
MIN_USERS = 10  # with fewer, resampling users says too little to call anything more than noise


def word_verdict(
    comparisons: Sequence[Comparison],
    *,
    reference: str,
    adaptive: bool,
    n_judged: int,
    median_support: float,
    mute: str = "",
    in_fit: bool = False,
) -> str:
    """Say whether adapting helps, with how many choices, and for how many users.

    Parameters
    ----------
    comparisons : sequence of Comparison
        With simultaneous intervals, so that any of them may be quoted.
    reference : str
        What the model is compared with, in words.
    adaptive : bool
        Whether adapting changes any prediction.
    n_judged : int
        Number of users who are judged at all.
    median_support : float
        Number of support pairs that the median user has.
    mute : str
        Pairs of which every one holds the same response twice, in words: "pairs", "query pairs"; empty if none are so.
    in_fit : bool
        Whether the users were in fit.

    Returns
    -------
    str
        One to five sentences.
    """
    if mute:
        return (
            f"Nothing can be said: in all {mute} the chosen and the rejected response are the same, and such pairs say "
            "nothing of taste. Bring pairs of different responses."
        )
    whose = [_IN_FIT] if in_fit else []
    if not adaptive:
        return " ".join([_word_unadaptive(comparisons, reference), *whose])
    if n_judged < MIN_USERS:
        users = "1 user is" if n_judged == 1 else f"{n_judged} users are"
        return f"Too few users to tell: {users} judged, and at least {MIN_USERS} are needed to tell a gain from noise."
    rows = sorted((row for row in comparisons if row.n_support != 0 and reached_by_enough(row, n_judged)), key=size_key)
    if not rows:
        return "Nothing can be said of adapting: at no number of choices above 0 are half of the users judged."
    headline = rows[-1]
    sentences = [_word_headline(headline, reference, median_support), *_word_smaller(rows)]
    return " ".join([*sentences, *_word_before(comparisons, reference), *whose])


def reached_by_enough(row: Comparison, n_judged: int) -> bool:
    """Whether at least half of the users, and enough of them to tell, have as many choices."""
    return row.n_users >= max(MIN_USERS, n_judged / 2)


def size_key(row: Comparison) -> float:
    """Order by number of choices, all of them last."""
    return float("inf") if row.n_support is None else row.n_support


def effect(gain: Interval) -> str:
    """Which side of zero an interval lies on: "helps", "harms" or "none"."""
    return "helps" if gain.low > 0 else "harms" if gain.high < 0 else "none"


def points(gain: Interval) -> str:
    """A difference of accuracies in percentage points: ``+1.4 points [0.8, 2.0]``."""
    estimate, low, high = (round(100 * value, 1) + 0.0 for value in (gain.estimate, gain.low, gain.high))
    return f"{estimate:+.1f} points [{low:.1f}, {high:.1f}]"


def percent(share: float) -> str:
    """A fraction as a whole percentage: ``61 %``; what is there is never rounded to nothing."""
    return "under 1 %" if 0 < share < 0.005 else f"{100 * share:.0f} %"


def _word_unadaptive(comparisons: Sequence[Comparison], reference: str) -> str:
    words = "The model is not adaptive: it chose no personalisation, and no number of choices changes its predictions."
    row = max(comparisons, key=lambda row: row.n_users)
    if not (row.gain.low < 0 or row.gain.high > 0):  # the same, or of one user, who has no bounds
        return words
    return f"{words} Against {reference} it makes {points(row.gain)}."


def _word_headline(row: Comparison, reference: str, median_support: float) -> str:
    says = {"helps": "helps", "harms": "harms", "none": "makes no difference beyond noise"}[effect(row.gain)]
    over = "over" if row.gain.low > 0 else "against"
    amount = _choices(row.n_support)
    if row.n_support is None:
        amount += f" (the median user has {median_support:.3g})"
    shares = f"{percent(row.helped)} of users are helped, {percent(row.hurt)} hurt"
    return f"Adapting on {amount} {says}: {points(row.gain)} {over} {reference}; {shares}."


def _word_smaller(rows: Sequence[Comparison]) -> list[str]:
    """What holds at smaller numbers of choices than the largest; rows ascend."""
    headline = effect(rows[-1].gain)
    first = len(rows) - 1
    while first > 0 and effect(rows[first - 1].gain) == headline:
        first -= 1
    rest, sentences = rows[:first], []
    if first < len(rows) - 1:
        says = {"helps": "It helps", "harms": "It harms", "none": "The same holds"}[headline]
        sentences.append(f"{says} from {_choices(rows[first].n_support)} on.")
    found = {effect(row.gain) for row in rest}
    if found == {"none"}:
        below = _choices(rows[first].n_support) if rows[first].n_support is not None else "that"
        return [*sentences, f"Below {below} there is no difference beyond noise."]
    for kind, says in (("helps", "it helps"), ("harms", "it harms"), ("none", "there is no difference beyond noise")):
        same = [row for row in rest if effect(row.gain) == kind]
        if same:
            gains = "" if kind == "none" else f" ({'; '.join(points(row.gain) for row in same)})"
            sentences.append(f"With {_listed(same)} {says}{gains}.")
    return sentences


def _word_before(comparisons: Sequence[Comparison], reference: str) -> list[str]:
    """A model that is better or worse without any choice owes that part of its gain to something else."""
    for row in comparisons:
        if row.n_support == 0 and effect(row.gain) != "none":
            better = "better" if row.gain.low > 0 else "worse"
            return [f"Before any choice the model is already {better} than {reference}: {points(row.gain)}."]
    return []


def _choices(n_support: int | None) -> str:
    if n_support is None:
        return "all of a user's choices"
    return "1 choice" if n_support == 1 else f"{n_support} choices"


def _listed(rows: Sequence[Comparison]) -> str:
    *others, last = [str(row.n_support) for row in rows]
    return f"{', '.join(others)} and {last} choices" if others else _choices(rows[-1].n_support)
