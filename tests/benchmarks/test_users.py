"""The benchmark of many users in a file: every act is timed, next to a floor."""

import json

from benchmarks.users import __main__ as users


def test__users__quick__prints_a_table_of_each_part_and_writes_all_numbers(tmp_path, capsys):
    output = tmp_path / "users.json"
    assert users.main(["--quick", "--users", "100", "--folder", str(tmp_path), "--output", str(output)]) == 0
    parts = json.loads(output.read_text())["parts"]
    acts = {name: [row["act"] for row in part["rows"]] for name, part in parts.items()}
    assert acts["weights"][:4] == ["save", "open", "look one user up", "look 1,000 users up"]
    assert "update 10 users" in acts["whole"]
    assert all(row["ms"] > 0 for part in parts.values() for row in part["rows"])
    assert "weights: 100 users, K = 26" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["users.json"]
