"""Which way the benchmarks' imports point: down, and in no circle; and each folder is a command."""

import ast
import graphlib
from pathlib import Path

import benchmarks

ROOT = Path(benchmarks.__file__).parent
FILES = {".".join(path.relative_to(ROOT.parent).with_suffix("").parts): path for path in ROOT.rglob("*.py")}
MODULES = {name.removesuffix(".__init__"): path for name, path in FILES.items()}
# A file imports what lies on lower floors, and other files of its own room.
FLOORS = (
    ("_support",),
    ("accuracy", "encoding", "out_of_core", "paper_table", "serving", "speed"),
    ("ablation", "users"),
    ("__main__",),
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}


def arrows():
    """(module, what it imports) within the benchmarks."""
    for module, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{module} imports by a relative name"
                inside = [f"{node.module}.{alias.name}" for alias in node.names]
                targets = {name if name in MODULES else node.module for name in inside}
            elif isinstance(node, ast.Import):
                targets = {alias.name for alias in node.names}
            else:
                continue
            yield from ((module, target) for target in targets if target in MODULES)


def test__rooms__all_have_a_floor():
    assert {name.split(".")[1] for name in MODULES if "." in name} == set(FLOOR)


def test__rooms__but_the_shared_one__are_commands():
    for room in set(FLOOR) - {"_support", "__main__"}:
        assert f"benchmarks.{room}.__main__" in MODULES


def test__imports__from_room_to_room__go_down():
    rooms = {(module, target): (module.split(".")[1], target.split(".")[1]) for module, target in arrows()}
    assert len(rooms) > 50
    assert {arrow for arrow, (own, other) in rooms.items() if own != other and FLOOR[own] <= FLOOR[other]} == set()


def test__imports__from_file_to_file__make_no_circle():
    graph = {module: set() for module in MODULES}
    for module, target in arrows():
        graph[module].add(target)
    graphlib.TopologicalSorter(graph).prepare()  # a CycleError names the circle


def test__every_file__says_in_a_line_what_it_is():
    for module, path in MODULES.items():
        says = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
        assert says, module
        assert says.partition("\n")[0].endswith((".", "?")), module
