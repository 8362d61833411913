"""Words for statistics of style: what more and less of each is called, and in which steps people think of it."""

from __future__ import annotations

from math import log
from typing import NamedTuple

__all__ = ["WORDS", "Words", "words_of_feature"]

_TWICE = log(2.0)  # of a logarithm, and of a rate log(1 + occurrences per hundred words) from none to one
_TENTH = log(1.1)


class Words(NamedTuple):
    """How to speak of a statistic.

    Attributes
    ----------
    more, less : str
        Answers with more of it, and with less.
    step : float
        What an effect is for, in the unit of the statistic.
    for_more, for_less : str
        The step in words, up and down.
    """

    more: str
    less: str
    step: float
    for_more: str
    for_less: str


def words_of_feature(name: str, deviation: float) -> Words:
    """For a column of features, of which no more is known than its name and its standard deviation."""
    step = "for one standard deviation"
    return Words(f"higher {name}", f"lower {name}", deviation, step, step)


def _frequent(what: str) -> Words:
    return Words(f"more {what}", f"fewer {what}", _TWICE, "for twice as many", "for half as many")


def _rare(what: str) -> Words:
    """Most texts have none: the step is from none to one in a hundred words, which is twice where there are many."""
    one = "one in 100 words"
    return Words(f"more {what}", f"fewer {what}", _TWICE, f"for {one} instead of none", f"for none instead of {one}")


def _share(more: str, less: str, step: float, of: str) -> Words:
    return Words(more, less, step, f"for {of} more", f"for {of} less")


# Name of the statistic -> its words, in the order of the statistics.
WORDS: dict[str, Words] = {
    "log_words": Words("longer answers", "shorter answers", _TWICE, "for twice the words", "for half the words"),
    "log_characters": Words(
        "longer answers", "shorter answers", _TWICE, "for twice the characters", "for half the characters"
    ),
    "log_sentences": _frequent("sentences"),
    "log_lines": _frequent("lines"),
    "log_sentence_length": Words(
        "longer sentences", "shorter sentences", _TWICE, "for twice the words in each", "for half the words in each"
    ),
    "log_word_length": Words("longer words", "shorter words", _TENTH, "for a tenth more letters", "for a tenth fewer"),
    "vocabulary_richness": Words(
        "more varied words", "more repeated words", _TENTH, "for a tenth more distinct words", "for a tenth fewer"
    ),
    "list_items": _share("more in lists", "less in lists", 0.5, "half of the lines"),
    "headings": _share("more headings", "fewer headings", 0.1, "a tenth of the lines"),
    "lowercase_starts": _share(
        "more sentences in lower case", "fewer sentences in lower case", 0.5, "half of the sentences"
    ),
    "unfinished": Words(
        "no full stop at the end", "a full stop at the end", 1.0, "as opposed to one", "as opposed to none"
    ),
    "long_words": _frequent("long words"),
    "latinate_words": _frequent("learned words"),
    "numbers": _rare("numbers"),
    "capitalised_words": _frequent("capitalised words"),
    "all_caps_words": _rare("words in capitals"),
    "contractions": _rare("contractions"),
    "stop_words": _frequent("small words, such as “the”"),
    "first_person_singular": _rare("words such as “I” and “my”"),
    "first_person_plural": _rare("words such as “we” and “our”"),
    "second_person": _rare("words such as “you”"),
    "third_person": _rare("words such as “they”"),
    "reasons": _rare("reasons, such as “because”"),
    "negations": _rare("negations"),
    "hedges": _rare("hedges, such as “maybe”"),
    "boosters": _rare("boosters, such as “really”"),
    "obligations": _rare("obligations, such as “should”"),
    "contrasts": _rare("contrasts, such as “but”"),
    "additions": _rare("additions, such as “also”"),
    "examples": _rare("examples, such as “for instance”"),
    "courtesies": _rare("courtesies, such as “please”"),
    "positive_words": _rare("positive words"),
    "negative_words": _rare("negative words"),
    "evidence": _rare("words of evidence, such as “study”"),
    "informal_words": _rare("informal words"),
    "spelling_slips": _rare("slips of spelling"),
    "commas": _frequent("commas"),
    "exclamations": _rare("exclamation marks"),
    "questions": _rare("question marks"),
    "quotations": _rare("quotation marks"),
    "parentheses": _rare("parentheses"),
    "colons": _rare("colons and semicolons"),
    "dashes": _rare("dashes"),
    "ellipses": _rare("ellipses"),
    "emphases": _rare("marks of bold type"),
    "code_marks": _rare("marks of code"),
    "links": _rare("links"),
    "emojis": _rare("emojis"),
    "spacing_slips": _rare("slips of spacing"),
    "prompt_overlap": _share(
        "more words of the prompt", "fewer words of the prompt", 0.1, "a tenth of all words in common"
    ),
    "prompt_coverage": _share("more of the prompt taken up", "less of the prompt taken up", 0.5, "half of its words"),
    "log_length_ratio": Words(
        "longer answers for their prompt",
        "shorter answers for their prompt",
        _TWICE,
        "for twice the words",
        "for half the words",
    ),
}
