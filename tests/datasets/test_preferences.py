"""Files of the schemas that tools and public sets write: from file to known choices, to a fit, to a report."""

import contextlib
import csv
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skmrm import MetaRewardModel, personalization_report, split_users
from skmrm.datasets import read_preferences
from skmrm.datasets._recognise import FORMATS, format_names
from skmrm.exceptions import EpisodeError

USERS = [f"user {number:02}" for number in range(24)]
TOPICS = ["tea", "cake", "rain", "trains", "chess", "bread", "poems", "maps"]
WARM, CURT = "Gladly! I would love to tell you about {}, my dear friend.", "{}. Look it up."


def votes():
    """(user, prompt, warm answer, curt answer, which is better: "warm", "curt" or "tie"), each user with a taste."""
    for number, user in enumerate(USERS):
        for place, topic in enumerate(TOPICS):
            taste = ("warm", "curt")[number % 2]
            better = "tie" if (place + number) % 8 == 0 else taste
            yield user, f"What about {topic}?", WARM.format(topic), CURT.format(topic), better


def sides():
    """The same, the warm answer first and second by turns: (user, prompt, a, b, winner "a", "b" or "tie")."""
    for place, (user, prompt, warm, curt, better) in enumerate(votes()):
        if place % 2:
            yield user, prompt, curt, warm, {"warm": "b", "curt": "a", "tie": "tie"}[better]
        else:
            yield user, prompt, warm, curt, {"warm": "a", "curt": "b", "tie": "tie"}[better]


def talk(prompt, answer):
    return [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]


# -- one function a format: rows of the true schema ----------------------------------------------------------------


def arena():
    """lmsys/chatbot_arena_conversations."""
    return [
        {
            "question_id": f"{row:032x}",
            "model_a": "vicuna-13b",
            "model_b": "koala-13b",
            "winner": {"a": "model_a", "b": "model_b", "tie": ("tie", "tie (bothbad)")[row % 2]}[winner],
            "judge": user,
            "conversation_a": talk(prompt, a),
            "conversation_b": talk(prompt, b),
            "turn": 1,
            "anony": True,
            "language": "English",
            "tstamp": 1682351591.1322,
        }
        for row, (user, prompt, a, b, winner) in enumerate(sides())
    ]


def mt_bench():
    """lmsys/mt_bench_human_judgments: both turns of a question, one of which was judged."""
    more = talk("And why?", "Because.")
    return [
        {
            "question_id": 81 + TOPICS.index(prompt.split()[-1][:-1]),
            "model_a": "gpt-4",
            "model_b": "alpaca-13b",
            "winner": {"a": "model_a", "b": "model_b", "tie": "tie"}[winner],
            "judge": user,
            "conversation_a": talk(prompt, a) + more,
            "conversation_b": talk(prompt, b) + more,
            "turn": 1,
        }
        for user, prompt, a, b, winner in sides()
    ]


def arena_lists():
    """lmsys/lmsys-arena-human-preference-55k, which names nobody; with a column of users beside it."""
    return [
        {
            "id": place,
            "prompt": json.dumps(["Hello.", prompt]),
            "response_a": json.dumps(["Hi!", a]),
            "response_b": json.dumps(["Hi!", b]),
            "winner_model_a": int(winner == "a"),
            "winner_model_b": int(winner == "b"),
            "winner_tie": int(winner == "tie"),
            "who": user,
        }
        for place, (user, prompt, a, b, winner) in enumerate(sides())
    ]


def flat_votes():
    names = ("user_id", "prompt", "response_a", "response_b", "winner")
    return [dict(zip(names, row, strict=True)) for row in sides()]


def hh_rlhf():
    """Anthropic/hh-rlhf, which names nobody; with a column of users beside it."""

    def dialogue(prompt, answer):
        return f"\n\nHuman: Hello.\n\nAssistant: Hi, how can I help?\n\nHuman: {prompt}\n\nAssistant: {answer}"

    return [
        {"chosen": dialogue(prompt, warm), "rejected": dialogue(prompt, curt), "who": user}
        if better == "warm"
        else {"chosen": dialogue(prompt, curt), "rejected": dialogue(prompt, warm), "who": user}
        for user, prompt, warm, curt, better in votes()
        if better != "tie"
    ]


def ultrafeedback():
    """openbmb/UltraFeedback: several completions of an instruction, with scores."""

    def completion(text, score):
        aspects = {"Rating": str(6 - score), "Rationale": "..."}
        annotations = {"helpfulness": aspects, "honesty": aspects}
        return {"response": text, "model": "m", "overall_score": score, "critique": "...", "annotations": annotations}

    return [
        {
            "source": "evol_instruct",
            "instruction": prompt,
            "models": ["m", "m", "m"],
            "completions": [
                completion(warm, {"warm": 4, "curt": 2, "tie": 3}[better]),
                completion(curt, {"warm": 2, "curt": 4, "tie": 3}[better]),
                completion("Nonsense.", 1),
            ],
            "who": user,
        }
        for user, prompt, warm, curt, better in votes()
    ]


def generations():
    """What distilabel writes."""
    return [
        {
            "instruction": prompt,
            "generations": [warm, curt],
            "ratings": {"warm": [5, 1], "curt": [1, 5], "tie": [3, 3]}[better],
            "who": user,
        }
        for user, prompt, warm, curt, better in votes()
    ]


def binarized():
    """HuggingFaceH4/ultrafeedback_binarized: messages with scores."""
    rows = []
    for user, prompt, warm, curt, better in votes():
        best, worst = (curt, warm) if better == "curt" else (warm, curt)
        chosen, rejected = talk(prompt, best), talk(prompt, worst)
        scores = {"score_chosen": 8.5, "score_rejected": 8.5 if better == "tie" else 4.0}
        rows.append({"prompt": prompt, "chosen": chosen, "rejected": rejected, **scores, "who": user})
    return rows


def multipref():
    """allenai/multipref: a row a comparison, two lists of annotations."""
    rows = {}
    strong = {"a": "A-is-clearly-better", "b": "B-is-slightly-better", "tie": "Tie"}
    for place, (user, prompt, warm, curt, better) in enumerate(votes()):
        winner = {"warm": "a", "curt": "b", "tie": "tie"}[better]
        row = {"comparison_id": prompt, "prompt_id": prompt, "text": prompt, "model_a": "m", "model_b": "n"}
        row |= {"completion_a": warm, "completion_b": curt, "category": "Open QA", "source": "sharegpt"}
        row |= {"normal_worker_annotations": [], "expert_worker_annotations": []}
        whose = ("normal_worker_annotations", "expert_worker_annotations")[place // 8 % 2]
        said = {"evaluator": user, "overall_pref": strong[winner], "overall_confidence": "fairly-confident"}
        said |= {"helpful_pref": "Tie", "time_spent": 87}
        rows.setdefault(prompt, row)[whose].append(said)
    return list(rows.values())


def prism():
    """HannahRoseKirk/prism-alignment, conversations.jsonl."""
    rows = []
    for place, (user, prompt, warm, curt, better) in enumerate(votes()):
        scores = {"warm": (90, 20), "curt": (20, 90), "tie": (50, 50)}[better]
        history = [{"turn": 0, "role": "user", "content": prompt}]
        for text, score, chosen in zip((warm, curt), scores, (better != "curt", better == "curt"), strict=True):
            history.append({"turn": 0, "role": "model", "content": text, "score": score, "if_chosen": chosen})
        rows.append({"conversation_id": f"c{place}", "user_id": user, "conversation_history": history})
    return rows


def prism_utterances():
    """The same, utterances.jsonl."""
    return [
        {
            "utterance_id": f"ut{place}{number}",
            "conversation_id": row["conversation_id"],
            "user_id": row["user_id"],
            "turn": 0,
            "within_turn_id": number,
            "user_prompt": row["conversation_history"][0]["content"],
            "model_response": answer["content"],
            "score": answer["score"],
            "if_chosen": answer["if_chosen"],
        }
        for place, row in enumerate(prism())
        for number, answer in enumerate(row["conversation_history"][1:])
    ]


def oasst():
    """OpenAssistant/oasst1: messages, of which replies are ranked; user_id is who wrote them."""
    rows = []
    for place, (user, prompt, warm, curt, better) in enumerate(votes()):
        own = {"message_tree_id": f"m{place}", "lang": "en", "synthetic": False, "who": user}
        asking = {"message_id": f"m{place}", "parent_id": None, "text": prompt, "role": "prompter", "rank": None}
        rows.append(own | asking | {"user_id": f"author {place}"})
        for number, text in enumerate((warm, curt)):
            rank = float(number if better == "warm" else 1 - number)
            answer = {"message_id": f"m{place}-{number}", "parent_id": f"m{place}", "text": text, "rank": rank}
            rows.append(own | answer | {"role": "assistant", "user_id": "somebody", "who": None})
    return rows


def oasst_trees():
    """The same, one tree a line."""
    rows = {}
    for message in oasst():
        if message["parent_id"] is None:
            rows[message["message_id"]] = {
                "message_tree_id": message["message_id"],
                "tree_state": "ready_for_export",
                "prompt": message | {"replies": []},
            }
        else:
            rows[message["parent_id"]]["prompt"]["replies"].append(message | {"replies": []})
    return list(rows.values())


def shp():
    """stanfordnlp/SHP: a subreddit's comments."""
    return [
        {
            "post_id": f"p{place}",
            "domain": f"{user.replace(' ', '')}_{('train', 'test')[place % 2]}",
            "history": prompt,
            "human_ref_A": a,
            "human_ref_B": b,
            "labels": int(winner == "a"),
            "score_A": 12,
            "score_B": 4,
            "score_ratio": 3.0 if place % 3 else 1.5,
        }
        for place, (user, prompt, a, b, winner) in enumerate(sides())
        if winner != "tie"
    ]


def kto():
    """KTO's rows: a completion, and whether it was liked."""
    return [
        {"prompt": prompt, "completion": text, "label": kind == better, "who": user}
        for user, prompt, warm, curt, better in votes()
        for kind, text in (("warm", warm), ("curt", curt))
    ]


def pairs():
    return [
        {"user_id": user, "prompt": prompt, "chosen": warm, "rejected": curt}
        if better == "warm"
        else {"user_id": user, "prompt": prompt, "chosen": curt, "rejected": warm}
        for user, prompt, warm, curt, better in votes()
        if better != "tie"
    ]


def records(value_of):
    """Records as Argilla shows them to all annotators, and what each said."""
    found = {}
    for user, prompt, warm, curt, better in votes():
        fields = {"instruction": prompt, "response-1": warm, "response-2": curt}
        found.setdefault(prompt, (fields, []))[1].append((user, value_of(better)))
    return list(found.values())


def argilla_label(better):
    return {"warm": "response-1", "curt": "response-2", "tie": "tie"}[better]


def argilla_order(better):
    return ["response-1", "response-2"] if better == "warm" else ["response-2", "response-1"]


def argilla_ranks(better):
    ranks = {"warm": (1, 2), "curt": (2, 1), "tie": (1, 1)}[better]
    return [{"rank": rank, "value": f"response-{place}"} for place, rank in enumerate(ranks, 1)]


def argilla(value_of=argilla_label, name="preference"):
    """dataset.records.to_json() of Argilla 2."""
    return [
        {
            "id": str(place),
            "fields": fields,
            "metadata": {"country": "FR"},
            "suggestions": {name: {"value": "response-1", "score": None, "agent": "gpt-4"}},
            "responses": {
                name: [{"value": value, "user_id": user} for user, value in said],
                "why": [{"value": "It reads better.", "user_id": said[0][0]}],
            },
            "vectors": {},
            "_server_id": "a6e0",
        }
        for place, (fields, said) in enumerate(records(value_of))
    ]


def argilla_dataset():
    """dataset.records.to_datasets() of Argilla 2, where statuses are."""
    rows = []
    for place, (fields, said) in enumerate(records(argilla_order)):
        users, values = [user for user, _ in said], [value for _, value in said]
        own = {"id": str(place), "status": "completed", "_server_id": "a6e0", "country": "FR"} | fields
        own |= {"preference.suggestion": None, "preference.suggestion.agent": None}
        own |= {"preference.responses": [*values, ["response-1", "response-2"]]}
        own |= {"preference.responses.users": [*users, "idler"]}
        rows.append(own | {"preference.responses.status": ["submitted"] * len(users) + ["discarded"]})
    return rows


def argilla_1():
    """FeedbackDataset.format_as("datasets") of Argilla 1, with a draft."""
    rows = []
    for place, (fields, said) in enumerate(records(argilla_ranks)):
        answers = [{"user_id": user, "value": value, "status": "submitted"} for user, value in said]
        answers.append({"user_id": "idler", "value": None, "status": "draft"})
        own = {"preference": answers, "preference-suggestion": None, "external_id": str(place), "metadata": "{}"}
        rows.append(fields | own)
    return rows


def argilla_1_records():
    """Records of Argilla 1 as dicts."""
    return [
        {
            "fields": fields,
            "metadata": {},
            "responses": [
                {"user_id": user, "values": {"preference": {"value": value}}, "status": "submitted"}
                for user, value in said
            ],
            "suggestions": [],
            "external_id": None,
        }
        for fields, said in records(argilla_label)
    ]


def argilla_ratings():
    """One response a record, rated from 1 to 5."""
    rows = []
    for user, prompt, warm, curt, better in votes():
        for kind, text in (("warm", warm), ("curt", curt)):
            said = [{"value": {"tie": 3, kind: 5}.get(better, 1), "user_id": user}]
            rows.append({"fields": {"prompt": prompt, "response": text}, "responses": {"quality": said}})
    return rows


def label_studio(result_of, data_of):
    """Label Studio's JSON: tasks, each annotated by all, one annotation cancelled."""
    tasks = {}
    for user, prompt, warm, curt, better in votes():
        task = {"id": len(tasks) + 1, "data": data_of(prompt, warm, curt), "annotations": [], "predictions": []}
        by = {"id": user, "email": f"{user}@example.org"} if user == USERS[0] else user
        said = {"completed_by": by, "was_cancelled": False, "ground_truth": False, "lead_time": 4.2}
        tasks.setdefault(prompt, task)["annotations"].append(said | {"result": result_of(better)})
    for task in tasks.values():
        task["annotations"].append({"completed_by": "idler", "was_cancelled": True, "result": []})
    return list(tasks.values())


def label_studio_pairwise():
    def result(better):
        value = {"selected": {"warm": "left", "curt": "right"}.get(better)}
        own = {"id": "x", "type": "pairwise", "from_name": "pw", "to_name": "text1,text2", "value": value}
        return [] if better == "tie" else [own]

    return label_studio(result, lambda prompt, warm, curt: {"prompt": prompt, "text1": warm, "text2": curt})


def label_studio_ranker():
    def result(better):
        order = ["w", "c"] if better == "warm" else ["c", "w"]
        return [{"type": "ranker", "from_name": "rank", "to_name": "items", "value": {"ranker": {"_": order}}}]

    def data(prompt, warm, curt):
        return {"prompt": prompt, "items": [{"id": "w", "title": "A", "body": warm}, {"id": "c", "body": curt}]}

    return label_studio(result, data)


def label_studio_choices():
    def result(better):
        value = {"choices": [{"warm": "A is better", "curt": "B is better", "tie": "Tie"}[better]]}
        return [{"type": "choices", "from_name": "best", "to_name": "p", "value": value}]

    return label_studio(result, lambda prompt, warm, curt: {"question": prompt, "answer_a": warm, "answer_b": curt})


def label_studio_ratings():
    rows = []
    for user, prompt, warm, curt, better in votes():
        for kind, text in (("warm", warm), ("curt", curt)):
            value = {"rating": {"tie": 3, kind: 5}.get(better, 1)}
            said = {"type": "rating", "from_name": "stars", "to_name": "r", "value": value}
            annotation = {"completed_by": user, "was_cancelled": False, "result": [said]}
            rows.append({"data": {"prompt": prompt, "response": text}, "annotations": [annotation]})
    return rows


def label_studio_rows():
    """Label Studio's JSON_MIN."""
    return [
        {
            "prompt": prompt,
            "text1": a,
            "text2": b,
            "id": place,
            "pw": {"a": "left", "b": "right"}[winner],
            "annotator": user,
            "annotation_id": place,
            "created_at": "2026-03-01T09:30:00Z",
            "lead_time": 3.1,
        }
        for place, (user, prompt, a, b, winner) in enumerate(sides())
        if winner != "tie"
    ]


# What builds a file, its format, who the users are, and whether it has ties.
CASES = {
    "arena": (arena, "arena", None, True),
    "mt_bench": (mt_bench, "arena", None, True),
    "arena_lists": (arena_lists, "arena", "who", True),
    "votes": (flat_votes, "votes", None, True),
    "hh_rlhf": (hh_rlhf, "hh_rlhf", "who", False),
    "ultrafeedback": (ultrafeedback, "ultrafeedback", "who", True),
    "generations": (generations, "ultrafeedback", "who", True),
    "binarized": (binarized, "ultrafeedback", "who", True),
    "multipref": (multipref, "multipref", None, True),
    "prism": (prism, "prism", None, True),
    "prism_utterances": (prism_utterances, "prism", None, True),
    "oasst": (oasst, "oasst", "who", False),
    "oasst_trees": (oasst_trees, "oasst", "who", False),
    "shp": (shp, "shp", None, False),
    "kto": (kto, "kto", "who", False),
    "pairs": (pairs, "pairs", None, False),
    "argilla": (argilla, "argilla", None, True),
    "argilla_dataset": (argilla_dataset, "argilla", None, False),
    "argilla_1": (argilla_1, "argilla", None, True),
    "argilla_1_records": (argilla_1_records, "argilla", None, True),
    "argilla_ratings": (argilla_ratings, "argilla", None, False),
    "label_studio_pairwise": (label_studio_pairwise, "label_studio", None, False),
    "label_studio_ranker": (label_studio_ranker, "label_studio", None, False),
    "label_studio_choices": (label_studio_choices, "label_studio", None, True),
    "label_studio_ratings": (label_studio_ratings, "label_studio", None, False),
    "label_studio_rows": (label_studio_rows, "label_studio", None, False),
}
# One response a row, rated: its columns are `episodes_from_ratings`'s.
RATED = ("kto", "argilla_ratings", "label_studio_ratings")


def written(folder, rows, name="data.json"):
    path = folder / name
    if name.endswith(".json"):
        path.write_text(json.dumps(rows), encoding="utf-8")
    elif name.endswith(".jsonl"):
        path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    elif name.endswith(".csv"):
        with path.open("w", encoding="utf-8", newline="") as file:
            table = csv.DictWriter(file, list(rows[0]))
            table.writeheader()
            table.writerows(rows)
    else:
        pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def said_by(episodes):
    """(user, better text, worse text, outcome) of each pair, as a set."""
    outcomes = episodes.outcome if episodes.outcome is not None else np.ones(episodes.n_pairs, int)
    columns = (episodes.user, episodes.chosen, episodes.rejected, outcomes)
    return {
        (episodes.users[user], str(episodes.items[a][1]), str(episodes.items[b][1]), min(outcome, 1))
        for user, a, b, outcome in zip(*(column.tolist() for column in columns), strict=True)
    }


def expected(ties):
    """The same of `votes`; of ties, either order."""
    found = set()
    for user, _, warm, curt, better in votes():
        if better == "tie":
            found |= {(user, warm, curt, 0), (user, curt, warm, 0)} if ties else set()
        else:
            found.add((user, warm, curt, 1) if better == "warm" else (user, curt, warm, 1))
    return found


@pytest.mark.parametrize("name", [name for name in CASES if name not in RATED])
def test__read__file_of_each_format__has_the_votes_of_its_users(name, tmp_path, capsys):
    build, form, user, ties = CASES[name]
    episodes = read_preferences(written(tmp_path, build()), user=user)
    line = capsys.readouterr().out
    assert line.startswith(f"read as {form!r}: it has ")
    assert line.count("\n") == 1
    assert f"of {len(USERS)} users" in line
    found = said_by(episodes)
    found = {row for row in found if "Nonsense." not in row}
    if name == "shp":
        found = {(f"{user[:4]} {user[4:]}", *rest) for user, *rest in found}
    if name in ("oasst", "oasst_trees", "argilla_dataset", "label_studio_ranker"):  # rankings without ties
        found = {row for row in found if (row[0], row[2], row[1], 0) not in expected(True)}
    wanted = expected(ties)
    assert {row for row in found if row[3]} == {row for row in wanted if row[3]}
    assert {row for row in found if not row[3]} <= wanted
    assert episodes.n_ties == (24 if ties else 0)


@pytest.mark.parametrize("name", RATED)
def test__read__file_of_ratings__has_a_level_for_each_response(name, tmp_path, capsys):
    build, form, user, _ = CASES[name]
    episodes = read_preferences(written(tmp_path, build()), user=user)
    assert capsys.readouterr().out.startswith(f"read as {form!r}: it has ")
    assert sorted(episodes.users) == USERS
    assert (episodes.n_rated, episodes.scale) == (384, (False, True) if name == "kto" else (1, 2, 3, 4, 5))
    levels = {
        (episodes.users[user], str(episodes.items[item][1])): level
        for user, item, level in zip(episodes.user, episodes.chosen, episodes.rating, strict=True)
    }
    for user, _, warm, curt, better in votes():
        both = levels[user, warm], levels[user, curt]
        thumbs = {"warm": (2, 1), "curt": (1, 2), "tie": (1, 1)}
        assert both == (thumbs if name == "kto" else {"warm": (5, 1), "curt": (1, 5), "tie": (3, 3)})[better]


@pytest.mark.parametrize("name", CASES)
def test__fit__file_of_each_format__to_a_report_that_finds_the_tastes(name, tmp_path):
    build, _, user, _ = CASES[name]
    episodes = read_preferences(written(tmp_path, build()), user=user, verbose=False)
    train, test = split_users(episodes, test_size=0.5, random_state=0)
    model = MetaRewardModel(random_state=0, kernel=None, device="cpu").fit(train)
    report = personalization_report(model, test, support_sizes=(0, None), n_splits=1)
    assert report.table["gain"].iloc[-1] > 0.1
    assert "helps" in report.verdict.lower()


# -- what each format says beside the choice -----------------------------------------------------------------------


def read(rows, **options):
    return read_preferences(rows, verbose=False, **options)


def test__arena__without_users__is_one_and_the_line_says_so(capsys):
    rows = [{name: cell for name, cell in row.items() if name != "judge"} for row in arena()]
    episodes = read_preferences(rows)
    assert list(episodes.users) == ["everyone"]
    assert capsys.readouterr().out == (
        "read as 'arena': it has columns conversation_a, conversation_b and winner (192 pairs of 1 user, 24 ties); no "
        "column names users, so that all are one, 'everyone': to personalise takes users, name their column with "
        "user='...'\n"
    )


def test__mt_bench__second_turn__is_answered_after_the_models_own_first_answers():
    row = mt_bench()[0] | {"turn": 2}
    row["conversation_b"] = [*row["conversation_a"][:3], {"role": "assistant", "content": "Why not?"}]
    (first, second) = read([row]).items
    assert first[0].messages == tuple((said["role"], said["content"]) for said in row["conversation_a"][:3])
    assert {str(first[1]), str(second[1])} == {"Because.", "Why not?"}


def test__mt_bench__both_turns_of_a_question__are_one_group():
    one = mt_bench()[1]
    episodes = read([one, one | {"turn": 2}, mt_bench()[2]])
    assert episodes.group.tolist() == [0, 0, 1]


def test__arena__votes_without_an_answer__are_left_out_and_counted(capsys):
    rows = arena()[:4]
    rows[0]["conversation_a"] = talk("Tea?", "")
    assert read_preferences(rows).n_pairs == 3
    assert "; left out: 1 vote without an answer; users are column 'judge'" in capsys.readouterr().out


def test__arena__lists__are_turns_of_a_conversation_and_one_outcome_is_true():
    rows = arena_lists()
    assert read(rows).items[0][0].messages == (("user", "Hello."), ("assistant", "Hi!"), ("user", "What about tea?"))
    rows[0]["response_a"] = '["Hi!", null]'
    assert read(rows).n_pairs == 191
    rows[1]["winner_tie"] = rows[1]["winner_model_a"] = 1
    with pytest.raises(EpisodeError, match=r"got no 1, or more than one \(1 row: 1\)"):
        read(rows)


def test__words__of_other_tongues__say_who_won():
    rows = [row | {"winner": {"a": "links", "b": "rechts", "tie": "egal"}[row["winner"]]} for row in flat_votes()]
    assert read(rows, words={"links": "a", "rechts": "b", "egal": "tie"}) == read(flat_votes())


def test__multipref__answers__have_two_strengths_and_any_aspect():
    found = read(multipref())
    assert np.bincount(found.outcome).tolist() == [24, 84, 84]
    assert read(multipref(), question="helpful").n_ties == 192
    with pytest.raises(EpisodeError, match="no annotation says anything as 'pretty_pref': pass question='overall'"):
        read(multipref(), question="pretty")


def test__shp__communities__are_users_whatever_the_split_and_ratios_are_strengths():
    episodes = read(shp())
    assert list(episodes.users) == [user.replace(" ", "") for user in USERS]
    assert np.bincount(episodes.outcome).tolist() == [0, 56, 112]
    assert read(shp(), user="post_id").n_users == 168


def test__hh_rlhf__dialogues__are_split_into_turns_and_share_their_prompt():
    ((prompt, response), _) = read(hh_rlhf()[:1]).items
    assert [role for role, _ in prompt.messages] == ["user", "assistant", "user"]
    assert prompt.messages[0] == ("user", "Hello.")
    assert response.messages == (("assistant", WARM.format("cake")),)


def test__ultrafeedback__scores__are_a_ranking_and_another_aspect_another_one():
    row = ultrafeedback()[1]  # warm 4, curt 2, nonsense 1; aspects the other way round
    best, worst = (row["completions"][place]["response"] for place in (0, 2))
    overall, honest = read([row]), read([row], question="honesty")
    assert (overall.n_pairs, overall.weight.round(3).tolist()) == (3, [0.778] * 3)
    assert overall.items[overall.chosen[0]][1] == best
    assert honest.items[honest.chosen[0]][1] == worst
    row["completions"][2] |= {"overall_score": "N/A"}
    assert read([row]).n_pairs == 1


def test__binarized__differences_of_scores__are_strengths():
    rows = binarized()[1:4]
    for row, score in zip(rows, (4.0, 6.5, 8.5), strict=True):
        row["score_rejected"] = score
    assert read(rows).outcome.tolist() == [2, 1, 0]
    rows[0]["score_rejected"] = 9
    with pytest.raises(
        EpisodeError, match=r"'score_chosen' .* less than in 'score_rejected' \(1 row: 0\).*format='pairs'"
    ):
        read(rows)
    assert read(rows, format="pairs").outcome is None


def test__oasst__prompt__is_the_thread_and_authors_are_no_users():
    thread = [
        {"message_id": "1", "parent_id": None, "text": "Hi", "role": "prompter", "rank": None, "user_id": "x"},
        {"message_id": "2", "parent_id": "1", "text": "Hello", "role": "assistant", "rank": 0, "user_id": "x"},
        {"message_id": "3", "parent_id": "2", "text": "Tea?", "role": "prompter", "rank": 0, "user_id": "x"},
        {"message_id": "4", "parent_id": "3", "text": "No.", "role": "assistant", "rank": 1, "user_id": "x"},
        {"message_id": "5", "parent_id": "3", "text": "Yes.", "role": "assistant", "rank": 0, "user_id": "y"},
    ]
    episodes = read(thread)
    assert list(episodes.users) == ["everyone"]
    assert [episodes.items[row][1] for row in (episodes.chosen[0], episodes.rejected[0])] == ["Yes.", "No."]
    assert episodes.items[0][0].messages == (("user", "Hi"), ("assistant", "Hello"), ("user", "Tea?"))


def test__argilla__drafts_and_discarded_answers__do_not_count(capsys):
    read_preferences(argilla_dataset())
    assert "left out: 8 discarded answers; users are annotators" in capsys.readouterr().out


def test__argilla__several_questions__must_be_told_apart():
    rows = argilla()
    for row in rows:
        row["responses"]["safer"] = [{"value": "response-1", "user_id": USERS[0]}]
    with pytest.raises(EpisodeError) as raised:
        read(rows)
    assert str(raised.value) == (
        "the table, read as 'argilla': several questions tell what people prefer, 'preference' (choice), 'why' "
        "(neither), 'safer' (choice): pass question='preference', or another one"
    )
    assert read(rows, question="safer").n_pairs == 8
    with pytest.raises(EpisodeError, match="question='why' must name a choice, a ranking or a rating, of 'preference'"):
        read(rows, question="why")


def test__argilla__several_ratings_of_a_record__are_a_ranking():
    rows = argilla()
    for row in rows:
        low = [{"value": 1, "user_id": user} for user in USERS]
        high = [{"value": 4, "user_id": user} for user in USERS]
        row["responses"] = {"rating-1": low, "rating-2": high}
    episodes = read(rows)
    assert episodes.n_pairs == 192
    assert {str(episodes.items[row][1]) for row in episodes.chosen} == {CURT.format(topic) for topic in TOPICS}


def test__argilla__best_of_three__is_two_pairs():
    fields = {"prompt": "Tea?", "reply_1": "Yes.", "reply_2": "No.", "reply_3": "Perhaps."}
    said = [{"value": "Response 3", "user_id": "ann"}, {"value": "tie", "user_id": "bo"}]
    episodes = read([{"fields": fields, "responses": {"best": said}}])
    assert (list(episodes.users), episodes.n_pairs) == (["ann"], 2)
    assert {str(episodes.items[row][1]) for row in episodes.chosen} == {"Perhaps."}


def test__argilla__thumbs_and_labels_of_one_response__are_ratings():
    def rows(*labels):
        fields = {"prompt": "Tea?", "response": "Yes."}
        said = [{"value": label, "user_id": str(place)} for place, label in enumerate(labels)]
        return [{"fields": fields, "responses": {"quality": said}}]

    assert read(rows("good", "bad")).rating.tolist() == [2, 1]
    assert read(rows("fine", "poor"), scale=["poor", "fair", "fine"]).rating.tolist() == [3, 1]
    with pytest.raises(EpisodeError, match=r"got 'meh' in 1 row.*: pass scale="):
        read(rows("good", "bad", "meh"))
    with pytest.raises(EpisodeError, match=r"got \{'a': 1\} in 1 row.*: pass scale="):
        read(rows("good", "bad", {"a": 1}))


def test__argilla__user__may_be_metadata_of_records():
    assert list(read(argilla(), user="country").users) == ["FR"]
    with pytest.raises(
        EpisodeError, match=r"user='land' is not a column of the table, whose columns are 'instruction'"
    ):
        read(argilla(), user="land")


def test__label_studio__annotator_as_an_object__is_the_same_by_id():
    assert sorted(read(label_studio_pairwise()).users) == USERS


def test__label_studio__ranker__has_no_order_between_buckets(capsys):
    rows = label_studio_ranker()
    result = rows[0]["annotations"][3]["result"][0]
    result["value"]["ranker"] = {"good": ["w"], "bad": ["c"]}
    assert read_preferences(rows).n_pairs == 191
    assert "; left out: 1 ranking in several buckets; left out: 8 cancelled annotations; " in capsys.readouterr().out
    result["value"]["ranker"] = {"_": [], "good": ["w", "c"]}
    assert read(rows).n_pairs == 192


def test__argilla__field_that_the_first_record_lacks__is_seen():
    rows = argilla()
    rows[0]["fields"] = {"response-1": "Yes.", "response-2": "No."}
    assert read(rows).items[0] == ("", "Yes.")
    rows[1]["fields"]["response-3"] = "Perhaps."
    with pytest.raises(EpisodeError, match=r"field 'response-3' must be readable in each row, got missing"):
        read(rows)


def test__label_studio__prompt_that_no_field_is__is_said(capsys):
    rows = label_studio_pairwise()
    for row in rows:
        row["data"]["subject"] = row["data"].pop("prompt")
    read_preferences(rows)
    assert "no field is a prompt, whose name begins with prompt, instruction, question or the like" in (
        capsys.readouterr().out
    )


# -- files and tables ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["json", "jsonl", "parquet"])
@pytest.mark.parametrize("name", CASES)
def test__read__same_rows_in_another_kind_of_file__are_the_same(name, ending, tmp_path):
    build, form, user, _ = CASES[name]
    if ending == "parquet" and form in ("argilla", "label_studio") and name not in ("argilla_dataset", "argilla_1"):
        pytest.skip("tools write these as JSON, which Parquet cannot hold")
    assert read(written(tmp_path, build(), f"data.{ending}"), user=user) == read(build(), user=user)


@pytest.mark.parametrize(
    "build", [flat_votes, hh_rlhf, shp, pairs, generations, arena, arena_lists, oasst, kto, label_studio_rows]
)
def test__read__csv__is_the_same_with_ids_as_texts(build, tmp_path):
    rows = build()
    for row in rows:
        row |= {name: json.dumps(cell) for name, cell in row.items() if isinstance(cell, list)}
    user = "who" if "who" in rows[0] else None
    assert read(written(tmp_path, rows, "data.csv"), user=user) == read(build(), user=user)


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow", "datasets"])
@pytest.mark.parametrize("build", [flat_votes, arena, multipref, ultrafeedback, argilla_1])
def test__read__table_in_memory__is_the_same_in_any_library(build, library):
    module = pytest.importorskip(library)
    rows = build()
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    table = {
        "pandas": lambda: module.DataFrame(columns),
        "polars": lambda: module.DataFrame(rows, infer_schema_length=None),
        "pyarrow": lambda: module.Table.from_pylist(rows),
        "datasets": lambda: module.Dataset.from_list(rows),
    }[library]()
    assert read(table) == read(rows) == read(columns)


def test__formats__all__are_read_in_these_tests():
    assert {form for _, form, _, _ in CASES.values()} == set(format_names())


# -- files that are wrong, or half wrong ---------------------------------------------------------------------------


def without(rows, *names):
    return [{name: cell for name, cell in row.items() if name not in names} for row in rows]


def altered(rows, place=0, **cells):
    return [row | cells if number == place else row for number, row in enumerate(rows)]


KNOWN = "label_studio, argilla, multipref, prism, oasst, shp, ultrafeedback, arena, votes, kto, hh_rlhf, pairs"
REMEDY = "rename columns, or read any table with skmrm.episodes_from_frame, which takes their names"
WRONG = {
    "missing column": (
        without(arena(), "winner", "tstamp", "anony", "language"),
        {},
        f"the table must have a known format ({KNOWN}), the nearest of which is 'arena', for which it lacks column "
        "'winner'; its columns are 'question_id', 'model_a', 'model_b', 'judge', 'conversation_a', 'conversation_b', "
        f"'turn': {REMEDY}",
    ),
    "column by nearly its name": (
        [{"Chosen": "Yes.", "reject": "No."}],
        {},
        f"the table must have a known format ({KNOWN}), the nearest of which is 'pairs', for which it lacks column "
        "'chosen' (is it 'Chosen'?) and column 'rejected' (is it 'reject'?); its columns are 'Chosen', 'reject': "
        + REMEDY,
    ),
    "missing column of a format that was named": (
        without(shp(), "history", "score_A", "score_B", "score_ratio", "post_id", "domain"),
        {"format": "shp"},
        "the table must have format 'shp', for which it lacks column 'history'; its columns are 'human_ref_A', "
        f"'human_ref_B', 'labels': {REMEDY}",
    ),
    "missing column of one of several forms": (
        [{"fields": {"prompt": "Tea?"}, "answers": {}}],
        {"format": "argilla"},
        "the table must have format 'argilla', for which it lacks column 'responses'; its columns are 'fields', "
        f"'answers': {REMEDY}",
    ),
    "annotations of another kind": (
        [{"data": {"text": "Tea?"}, "annotations": ["yes"]}],
        {},
        f"the table must have a known format ({KNOWN}), the nearest of which is 'label_studio', for which it lacks a "
        "list of annotations with a result each in column 'annotations'; its columns are 'data', 'annotations': "
        + REMEDY,
    ),
    "unknown format": (
        arena(),
        {"format": "areena"},
        "format must be \"auto\" or one of 'label_studio', 'argilla', 'multipref', 'prism', 'oasst', "
        "'shp', 'ultrafeedback', 'arena', 'votes', 'kto', 'hh_rlhf', 'pairs', got 'areena'; did you mean 'arena'?",
    ),
    "unknown label": (
        altered(arena(), 3, winner="model_c"),
        {},
        "the table, read as 'arena': column 'winner' must say who won, got 'model_c' in 1 rows; known are ",
    ),
    "missing label": (
        altered(flat_votes(), 3, winner=None),
        {},
        "the table, read as 'votes': column 'winner' must be readable in each row, got missing values (1 row: 3): fill "
        "these rows in or drop them",
    ),
    "unknown preference": (
        [multipref()[0] | {"expert_worker_annotations": [{"evaluator": "ann", "overall_pref": "A-is-worse"}]}],
        {},
        "the table, read as 'multipref': column 'expert_worker_annotations' must be readable in each row, got "
        "'A-is-worse' as overall_pref, of which a is slightly better, a is clearly better, b is slightly better, b is "
        "clearly better, tie are known (1 row: 0): correct these rows or drop them",
    ),
    "unknown label of SHP": (
        altered(shp(), 2, labels=2),
        {},
        "the table, read as 'shp': column 'labels' must say who won, got 2 in 1 rows; known are ",
    ),
    "dialogue among which is a text": (
        altered(hh_rlhf(), 5, chosen="Yes."),
        {},
        "the table, read as 'hh_rlhf': column 'chosen' must be readable in each row, got 'Yes.', where a dialogue that "
        "begins with '\\n\\nHuman:' and has an answer is needed (1 row: 5): correct these rows or drop them",
    ),
    "rows of two formats": (
        [*flat_votes()[:3], *pairs()[:2]],
        {},
        "3 problems in the preference data:\n  - the table, read as 'votes': column 'response_a' must be readable in "
        "each row, got missing values (2 rows: 3, 4)",
    ),
    "conversations that are none": (
        altered(arena(), 1, conversation_b="hello"),
        {},
        "the table, read as 'arena': column 'conversation_b' must be readable in each row, got 'hello', where a list "
        "of messages is needed (1 row: 1): correct these rows or drop them",
    ),
    "completions without a response": (
        altered(ultrafeedback(), 4, completions=[{"model": "m"}]),
        {},
        "the table, read as 'ultrafeedback': column 'completions' must be readable in each row, got [{'model': 'm'}], "
        "where a list with responses is needed (1 row: 4)",
    ),
    "score that is none": (
        ultrafeedback(),
        {"question": "pretty"},
        "the table, read as 'ultrafeedback': question='pretty' is no score of a completion, which has overall_score, "
        "helpfulness, honesty",
    ),
    "question where there is one": (
        flat_votes(),
        {"question": "overall"},
        "the table, read as 'votes': question='overall' was asked for, but in this format there is one alone: leave it "
        "out",
    ),
    "parent that is not there": (
        altered(oasst(), 1, parent_id="lost"),
        {},
        "the table, read as 'oasst': column 'parent_id' must be readable in each row, got a message that is not there "
        "(1 row: 1)",
    ),
    "messages without ranks": (
        [row | {"rank": None} for row in oasst()],
        {},
        "the table, read as 'oasst': no two replies of the assistant to one message have a rank: a file with ranks is "
        "needed",
    ),
    "history that is none": (
        altered(prism(), 2, conversation_history=[{"role": "user"}]),
        {},
        "the table, read as 'prism': column 'conversation_history' must be readable in each row, got [{'role': "
        "'user'}], where a list of messages with turn, role and content is needed (1 row: 2)",
    ),
    "unknown user": (
        hh_rlhf(),
        {"user": "whom"},
        "the table, read as 'hh_rlhf': user='whom' is not a column of the table, whose columns are 'chosen', "
        "'rejected', 'who'; did you mean user='who'?",
    ),
    "answer that names no response": (
        altered(argilla(), 1, responses={"preference": [{"value": "response-3", "user_id": "ann"}]}),
        {},
        "the table, read as 'argilla': answers to 'preference' must be readable in each row, got 'response-3', where "
        "one of 'response-1', 'response-2', a word for these or for a tie, is needed (1 row: 1)",
    ),
    "answer of nobody": (
        altered(argilla(), 1, responses={"preference": [{"value": "response-1", "user_id": None}]}),
        {},
        "the table, read as 'argilla': answers to 'preference' must be readable in each row, got no id of who gave it "
        "(1 row: 1)",
    ),
    "ranking of what is not there": (
        altered(
            argilla_1(), 1, preference=[{"user_id": "a", "status": "submitted", "value": [{"rank": 1, "value": "x"}]}]
        ),
        {},
        "the table, read as 'argilla': answers to 'preference' must be readable in each row, got 'x', which is none of "
        "'response-1', 'response-2' (1 row: 1)",
    ),
    "fields without a response": (
        [{"fields": {"prompt": "Tea?", "response": "Yes."}, "responses": {"q": [{"value": "why", "user_id": "a"}]}}],
        {},
        "the table, read as 'argilla': a question is needed that is a choice between responses (their names, or words "
        "such as 'a', 'model a', 'response a' and ",
    ),
    "task without data": (
        altered(label_studio_pairwise(), 2, data=None),
        {},
        "the table, read as 'label_studio': column 'data' must be readable in each row, got missing values (1 row: 2)",
    ),
    "pairwise of fields with other names": (
        [row | {"data": {"ask": "Tea?", "one": "Yes.", "two": "No."}} for row in label_studio_pairwise()],
        {},
        "the table, read as 'label_studio': a question is needed that is a choice between responses (their names, or "
        "words such as 'a', 'model a', 'response a' and 5 more), a ranking of them, or a rating of a single one, got "
        "'pw' (neither); responses are fields whose names begin with response, reply, answer, completion, output or "
        "the like, here none of 'ask', 'one', 'two': rename fields, or make a table for skmrm.episodes_from_frame",
    ),
    "rating of nothing": (
        [{"data": {"prompt": "Tea?", "one": "Yes."}, "annotations": label_studio_ratings()[0]["annotations"]}],
        {},
        "the table, read as 'label_studio': a response is needed that was rated; responses are fields whose names "
        "begin with response, reply, answer, completion, output or the like, here none of 'prompt', 'one': rename",
    ),
    "nothing annotated": (
        altered(label_studio_pairwise()[:1], 0, annotations=[]),
        {"format": "label_studio"},
        "the table, read as 'label_studio': no answer was submitted: at least one is needed",
    ),
    "too few pairs": (
        flat_votes(),
        {"min_pairs": 9},
        "the table, read as 'votes': each user needs at least 9 pairs (min_pairs); not so for 'user 00' (8 pairs)",
    ),
    "no rows": ([], {}, "the table has no rows: at least one is needed"),
}


@pytest.mark.parametrize("name", WRONG)
def test__read__wrong_or_half_wrong_table__is_one_clear_error(name):
    rows, options, message = WRONG[name]
    with pytest.raises(EpisodeError) as raised:
        read(rows, **options)
    assert str(raised.value).startswith(message)


def test__read__label_that_is_neither_true_nor_false__is_one_clear_error():
    with pytest.raises(EpisodeError) as raised:
        read(altered(kto(), 7, label="maybe"))
    assert str(raised.value) == (
        "the table, read as 'kto': column 'label' must be readable in each row, got 'maybe', where true or false is "
        "needed (1 row: 7): correct these rows or drop them (rows count from 0)"
    )


NAMES = sorted({need.replace("*", "x") for form in FORMATS for need in form.needs} | {"turn", "judge", "score_ratio"})
CELLS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(["a", "tie", "[]"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@given(st.data())
def test__read__any_table__is_read_or_is_an_error_of_ours(data):
    names = data.draw(st.lists(st.sampled_from(NAMES) | st.text(max_size=5), max_size=6, unique=True))
    if data.draw(st.booleans()):
        names = [need.replace("*", "x") for need in data.draw(st.sampled_from(FORMATS)).needs]
    rows = [{name: data.draw(CELLS) for name in names} for _ in range(data.draw(st.integers(0, 3)))]
    with contextlib.suppress(EpisodeError):
        read(rows)


@pytest.mark.parametrize("name", CASES)
@settings(max_examples=25)
@given(data=st.data())
def test__read__file_of_which_a_value_was_altered__is_read_or_is_an_error_of_ours(name, altered_document, data):
    build, form, user, _ = CASES[name]
    rows = altered_document(data, build()[:3])
    with contextlib.suppress(
        EpisodeError, TypeError if not all(isinstance(row, dict) for row in rows) else EpisodeError
    ):
        read(rows, user=user, format=form)
