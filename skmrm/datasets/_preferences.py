"""One function that reads preferences in whatever known form they come, and says which it is."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from skmrm._support.wording import counted, name_some
from skmrm.datasets._asked import Asked
from skmrm.datasets._recognise import recognised
from skmrm.episodes import EpisodeSet
from skmrm.episodes.files import open_source
from skmrm.exceptions import EpisodeError

__all__ = ["read_preferences"]


def read_preferences(
    source: Any,
    format: str = "auto",
    *,
    user: Hashable | None = None,
    question: str | None = None,
    words: Mapping[Any, str] | None = None,
    scale: Sequence[Any] | None = None,
    min_pairs: int = 1,
    verbose: bool = True,
) -> EpisodeSet:
    r"""Read preferences as tools and public data sets write them, and say which format it is.

    Parameters
    ----------
    source : path, or any table that :func:`skmrm.episodes_from_frame` takes
        A file (.csv, .tsv, .json, .jsonl, .ndjson, .parquet or .arrow; those of text also with .gz behind), or a folder
        of such files, which are read as one. In CSV all cells are texts, so that "001" and "1" are two users.
    format : str, default="auto"
        "auto" takes the first format that fits; see Notes for their names.
    user : str, optional
        The column, or the field of a record, that says whose a row is. None takes that of the format, or, where it
        names nobody, a column of a usual name, such as "user_id", "annotator" or "judge". If there is none, all rows
        are of one user, "everyone", and there is nothing to personalise.
    question : str, optional
        Which question to read where people were asked several: of a labelling tool, an aspect of MultiPref ("overall",
        "helpful", "truthful", "harmless"), or a score of UltraFeedback ("overall_score", "helpfulness" ...).
    words : mapping, optional
        What further words for winners mean: "a", "b" or "tie".
    scale : sequence, optional
        Levels of ratings, from the worst to the best; see :func:`skmrm.episodes_from_ratings`.
    min_pairs : int, default=1
        Fewest pairs that a user may have.
    verbose : bool, default=True
        Whether to print one line: the format, why it is that, what was found, what was left out, and who the users are.

    Returns
    -------
    EpisodeSet
        Users in order of first appearance.

    Raises
    ------
    FileNotFoundError
        If there is no such file or folder.
    TypeError
        If `source` is no table that can be read.
    EpisodeError
        If a file cannot be read, no format fits (the nearest one is named, with what it lacks), or cells cannot be
        read.
    ImportError
        If a file takes pyarrow, which is not installed.

    Notes
    -----
    The formats, what each is known by, and how it is read:

    label_studio
        Tasks with ``data`` and ``annotations`` (JSON), or one annotation a row (JSON_MIN, CSV). Pairwise, ranker,
        rating, number and choices; the buckets of a ranker have no order, so that one alone may be filled. Users are
        who completed an annotation; cancelled ones do not count, and neither do predictions.
    argilla
        Records with ``fields`` and ``responses`` (JSON of Argilla 2 or 1), columns ``*.responses`` (a dataset of
        Argilla 2), or columns of answers (Argilla 1). Label, ranking and rating questions. Users are annotators; only
        what was submitted counts, where a file says so, which JSON of Argilla 2 does not.
    multipref
        ``text``, ``completion_a``, ``completion_b`` and columns ``*_annotations``. Users are evaluators; "clearly" and
        "slightly better" are two strengths, and ties are kept.
    prism
        ``conversations.jsonl`` or ``utterances.jsonl``: the chosen answer against each of the others, or a tie where
        the scores are equal.
    oasst
        Messages with ``parent_id`` and ``rank``, or trees of them: replies of the assistant to one message are a
        ranking. Ranks are of many people, of whom none is named; `user` may name a column of the message replied to.
    shp
        ``history``, ``human_ref_A``, ``human_ref_B`` and ``labels``, with ``score_ratio`` as strength. Voters are not
        named: users are the communities in ``domain``.
    ultrafeedback
        ``completions`` with scores, ``generations`` and ``ratings``, or ``chosen`` and ``rejected`` with
        ``score_chosen`` and ``score_rejected``. Scores of one row are a ranking with ties; their difference is the
        strength of a pair.
    arena
        ``conversation_a``, ``conversation_b`` and ``winner``; with ``turn``, up to the answer in it, as in MT-Bench. Or
        ``prompt``, ``response_a``, ``response_b`` and ``winner_model_a``, ``winner_model_b`` and ``winner_tie``. Users
        are judges, or sessions of evaluation, where a file has either.
    votes
        ``response_a``, ``response_b`` and ``winner``.
    kto
        ``prompt``, ``completion`` and ``label``: responses that somebody liked or did not.
    hh_rlhf
        ``chosen`` and ``rejected``, each a whole dialogue in one text that begins with "\n\nHuman:". The prompt is the
        turns that they share.
    pairs
        ``chosen`` and ``rejected``, with a ``prompt`` or without.

    Examples
    --------
    >>> from skmrm.datasets import read_preferences
    >>> vote = {"judge": "ann", "response_a": "Yes.", "response_b": "No.", "prompt": "Tea?"}
    >>> votes = [vote | {"winner": "model_a"}, vote | {"winner": "tie"}]
    >>> read_preferences(votes)
    read as 'votes': it has columns response_a, response_b and winner (2 pairs of 1 user, 1 tie); users are column
    'judge'
    EpisodeSet(n_users=1, n_pairs=2, n_items=2, texts)
    """
    if strange := [meaning for meaning in (words or {}).values() if meaning not in ("a", "b", "tie")]:
        raise EpisodeError(f"words must say what each word means, one of 'a', 'b', 'tie', got {name_some(strange)}")
    found = open_source(source)
    if found.n_rows == 0:
        raise EpisodeError(f"{found.name} has no rows: at least one is needed")
    form, reason = recognised(found.columns, format)
    asked = Asked(found.columns, user, question, words or {}, scale, min_pairs)
    try:
        read = form.read(asked)
    except EpisodeError as error:
        raise EpisodeError([f"{found.name}, read as {form.name!r}: {problem}" for problem in error.problems]) from error
    except ValueError as error:  # of a data set's own reader
        raise EpisodeError(f"{found.name}, read as {form.name!r}: {error}") from error
    if verbose:
        print(
            f"read as {form.name!r}: {reason} ({_counts(read.episodes)})" + "".join(f"; {note}" for note in read.notes)
        )
    return read.episodes


def _counts(episodes: EpisodeSet) -> str:
    rated = episodes.n_rated
    pairs = [counted(rated, "rating")] * (rated > 0) + [counted(episodes.n_pairs - rated, "pair")] * (
        rated < episodes.n_pairs
    )
    ties = f", {counted(episodes.n_ties, 'tie')}" if episodes.n_ties else ""
    return f"{' and '.join(pairs)} of {counted(episodes.n_users, 'user')}{ties}"
