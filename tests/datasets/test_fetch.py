"""Public data sets: read from small files of the true schemas, to known pairs and the paper's splits."""

import json
import re
import sys
from importlib import import_module

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skmrm.datasets import (
    fetch_community_alignment,
    fetch_mt_bench_judgments,
    fetch_personal_llm,
    fetch_polis,
    fetch_prism,
    fetch_reddit_tldr,
)
from skmrm.datasets._community_alignment import _COLUMNS as COMMUNITY_COLUMNS
from skmrm.datasets._community_alignment import COMMUNITY_ALIGNMENT_REVISION
from skmrm.datasets._fetch_splits import split_by_group, split_by_part
from skmrm.datasets._mt_bench import MT_BENCH_REVISION
from skmrm.datasets._personal_llm_users import REWARD_MODELS
from skmrm.datasets._polis import POLIS_REVISION, parse_polis
from skmrm.datasets._prism import parse_prism
from skmrm.episodes import EpisodeSet

# -- files of the true schemas -------------------------------------------------------------------------------------


def prism_turn(turn, prompt, *answers):
    """Messages of a turn; an answer is (text, score, if_chosen)."""
    messages = [{"turn": turn, "role": "user", "content": prompt}]
    for place, (text, score, chosen) in enumerate(answers):
        messages.append(
            {
                "turn": turn,
                "role": "model",
                "content": text,
                "model_provider": "hub",
                "model_name": "m",
                "score": score,
                "if_chosen": chosen,
                "within_turn_id": place,
            }
        )
    return messages


def prism_conversation(user, name, *turns):
    return {
        "conversation_id": name,
        "user_id": user,
        "conversation_type": "unguided",
        "opening_prompt": turns[0][0]["content"],
        "conversation_turns": len(turns),
        "conversation_history": [message for turn in turns for message in turn],
        "open_feedback": "",
    }


def plain_prism(n_users=4, n_conversations=6):
    """Users u0, u1, ... with one-turn conversations of three answers each."""
    return [
        prism_conversation(
            f"u{u}",
            f"c{u}-{c}",
            prism_turn(0, f"ask {u} {c}", (f"good {u} {c}", 90, True), ("bad", 10, False), ("worse", 5, False)),
        )
        for u in range(n_users)
        for c in range(n_conversations)
    ]


def write_prism(folder, conversations, survey=None):
    folder.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(row) + "\n" for row in conversations)
    (folder / "conversations.jsonl").write_text(lines, encoding="utf-8")
    if survey is not None:
        (folder / "survey.jsonl").write_text("".join(json.dumps(row) + "\n" for row in survey), encoding="utf-8")
    return folder


def comparison(worker, post, good, bad, choice=0, **changes):
    texts = [good, bad] if choice == 0 else [bad, good]
    return {
        "info": {"id": f"t3_{post}", "post": post, "title": "t", "subreddit": "r", "site": None, "article": None},
        "summaries": [{"text": text, "policy": "sup2", "note": None} for text in texts],
        "choice": choice,
        "worker": worker,
        "batch": "batch3",
        "split": "train",
        "extra": {"confidence": None},
    } | changes


def write_parquet(path, rows):
    import pyarrow as pa
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)


def write_reddit(folder, train, validation):
    write_parquet(folder / "comparisons" / "train" / "0000.parquet", train)
    write_parquet(folder / "comparisons" / "validation" / "0000.parquet", validation)
    return folder


def community_row(user, name, *turns, lang="en", **changes):
    """A turn is (prompt, four answers, letter of the preferred one)."""
    row = dict.fromkeys(COMMUNITY_COLUMNS) | {
        "conversation_id": name,
        "annotator_id": user,
        "assigned_lang": lang,
        "annotator_country": "India",
    }
    for turn, (prompt, answers, preferred) in zip(("first", "second", "third", "fourth"), turns, strict=False):
        row[f"{turn}_turn_prompt"] = prompt
        row[f"{turn}_turn_preferred_response"] = preferred and f"response_{preferred}"
        row |= {f"{turn}_turn_response_{letter}": text for letter, text in zip("abcd", answers, strict=True)}
    return row | changes


def write_community(folder, rows):
    import csv

    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "community_alignment.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [*COMMUNITY_COLUMNS, "is_pregenerated_first_prompt"])
        writer.writeheader()
        writer.writerows(rows)
    return folder


def personal_rows(n_prompts, rng, tag=""):
    rows = []
    for p in range(n_prompts):
        row = {"prompt": f"prompt {tag}{p}", "prompt_id": p, "subset": "s"}
        for i in range(1, 9):
            row[f"response_{i}"] = f"answer {tag}{p} {i}"
            row[f"response_{i}_model"] = "m"
            row |= {f"response_{i}_{model}": float(rng.normal(3, 5)) for model in REWARD_MODELS}
        rows.append(row)
    return rows


def write_personal(folder, train, test):
    write_parquet(folder / "default" / "train" / "0000.parquet", train)
    write_parquet(folder / "default" / "test" / "0000.parquet", test)
    return folder


def write_rows(path, rows):
    import csv

    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


def write_polis(folder, votes, texts, topic="Town", question="What should change?"):
    """Votes are a dict of participant to a dict of statement to vote; texts one of statement to text."""
    ids = sorted({statement for cast in votes.values() for statement in cast} | texts.keys(), key=int)
    about = ["participant", "xid", "group-id", "n-comments", "n-votes", "n-agree", "n-disagree"]
    rows = [
        [person, "", 0, 1, len(cast), 0, 0, *(cast.get(statement, "") for statement in ids)]
        for person, cast in votes.items()
    ]
    write_rows(folder / "participants-votes.csv", [[*about, *ids], *rows])
    head = ["timestamp", "comment-id", "author-id", "agrees", "disagrees", "moderated", "comment-body"]
    write_rows(folder / "comments.csv", [head, *([1, name, 7, 0, 0, 1, text] for name, text in texts.items())])
    write_rows(
        folder / "summary.csv", [["topic", topic], ["views", 9], ["conversation-description", question], ["groups", 2]]
    )
    return folder


def everybody_votes(n_people=3, n_statements=12, agrees=lambda person, statement: statement % 2):
    return {
        person: {str(name): 1 if agrees(person, name) else -1 for name in range(n_statements)}
        for person in range(n_people)
    }


def numbered_texts(n_statements=12):
    return {str(name): f"statement {name}" for name in range(n_statements)}


def judgment(judge, a, b, winner, turn=1, question=81):
    """Answers of a and b are lists of one text a turn."""
    conversations = [
        [
            {"content": text, "role": role}
            for place, answer in enumerate(answers, start=1)
            for role, text in (("user", f"question {question}, turn {place}"), ("assistant", answer))
        ]
        for answers in (a, b)
    ]
    return {
        "question_id": question,
        "model_a": "gpt-4",
        "model_b": "llama-13b",
        "winner": winner,
        "judge": judge,
        "conversation_a": conversations[0],
        "conversation_b": conversations[1],
        "turn": turn,
    }


def write_judgments(folder, human, gpt4=None):
    write_parquet(folder / "data" / "human-00000-of-00001-25f4.parquet", human)
    if gpt4 is not None:
        write_parquet(folder / "data" / "gpt4_pair-00000-of-00001-c0b4.parquet", gpt4)
    return folder


def pairs_of(episodes, user):
    """(messages or text of the prompt, chosen, rejected) of a user's pairs."""
    (row,) = np.flatnonzero(episodes.users == user)
    found = []
    for pair in range(episodes.offsets[row], episodes.offsets[row + 1]):
        prompt, chosen = episodes.items[episodes.chosen[pair]]
        other, rejected = episodes.items[episodes.rejected[pair]]
        assert prompt == other
        found.append((list(getattr(prompt, "messages", [])) or prompt, chosen, rejected))
    return found


# -- PRISM -----------------------------------------------------------------------------------------------------------


def test__fetch_prism__turns_with_history__become_chosen_against_each_rejected(tmp_path):
    conversation = prism_conversation(
        "ann",
        "c1",
        prism_turn(0, "Hi?", ("A", 90, True), ("B", 40, False), ("C", 30, False), ("D", 20, False)),
        prism_turn(1, "More?", ("E", 10, False), ("F", 80, True)),
    )
    data = fetch_prism(data_dir=write_prism(tmp_path, [conversation]), min_conversations=1)
    first, later = [("user", "Hi?")], [("user", "Hi?"), ("assistant", "A"), ("user", "More?")]
    assert pairs_of(data.episodes, "ann") == [
        (first, "A", "B"),
        (first, "A", "C"),
        (first, "A", "D"),
        (later, "F", "E"),
    ]
    assert len(set(data.episodes.group)) == 1
    assert data.episodes.n_items == 6
    assert data.revision is None
    assert data.users is None


def test__fetch_prism__turns_in_any_order__are_read_by_their_number(tmp_path):
    turns = [
        prism_turn(0, "Hi?", ("A", 9, True), ("B", 4, False)),
        prism_turn(1, "So?", ("C", 9, True), ("D", 4, False)),
    ]
    forwards, backwards = (
        parse_prism([prism_conversation("ann", "c", *order)], min_conversations=1) for order in (turns, turns[::-1])
    )
    assert pairs_of(forwards.episodes, "ann") == pairs_of(backwards.episodes, "ann")


def test__fetch_prism__what_says_nothing__is_dropped_and_counted(tmp_path):
    conversations = [
        prism_conversation(
            "ann",
            "c1",
            prism_turn(0, "No rejected", ("A", 90, True)),
            prism_turn(1, "Tie", ("B", 50, True), ("C", 50, False), ("D", 10, False)),
            prism_turn(2, "Same text", ("E", 50, True), ("E", 10, False)),
            prism_turn(3, "Nobody chosen", ("F", 50, False), ("G", 10, False)),
        ),
        prism_conversation("ann", "c2", prism_turn(0, "Alone", ("A", 90, True))),
        prism_conversation("bo", "c3", prism_turn(0, "Alone", ("A", 90, True), ("B", 90, False))),
    ]
    folder = write_prism(tmp_path, conversations)
    data = fetch_prism(data_dir=folder, min_conversations=1, ties="drop")
    # The incomplete first turn is not in the history either.
    assert pairs_of(data.episodes, "ann") == [([("user", "Tie")], "B", "D")]
    assert data.episodes.users.tolist() == ["ann"]
    assert data.dropped == {
        "turns without a choice": 3,
        "ties": 2,
        "pairs of one text": 1,
        "conversations without a choice": 1,
        "users with too little": 0,
    }
    kept = fetch_prism(data_dir=folder, min_conversations=1)
    assert [pair[1:] for pair in pairs_of(kept.episodes, "ann")] == [("B", "C"), ("B", "D")]
    assert kept.episodes.users.tolist() == ["ann", "bo"]
    assert kept.episodes.outcome.tolist() == [0, 1, 0]
    as_chosen = fetch_prism(data_dir=folder, min_conversations=1, ties="choice").episodes
    assert (as_chosen.n_pairs, as_chosen.outcome) == (3, None)
    with pytest.raises(ValueError, match='ties must be "keep", "choice" or "drop", got True'):
        fetch_prism(data_dir=folder, ties=True)


def test__fetch_prism__users_with_too_few_conversations__are_left_out(tmp_path):
    rows = plain_prism(3, 6)[:-1]  # the last user has five
    data = fetch_prism(data_dir=write_prism(tmp_path, rows, survey=[{"user_id": "u0", "age": "18"}, {"user_id": "u9"}]))
    assert data.episodes.users.tolist() == ["u0", "u1"]
    assert data.dropped["users with too little"] == 1
    assert data.users == {"u0": {"user_id": "u0", "age": "18"}}
    with pytest.raises(ValueError, match="no user is left of 3"):
        fetch_prism(data_dir=tmp_path, min_conversations=7)


def test__fetch_prism__splits__halve_users_and_conversations(tmp_path):
    data = fetch_prism(data_dir=write_prism(tmp_path, plain_prism(6, 7)), n_splits=3, random_state=1)
    assert len(data.splits) == 3
    for split in data.splits:
        assert sorted([*split.seen, *split.unseen]) == list(range(6))
        assert len(split.seen) == 3
        support = data.episodes.take_pairs(split.support)
        for row in range(6):  # three of seven conversations, two pairs each
            assert len(set(support.group[support.user == row])) == 3
        assert np.array_equal(split.query, ~split.support)
    assert not np.array_equal(data.splits[0].support, data.splits[1].support)
    again = fetch_prism(data_dir=tmp_path, n_splits=3, random_state=1).splits
    assert all(np.array_equal(a.support, b.support) for a, b in zip(data.splits, again, strict=True))


# -- Reddit TL;DR ----------------------------------------------------------------------------------------------------


def test__fetch_reddit_tldr__choices__are_read_whichever_summary_was_chosen(tmp_path):
    train = [comparison("w", "post 1", "good", "bad"), comparison("w", "post 2", "fine", "poor", choice=1)]
    data = fetch_reddit_tldr(data_dir=write_reddit(tmp_path, train, [comparison("w", "post 3", "yes", "no")]))
    assert pairs_of(data.episodes, "w") == [
        ("post 1", "good", "bad"),
        ("post 2", "fine", "poor"),
        ("post 3", "yes", "no"),
    ]
    assert data.splits[0].support.tolist() == [True, True, False]
    assert data.splits[0].query.tolist() == [False, False, True]


def test__fetch_reddit_tldr__workers_of_one_part_and_articles__are_dropped(tmp_path):
    article = {"id": "a", "post": None, "title": None, "subreddit": None, "site": "cnn", "article": "news"}
    train = [comparison("both", "p1", "a", "b"), comparison("train only", "p1", "a", "b")]
    validation = [
        comparison("both", "p2", "a", "b"),
        comparison("validation only", "p2", "a", "b"),
        comparison("both", "", "a", "b", info=article),
        comparison("both", "p4", "same", "same"),
        comparison(None, "p5", "a", "b"),
    ]
    data = fetch_reddit_tldr(data_dir=write_reddit(tmp_path, train, validation))
    assert data.episodes.users.tolist() == ["both"]
    assert data.dropped == {
        "comparisons without a Reddit post": 1,
        "pairs of one text": 1,
        "comparisons without a worker, a choice or two summaries": 1,
        "users with too little": 2,
    }


def test__fetch_reddit_tldr__limits__hold_for_seen_and_unseen_workers(tmp_path):
    train = [comparison(f"w{w}", f"p{i}", f"a{i}", "b") for w in range(6) for i in range(12)]
    validation = [comparison(f"w{w}", f"v{i}", f"a{i}", "b") for w in range(6) for i in range(3)]
    data = fetch_reddit_tldr(
        data_dir=write_reddit(tmp_path, train, validation), seen_limit=8, unseen_limit=5, n_splits=2, min_pairs=12
    )
    for split in data.splits:
        n_support = np.bincount(data.episodes.user[split.support])
        assert (n_support[split.seen] == 8).all()
        assert (n_support[split.unseen] == 5).all()
        assert split.query.sum() == 18
        assert split.training(data.episodes).n_pairs == 24
    assert data.splits[0].support.tolist() != data.splits[1].support.tolist()


def test__fetch_reddit_tldr__post_in_both_parts__is_not_support(tmp_path):
    train = [comparison("w", "shared", "a", "b"), comparison("w", "own", "a", "b"), comparison("x", "shared", "a", "b")]
    validation = [comparison("w", "shared", "c", "d"), comparison("x", "other", "c", "d")]
    data = fetch_reddit_tldr(data_dir=write_reddit(tmp_path, train, validation))
    support = data.episodes.take_pairs(data.splits[0].support)
    assert [pair[0] for pair in pairs_of(support, "w")] == ["own"]
    assert [pair[0] for pair in pairs_of(support, "x")] == ["shared"]


# -- Community Alignment ---------------------------------------------------------------------------------------------


def test__fetch_community_alignment__turns__become_preferred_against_the_three_others(tmp_path):
    rows = [
        community_row("ann", "c1", ('Hi?\nTell me, "please"', "ABCD", "c"), ("More?", "EFGH", "a")),
        community_row("ann", "c2", ('Hi?\nTell me, "please"', "ABCD", "b")),
        community_row("bo", "c3", ("Ciao?", "ABCD", "d"), lang="it"),
    ]
    data = fetch_community_alignment(data_dir=write_community(tmp_path, rows))
    first = [("user", 'Hi?\nTell me, "please"')]
    later = [*first, ("assistant", "C"), ("user", "More?")]
    assert pairs_of(data.episodes, "ann") == [
        *((first, "C", other) for other in "ABD"),
        *((later, "E", other) for other in "FGH"),
        *((first, "B", other) for other in "ACD"),
    ]
    (ann,) = np.flatnonzero(data.episodes.users == "ann")
    assert len(set(data.episodes.group[data.episodes.user == ann])) == 1  # both conversations begin alike
    assert data.users["bo"]["country"] == "India"
    italian = fetch_community_alignment(data_dir=tmp_path, language="it")
    assert italian.episodes.users.tolist() == list(italian.users) == ["bo"]
    with pytest.raises(ValueError, match="language must be one of 'en', 'it', or None, got 'de'"):
        fetch_community_alignment(data_dir=tmp_path, language="de")


def test__fetch_community_alignment__gaps__end_the_conversation_and_are_counted(tmp_path):
    rows = [
        community_row("ann", "c1", ("1?", "ABCD", "a"), ("2?", "EFGH", None), ("3?", "IJKL", "a")),
        community_row("ann", "c2", ("4?", ["A", "B", None, "A"], "a")),
        community_row("ann", "c3", ("EMPTY STRING", "ABCD", "a")),
    ]
    data = fetch_community_alignment(data_dir=write_community(tmp_path, rows))
    assert [pair[1:] for pair in pairs_of(data.episodes, "ann")] == [("A", "B"), ("A", "C"), ("A", "D"), ("A", "B")]
    assert data.dropped == {
        "turns without a prompt or a preferred answer": 2,
        "answers without text": 1,
        "pairs of one text": 1,
        "users with too little": 0,
    }


# -- PersonalLLM -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def personal_folder(tmp_path_factory):
    rng = np.random.default_rng(0)
    return write_personal(tmp_path_factory.mktemp("personal"), personal_rows(30, rng), personal_rows(10, rng, "test "))


def test__fetch_personal_llm__choices__follow_the_true_weights(personal_folder):
    data = fetch_personal_llm(data_dir=personal_folder, n_users=40, n_test_pairs=7, random_state=1)
    episodes = data.episodes
    rewards = data.scores @ data.weights.T
    gaps = rewards[episodes.chosen, episodes.user] - rewards[episodes.rejected, episodes.user]
    assert (gaps > 0).all()
    assert np.allclose(data.weights.sum(1), 1)
    assert data.reward_models == sorted(data.reward_models)
    split = data.splits[0]
    assert len(split.seen) == 26
    is_test = np.array([episodes.items[row][0].startswith("prompt test") for row in episodes.chosen])
    assert np.array_equal(split.query, is_test)
    assert (np.bincount(episodes.user[is_test]) == 7).all()
    trained = np.bincount(episodes.user[~is_test])
    assert trained.min() >= 25
    assert trained.max() <= 50
    assert len(set(trained)) > 5


def test__fetch_personal_llm__scores__are_those_of_the_files_standardised(personal_folder):
    import pyarrow.parquet as pq

    table = pq.read_table(personal_folder / "default" / "train" / "0000.parquet").to_pandas()
    data = fetch_personal_llm(data_dir=personal_folder, n_users=20, random_state=2)
    row = next(i for i, (prompt, answer) in enumerate(data.episodes.items) if answer == "answer 3 5")
    for place, model in enumerate(data.reward_models):
        column = table[[f"response_{i}_{model}" for i in range(1, 9)]].to_numpy()
        expected = (column[3, 4] - column.mean()) / column.std()
        assert data.scores[row, place] == pytest.approx(expected)


def test__fetch_personal_llm__concentration__says_how_much_users_differ(personal_folder):
    sharp, flat = (fetch_personal_llm(data_dir=personal_folder, n_users=200, alpha=a).weights for a in (0.01, 100.0))
    assert sharp.max(1).mean() > 0.9
    assert flat.max(1).mean() < 0.2


def test__fetch_personal_llm__missing_scores_and_equal_rewards__are_dropped(tmp_path):
    train, test = (personal_rows(4, np.random.default_rng(1), tag) for tag in ("", "test "))
    train[0]["response_3_gemma_2b"] = None
    train[1]["response_8"] = ""
    for row in test:  # all answers have the same scores: every test pair is a tie
        row |= {f"response_{i}_{model}": 1.0 for i in range(1, 9) for model in REWARD_MODELS}
    data = fetch_personal_llm(data_dir=write_personal(tmp_path, train, test), n_users=3, n_pairs=5, n_test_pairs=2)
    assert {prompt for prompt, _ in data.episodes.items} == {"prompt 2", "prompt 3"}
    assert data.dropped == {"prompts without all texts and scores": 2, "ties": 6}
    assert data.episodes.n_pairs == 15


# -- Polis -----------------------------------------------------------------------------------------------------------


def test__fetch_polis__votes__become_all_pairs_of_agreed_and_disagreed_within_a_half(tmp_path):
    votes = everybody_votes(2, 12, agrees=lambda person, name: (name + person) % 2)
    votes[0] |= {"0": 0, "1": ""}  # passed, unseen
    data = fetch_polis(data_dir=write_polis(tmp_path, votes, numbered_texts()), min_statements=1, max_pairs=99)
    question = "Town. What should change?"
    halves = [set(), set()]
    for (prompt, text), half in _texts_with_halves(data.episodes):
        assert prompt == question
        halves[half].add(text)
    assert [len(half) for half in halves] == [6, 6]
    assert not halves[0] & halves[1]
    for person, user in ((0, "0"), (1, "1")):
        expected = {
            (question, f"statement {better}", f"statement {worse}")
            for better, liked in votes[person].items()
            for worse, disliked in votes[person].items()
            for half in halves
            if (liked, disliked) == (1, -1) and {f"statement {better}", f"statement {worse}"} <= half
        }
        found = pairs_of(data.episodes, user)
        assert len(found) == len(set(found))
        assert set(found) == expected
    assert data.revision is None
    assert data.dropped == {
        "statements without text": 0,
        "statements of the same wording": 0,
        "users with too little": 0,
    }


def _texts_with_halves(episodes):
    for side in (episodes.chosen, episodes.rejected):
        yield from zip((episodes.items[row] for row in side), episodes.group.tolist(), strict=True)


def test__fetch_polis__groups_and_splits__hold_out_whole_statements_for_everybody(tmp_path):
    data = fetch_polis(
        data_dir=write_polis(tmp_path, everybody_votes(6, 40), numbered_texts(40)), n_splits=3, max_pairs=5
    )
    episodes = data.episodes
    assert (np.bincount(episodes.user) == 10).all()
    assert sorted(set(episodes.group.tolist())) == [0, 1]
    for split in data.splits:
        assert len(split.seen) == 3
        assert np.array_equal(split.query, episodes.group == 1)
        assert np.array_equal(split.support, episodes.group == 0)
        items = [
            {
                text
                for half_episodes in (episodes.take_pairs(side),)
                for (_, text), _ in _texts_with_halves(half_episodes)
            }
            for side in (split.support, split.query)
        ]
        assert not items[0] & items[1]
    assert {tuple(split.seen) for split in data.splits} != {tuple(data.splits[0].seen)}
    again = fetch_polis(data_dir=tmp_path, n_splits=3, max_pairs=5)
    assert again.episodes == episodes
    assert fetch_polis(data_dir=tmp_path, max_pairs=5, random_state=1).episodes != episodes


def test__fetch_polis__same_wording__is_one_statement_and_contradictions_say_nothing(tmp_path):
    texts = numbered_texts(16) | {"14": "  statement\n0 ", "15": ""}
    votes = everybody_votes(3, 14) | {"16": {}}
    votes[0]["14"], votes[1]["14"], votes[2]["14"] = -1, 1, 0  # all disagreed with the first of them
    for cast in votes.values():
        cast["15"] = 1
        cast["17"] = -1  # a statement that comments.csv does not have
    data = fetch_polis(data_dir=write_polis(tmp_path, votes, texts), min_statements=1, max_pairs=99)
    judged = {
        user: {text for pair in pairs_of(data.episodes, user) for text in pair[1:]} for user in data.episodes.users
    }
    assert {user: "statement 0" in texts for user, texts in judged.items()} == {"0": True, "1": False, "2": True}
    assert all(pair[1] != "statement 0" for pair in pairs_of(data.episodes, "0"))
    assert "" not in set().union(*judged.values())
    assert data.dropped == {
        "statements without text": 2,
        "statements of the same wording": 1,
        "people with too few statements agreed or disagreed with": 1,
        "users with too little": 0,
    }


def test__fetch_polis__people_who_hardly_voted__are_left_out(tmp_path):
    votes = everybody_votes(2, 12)
    votes["keen"] = dict.fromkeys(map(str, range(12)), 1)
    folder = write_polis(tmp_path, votes, numbered_texts())
    kept = fetch_polis(data_dir=folder, min_statements=1)
    assert kept.episodes.users.tolist() == ["0", "1"]
    assert kept.dropped["people with too few statements agreed or disagreed with"] == 1
    with pytest.raises(ValueError, match=r"no user is left of 0 .*'people with too few statements .*': 3"):
        fetch_polis(data_dir=folder, min_statements=4)


@pytest.mark.parametrize(
    ("topic", "question", "prompt"),
    [
        ("Brexit?", "Is there\n\nconsensus?", "Brexit? Is there consensus?"),
        ("A town", "", "A town"),
        ("", "Why?", "Why?"),
        (None, None, ""),
    ],
)
def test__fetch_polis__prompt__is_topic_and_question(tmp_path, topic, question, prompt):
    write_polis(tmp_path, everybody_votes(1), numbered_texts(), topic, question)
    if topic is None:
        (tmp_path / "summary.csv").unlink()
    data = fetch_polis(data_dir=tmp_path, min_statements=1)
    assert {item[0] for item in data.episodes.items} == {prompt}


def test__fetch_polis__another_file__says_what_it_must_be(tmp_path):
    write_polis(tmp_path, {"7": {"0": "agree", "1": 1}}, numbered_texts(2))
    with pytest.raises(ValueError, match=r"votes on statement 0 must be '1', '-1', '0' or empty, got 'agree'"):
        fetch_polis(data_dir=tmp_path)
    (tmp_path / "participants-votes.csv").write_text("timestamp,comment-id,vote\n1,2,1\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"participants-votes.csv must have 1 columns; 'participant' missing"):
        fetch_polis(data_dir=tmp_path)


@settings(max_examples=40)
@given(st.data(), st.integers(0, 99))
def test__parse_polis__any_votes__pairs_are_of_one_half_and_of_what_was_said(data, seed):
    n_people, n_statements = data.draw(st.integers(1, 5)), data.draw(st.integers(2, 9))
    cell = st.sampled_from(["1", "-1", "0", None])
    votes = {
        str(name): data.draw(st.lists(cell, min_size=n_people, max_size=n_people)) for name in range(n_statements)
    } | {"participant": [f"p{i}" for i in range(n_people)]}
    comments = {
        "comment-id": [str(i) for i in range(n_statements)],
        "comment-body": [f"s{i}" for i in range(n_statements)],
    }
    limits = {"max_pairs": data.draw(st.integers(1, 6)), "min_statements": data.draw(st.integers(1, 2))}
    try:
        pairs = parse_polis(votes, comments, random_state=seed, **limits)
    except ValueError as error:
        assert "no user is left" in str(error)  # noqa: PT017
        return
    half = {}
    for (_, text), which in _texts_with_halves(pairs.episodes):
        assert half.setdefault(text, which) == which
    for user in pairs.episodes.users:
        person, found = int(user[1:]), pairs_of(pairs.episodes, user)
        assert len(found) == len(set(found))
        for _, chosen, rejected in found:
            assert (votes[chosen[1:]][person], votes[rejected[1:]][person]) == ("1", "-1")
        (row,) = np.flatnonzero(pairs.episodes.users == user)
        n_pairs = np.bincount(pairs.episodes.group[pairs.episodes.user == row], minlength=2)
        assert (n_pairs >= min(limits["max_pairs"], limits["min_statements"] ** 2)).all()
        assert (n_pairs <= limits["max_pairs"]).all()
    # The order of columns is that of the file, and says nothing.
    turned = parse_polis(dict(reversed(votes.items())), comments, random_state=seed, **limits)
    assert turned.episodes == pairs.episodes


# -- MT-Bench --------------------------------------------------------------------------------------------------------


def test__fetch_mt_bench_judgments__votes__are_for_the_answer_in_the_turn(tmp_path):
    rows = [
        judgment("expert_1", ["A1", "A2"], ["B1", "B2"], "model_b"),
        judgment("expert_1", ["A1", "A2"], ["B1", "B2"], "model_a", turn=2),
        judgment("expert_1", ["S", "A2"], ["S", "B2"], "model_b", turn=2, question=82),
        judgment("author_0", ["A1", "A2"], ["B1", "B2"], "model_a"),
    ]
    data = fetch_mt_bench_judgments(data_dir=write_judgments(tmp_path, rows))
    asked = [("user", "question 81, turn 1")]
    later = ("user", "question 81, turn 2")
    first, second, third = pairs_of(data.episodes, "expert_1")
    assert (first[0], *map(str, first[1:])) == (asked, "B1", "A1")
    # The first answers differ, so that they are part of the responses.
    assert second[0] == asked
    assert second[1].messages == (("assistant", "A1"), later, ("assistant", "A2"))
    assert second[2].messages == (("assistant", "B1"), later, ("assistant", "B2"))
    assert third[0] == [("user", "question 82, turn 1"), ("assistant", "S"), ("user", "question 82, turn 2")]
    assert [str(text) for text in third[1:]] == ["B2", "A2"]
    assert [str(text) for text in pairs_of(data.episodes, "author_0")[0][1:]] == ["A1", "B1"]
    # Questions are groups, and the same for both judges.
    assert data.episodes.group.tolist() == [0, 0, 1, 0]
    assert data.n_ties == 0


def test__fetch_mt_bench_judgments__ties_and_what_says_nothing__are_counted(tmp_path):
    both = (["A1", "A2"], ["B1", "B2"])
    rows = [
        judgment("expert_1", *both, "model_a"),
        judgment("expert_1", *both, "tie"),
        judgment("expert_2", *both, "tie (inconsistent)", turn=2),
        judgment("expert_2", ["A1"], ["B1", "B2"], "model_a", turn=2),
        judgment("expert_2", *both, "model_c"),
        judgment(None, *both, "model_a"),
        judgment("expert_2", *both, "model_a", turn=0),
        judgment("expert_2", [""], ["B1"], "model_b"),
        judgment("expert_2", ["same"], ["same"], "model_b"),
        judgment("expert_2", *both, "model_b"),
    ]
    data = fetch_mt_bench_judgments(data_dir=write_judgments(tmp_path, rows))
    assert data.n_ties == 2
    assert data.dropped == {
        "votes without a judge, a winner or an answer": 5,
        "pairs of one text": 1,
        "users with too little": 0,
    }
    assert data.episodes.users.tolist() == ["expert_1", "expert_2"]
    assert data.episodes.outcome.tolist() == [1, 0, 0, 1]
    assert sorted([*data.splits[0].seen, *data.splits[0].unseen]) == [0, 1]


def test__fetch_mt_bench_judgments__gpt4__is_a_judge_on_demand(tmp_path):
    both = (["A1", "A2"], ["B1", "B2"])
    human = [judgment("expert_1", *both, "model_a"), judgment("expert_1", *both, "model_a", question=82)]
    write_judgments(tmp_path, [*human, judgment("expert_2", *both, "model_a")])
    assert fetch_mt_bench_judgments(data_dir=tmp_path).episodes.users.tolist() == ["expert_1", "expert_2"]
    assert fetch_mt_bench_judgments(data_dir=tmp_path, min_pairs=2).episodes.users.tolist() == ["expert_1"]
    with pytest.raises(FileNotFoundError, match=r"must hold files 'data/gpt4_pair-\*.parquet', found none"):
        fetch_mt_bench_judgments(data_dir=tmp_path, include_gpt4=True)
    write_judgments(tmp_path, human, [judgment("gpt4_pair", *both, "tie"), judgment("gpt4_pair", *both, "model_b")])
    data = fetch_mt_bench_judgments(data_dir=tmp_path, include_gpt4=True)
    assert data.episodes.users.tolist() == ["expert_1", "gpt4_pair"]
    assert data.n_ties == 1


# -- laws of the splits ----------------------------------------------------------------------------------------------


@st.composite
def sets(draw):
    """Episodes with few groups, so that many are shared, and the part of each pair."""
    n_users = draw(st.integers(2, 6))
    n_pairs = draw(st.integers(0, 40))
    user = sorted(draw(st.lists(st.integers(0, n_users - 1), min_size=n_pairs, max_size=n_pairs)))
    column = st.lists(st.integers(-2, 3), min_size=n_pairs, max_size=n_pairs)
    group, part = draw(column), [value > 0 for value in draw(column)]
    zeros = np.zeros(n_pairs, int)
    episodes = EpisodeSet(
        users=range(n_users), user=user, chosen=zeros, rejected=zeros + 1, group=group, features=np.eye(2)
    )
    return episodes, np.array(part, np.int64)


@settings(max_examples=60)
@given(sets(), st.booleans(), st.integers(0, 99))
def test__splits__any_set__keep_groups_apart_and_users_whole(drawn, by_part, seed):
    episodes, part = drawn
    if by_part:
        splits = split_by_part(episodes, part, 2, seed, seen_limit=3, unseen_limit=1)
    else:
        splits = split_by_group(episodes, 2, seed)
    block = [*zip(episodes.user.tolist(), episodes.group.tolist(), strict=True)]
    for split in splits:
        assert sorted([*split.seen, *split.unseen]) == list(range(episodes.n_users))
        assert not (split.support & split.query).any()
        support, query = ({block[i] for i in np.flatnonzero(side)} for side in (split.support, split.query))
        assert not support & query
        if not by_part:
            assert (split.support | split.query).all()
            for row in range(episodes.n_users):
                n_groups = len({b for b in block if b[0] == row})
                assert sum(b[0] == row for b in support) == n_groups // 2


@settings(max_examples=40)
@given(sets(), st.integers(0, 99))
def test__paper_split__training_and_judged__partition_what_the_split_names(drawn, seed):
    episodes, part = drawn
    (split,) = split_by_part(episodes, part, 1, seed, seen_limit=2, unseen_limit=2)
    train = split.training(episodes)
    assert set(train.users) <= set(split.seen)
    assert train.n_pairs == split.support[np.isin(episodes.user, split.seen)].sum()
    for seen, rows in ((True, split.seen), (False, split.unseen)):
        test, query = split.judged(episodes, seen=seen)
        assert test.users.tolist() == rows.tolist()
        mine = np.isin(episodes.user, rows)
        kept = (split.support | split.query) & mine
        assert np.array_equal(test.group, episodes.group[kept])
        assert np.array_equal(query, split.query[kept])


# -- finding files ---------------------------------------------------------------------------------------------------


def test__download__cache_of_the_hub__is_read_without_network(tmp_path):
    """The Hub's own cache layout: a branch names a commit, and the commit's folder holds the files."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    repo = tmp_path / "datasets--HannahRoseKirk--prism-alignment"
    write_prism(repo / "snapshots" / commit, plain_prism())
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(commit, encoding="utf-8")
    data = fetch_prism(data_home=tmp_path, download_if_missing=False)
    assert data.revision == commit
    assert data.episodes.n_users == 4
    assert fetch_prism(data_home=tmp_path, revision=commit, download_if_missing=False).episodes == data.episodes
    with pytest.raises(OSError, match=r"fetch_prism: .*prism-alignment at revision 'v2' is not in the cache"):
        fetch_prism(data_home=tmp_path, revision="v2", download_if_missing=False)


@pytest.mark.parametrize(
    ("fetch", "repo", "patterns"),
    [
        (fetch_prism, "HannahRoseKirk/prism-alignment", {"conversations.jsonl", "survey.jsonl"}),
        (
            fetch_reddit_tldr,
            "openai/summarize_from_feedback",
            {"comparisons/train/*.parquet", "comparisons/validation/*.parquet"},
        ),
        (fetch_community_alignment, "facebook/community-alignment-dataset", {"community_alignment.csv"}),
        (fetch_personal_llm, "namkoong-lab/PersonalLLM", {"*/train/*.parquet", "*/test/*.parquet"}),
        (fetch_mt_bench_judgments, "lmsys/mt_bench_human_judgments", {"data/human-*.parquet"}),
    ],
)
def test__download__no_network__says_what_was_tried_and_what_to_do(fetch, repo, patterns, monkeypatch):
    import huggingface_hub

    asked = {}

    def offline(repo_id, **options):
        asked.update(options, repo_id=repo_id)
        raise huggingface_hub.errors.LocalEntryNotFoundError("Got: ConnectError: Name or service not known\nmore")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(
        OSError, match=rf"{fetch.__name__}: could not download {repo}.*check the network.*data_dir"
    ) as caught:
        fetch(revision="abc", data_home="somewhere")
    assert "more" not in str(caught.value)
    assert asked["repo_id"] == repo
    assert asked["repo_type"] == "dataset"
    assert asked["revision"] == "abc"
    assert asked["cache_dir"] == "somewhere"
    assert set(asked["allow_patterns"]) == patterns
    assert asked["local_files_only"] is False


@pytest.fixture
def web(monkeypatch):
    """Addresses and what they give, bytes or an exception, in place of the network; and a list of what was asked."""
    import io
    import urllib.request

    pages, asked = {}, []

    def urlopen(url, timeout):
        asked.append(url)
        assert timeout > 0
        page = pages.get(url, urllib.request.HTTPError(url, 404, "Not Found", {}, None))
        if isinstance(page, bytes):
            return io.BytesIO(page)
        raise page

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    return pages, asked


def polis_pages(folder, revision, conversation):
    address = f"https://raw.githubusercontent.com/compdemocracy/openData/{revision}/{conversation}"
    return {f"{address}/{path.name}": path.read_bytes() for path in folder.iterdir()}


def test__download__plain_addresses__are_asked_once_and_kept_whole(tmp_path, web, monkeypatch):
    pages, asked = web
    folder = write_polis(tmp_path / "files", everybody_votes(), numbered_texts())
    pages |= polis_pages(folder, POLIS_REVISION, "brexit-consensus")
    options = {"conversation": "brexit-consensus", "min_statements": 1}
    with pytest.raises(OSError, match=r"fetch_polis: 'participants-votes.csv', .* not in the cache.*data_dir"):
        fetch_polis(data_home=tmp_path / "home", download_if_missing=False, **options)
    assert asked == []
    data = fetch_polis(data_home=tmp_path / "home", **options)
    assert sorted(asked) == sorted(pages)
    assert data.revision == POLIS_REVISION
    assert data.episodes == fetch_polis(data_dir=folder, min_statements=1).episodes
    assert "2018-kentucky" not in data.DESCR
    assert fetch_polis(data_home=tmp_path / "home", download_if_missing=False, **options).episodes == data.episodes
    assert len(asked) == 3
    cached = [path for path in (tmp_path / "home").rglob("*") if path.is_file()]
    assert sorted(path.name for path in cached) == ["comments.csv", "participants-votes.csv", "summary.csv"]
    # Another revision is another folder; without data_home it is in the user's cache.
    pages |= polis_pages(folder, "main", "brexit-consensus")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert fetch_polis(revision="main", **options).episodes == data.episodes
    assert len(asked) == 6
    assert len(list((tmp_path / "cache" / "skmrm").rglob("main/brexit-consensus/*.csv"))) == 3


def test__download__plain_address_fails__names_file_address_and_remedy(tmp_path, web):
    import http.client
    import urllib.error

    pages, _ = web
    address = f"https://raw.githubusercontent.com/compdemocracy/openData/{POLIS_REVISION}"
    name = "brexit-consensus/participants-votes.csv"
    remedy = r".*check the network and the revision, or download .*'comments.csv'.* by hand and .*data_dir"
    failures = [
        (urllib.error.URLError("Name or service not known"), "URLError: .*Name or service not known"),
        (TimeoutError("timed out"), "TimeoutError: timed out"),
        (http.client.IncompleteRead(b"partic"), "IncompleteRead"),
    ]
    for failure, reason in failures:
        pages[f"{address}/{name}"] = failure
        expected = rf"could not download 'participants-votes.csv' from {address}/{name} \({reason}{remedy}"
        with pytest.raises(OSError, match=expected):
            fetch_polis(conversation="brexit-consensus", data_home=tmp_path)
    with pytest.raises(OSError, match=r"could not download 'participants-votes.csv' from .*/main/.*404"):
        fetch_polis(revision="main", data_home=tmp_path)
    # The files that the package knows must be those.
    folder = write_polis(tmp_path / "files", everybody_votes(), numbered_texts())
    pages |= polis_pages(folder, POLIS_REVISION, "american-assembly.bowling-green")
    with pytest.raises(OSError, match=r"'participants-votes.csv' .*its SHA-256 is \w{64} and must be 63c6e3.*by hand"):
        fetch_polis(data_home=tmp_path / "home")
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("revision", [COMMUNITY_ALIGNMENT_REVISION, POLIS_REVISION, MT_BENCH_REVISION])
def test__revision__that_is_pinned__is_a_commit(revision):
    assert re.fullmatch(r"[0-9a-f]{40}", revision)


def test__data_dir__missing_folder_or_files__is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="data_dir must be an existing folder, got"):
        fetch_prism(data_dir=tmp_path / "nowhere")
    with pytest.raises(
        FileNotFoundError, match=r"must hold files 'conversations.jsonl', found none: copy the files of"
    ):
        fetch_prism(data_dir=tmp_path)


def test__files__without_pyarrow__says_what_to_install(tmp_path, monkeypatch):
    folder = write_community(tmp_path, [community_row("ann", "c1", ("Hi?", "ABCD", "a"))])
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"fetch_community_alignment reads files with pyarrow.*pip install"):
        fetch_community_alignment(data_dir=folder)


@pytest.mark.parametrize(
    "module", ["_prism", "_reddit_tldr", "_community_alignment", "_personal_llm", "_polis", "_mt_bench"]
)
def test__descr__of_every_loader__names_source_licence_and_what_to_cite(module):
    described = import_module(f"skmrm.datasets.{module}")
    text = described._DESCR
    assert described._SOURCE.page in text
    assert "\nLicence: " in text
    assert re.search(r"\nCite: .*\d{4}.*(arXiv \d{4}\.\d{5}|doi 10\.\d+/\w+)", text, flags=re.DOTALL)


# -- bad files and bad parameters ------------------------------------------------------------------------------------


def test__files__another_schema__names_what_is_missing(tmp_path):
    row = plain_prism(1, 1)[0]
    del row["conversation_history"]
    with pytest.raises(
        ValueError, match=r"line 1 of conversations.jsonl must have 3 columns; 'conversation_history' missing.*revision"
    ):
        fetch_prism(data_dir=write_prism(tmp_path / "a", [row]))
    rows = [{"info": {"post": "p"}, "summaries": [], "label": 0}]
    with pytest.raises(ValueError, match=r"fetch_reddit_tldr: 0000.parquet .*'choice', 'worker' missing, it has"):
        fetch_reddit_tldr(data_dir=write_reddit(tmp_path / "b", rows, rows))
    (tmp_path / "community_alignment.csv").write_text("conversation_id,assigned_lang\n1,en\n", encoding="utf-8")
    with pytest.raises(
        ValueError, match=r"community_alignment.csv must have 33 columns; 'annotator_id'.* more missing"
    ):
        fetch_community_alignment(data_dir=tmp_path)


def test__files__not_json__says_where(tmp_path):
    (tmp_path / "conversations.jsonl").write_text("\n<!DOCTYPE html>\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"line 2 of .*conversations.jsonl is not JSON"):
        fetch_prism(data_dir=tmp_path)
    (tmp_path / "conversations.jsonl").write_text("[1]\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"must be a JSON object, got '\[1\]'"):
        fetch_prism(data_dir=tmp_path)


def test__parameters__out_of_bounds__are_all_listed_before_any_work():
    nowhere = {"data_dir": "/does/not/exist", "n_splits": -1, "random_state": "x"}
    calls = [
        (fetch_prism, {"min_conversations": 0, "min_pairs": 0}, 4),
        (fetch_reddit_tldr, {"seen_limit": 0, "unseen_limit": 1.5, "min_pairs": 0}, 5),
        (fetch_community_alignment, {"min_pairs": None}, 3),
        (fetch_personal_llm, {"n_users": 0, "n_pairs": (3, 2), "n_test_pairs": 0, "alpha": 0}, 6),
        (fetch_polis, {"conversation": "../a", "revision": "", "max_pairs": 0, "min_statements": 2.5}, 6),
        (fetch_mt_bench_judgments, {"min_pairs": 0}, 3),
    ]
    for fetch, options, count in calls:
        with pytest.raises(ValueError, match=f"^{fetch.__name__}: " + "; ".join([".*"] * count) + "$"):
            fetch(**nowhere, **options)
