"""The shape of the code: imports run downward only, modules stay small, and the simulation has no rules of its own."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent

# From the bottom up. A module may import from lower layers, and from its own package or module.
LAYERS = (
    ("smssim.__version__", "smssim.escaping", "smssim.words", "smssim.v1"),
    ("smssim.errors",),
    ("smssim.core",),
    ("smssim.plan",),
    ("smssim.settings",),
    ("smssim.process",),
    ("smssim.net", "smssim.journal", "smssim.engine"),
    ("smssim.outputs",),
    ("smssim.web",),
    ("smssim.outputs.opening",),  # creates outputs of both
    ("smssim.planner",),
    ("smssim.nodes",),
    ("smssim.launch",),
    ("smssim.bench",),
    ("smssim.cli",),
    ("smssim.__main__",),
)
NODES = ("smssim.nodes.producer", "smssim.nodes.sender", "smssim.nodes.monitor", "smssim.nodes.watch")

# The core only decides, and the plan only computes: they read no clock, draw random numbers only from a seed, and do no
# I/O.
PURE = ("smssim.core", "smssim.plan")
CORE_IMPORTS = {"numpy", "smssim", *sys.stdlib_module_names} - {
    *("asyncio", "datetime", "io", "logging", "os", "pathlib", "random", "secrets", "selectors", "shutil", "signal"),
    *("socket", "sqlite3", "subprocess", "tempfile", "threading", "time"),
}
CORE_LAYERS = ("smssim.core", "smssim.errors")

MODULE_LINES_MAX = 400
SHELL_LINES_MAX = 249  # of a node, which only carries out what the core decides
FUNCTION_LINES_MAX = 60

# The simulation may define numbers of the simulated world. It may not define how nodes behave: that is what it tests.
NUMBERS_OF_THE_WORLD = {
    "clock": {"TRACE_MAX"},
    "disk": {"_HEAD"},
    "engine": {"TIMEOUT_S", "LATE_MAX_S", "IGNORED", "KEPT", "HEAD"},
    "log_play": {"FAULTY_S", "FAULT_EVERY_S", "CALM_S", "PIECES_MAX"},
    "faults": {"FAULT_EVERY_S", "LONG_PAUSE_S", "SENDERS_MAX", "OWNERS_FIRST"},
    "world": {"CALM_MAX_S", "EVENTS_MAX", "TIDY_EVERY_S", "TAKEOVER_MAX_S", "DEEP_EVERY"},
    "sender": {"UNEXPLAINED"},
    # Tolerances of checks: rounding, a slow disk, a few check intervals.
    "accounts": {"LOOKS"},
    "conduct": {"NEAR_S", "COMMITS_MAX_S"},
    "sender_book": {"NEAR_S", "START_NEAR_S"},
}


def part_of(name: str, *packages: str) -> str:
    """Return which of these packages or modules contains this dotted name; empty if none does."""
    return next((p for p in packages if name == p or name.startswith(p + ".")), "")


def layer_of(name: str) -> int:
    """Return the number of the layer of this dotted name, from 0 at the bottom; -1 if it has none.

    If a package and one of its modules have layers of their own, that of the module counts.
    """
    parts = ((len(part_of(name, *layer)), i) for i, layer in enumerate(LAYERS) if part_of(name, *layer))
    return max(parts, default=(0, -1))[1]


def imported(tree: ast.Module) -> Iterator[str]:
    """Yield the dotted name of each import, at the top or inside a function."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = "." * node.level + (node.module or "")
            yield from (f"{start}.{alias.name}" for alias in node.names)


def wrong_import(module: str, target: str) -> str:
    """Return what is wrong if `module` imports `target`; empty if nothing is."""
    if target.startswith("."):
        return "is relative: only absolute names show the layer"
    pure = part_of(module, *PURE)
    if pure and target.split(".")[0] not in CORE_IMPORTS:
        return f"is not for {pure}"
    if not part_of(target, "smssim"):
        return ""
    if layer_of(target) < 0:
        return "has no layer: give it one in this test"
    if pure and not part_of(target, *CORE_LAYERS, pure):
        return f"is not for {pure}"
    if part_of(target, *NODES) not in ("", part_of(module, *NODES)) and part_of(module, "smssim.nodes"):
        return "is another node: nodes share only lower modules and the protocol"
    if part_of(module, *LAYERS[layer_of(module)]) == part_of(target, *LAYERS[layer_of(target)]):
        return ""
    return "" if layer_of(target) < layer_of(module) else "is not in a lower layer"


def faults(module: str, source: str) -> list[str]:
    """Return each way in which a module with this name and source breaks the rules."""
    tree = ast.parse(source)
    found = [f"{module}: {target} {wrong}" for target in imported(tree) if (wrong := wrong_import(module, target))]
    if module != "smssim" and layer_of(module) < 0:
        found.append(f"{module}: has no layer: give it one in this test")
    if not ast.get_docstring(tree):
        found.append(f"{module}: has no docstring")
    lines_max = SHELL_LINES_MAX if part_of(module, "smssim.nodes") else MODULE_LINES_MAX
    if (lines := len(source.splitlines())) > lines_max:
        found.append(f"{module}: has {lines} lines, more than {lines_max}")
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
            lines = node.end_lineno - node.lineno + 1
            if lines > FUNCTION_LINES_MAX:
                found.append(f"{module}: {node.name} has {lines} lines, more than {FUNCTION_LINES_MAX}")
    return found


def modules() -> dict[str, Path]:
    """Return the paths of all modules of the package by dotted name, except the generated ones."""
    paths = (path for path in (ROOT / "smssim").rglob("*.py") if path.parent.name != "v1")
    return {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in paths}


def numbers(tree: ast.Module) -> Iterator[str]:
    """Yield the names that a module gives to numbers, outside its functions and classes."""
    for node in tree.body:
        named = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        is_number = any(isinstance(part, ast.Constant) and type(part.value) in (int, float) for part in ast.walk(node))
        if named and is_number:
            yield from (name.id for name in named if isinstance(name, ast.Name))


def test_every_module_follows_the_rules() -> None:
    found = [fault for module, path in modules().items() for fault in faults(module, path.read_text(encoding="utf-8"))]
    assert not found, "\n".join(found)


def test_the_modules_of_the_package_are_found() -> None:
    assert {"smssim", "smssim.errors", "smssim.settings", "smssim.core", "smssim.__main__"} <= set(modules())


def test_allowed_imports_pass() -> None:
    for module, source in (
        ("smssim.errors", "import math"),
        ("smssim.settings", "from smssim.errors import UsageError"),
        ("smssim.core.ledger", "import numpy as np\nfrom smssim.core import fate\nfrom smssim.errors import PeerError"),
        (
            "smssim.plan.twin.twin",
            "import numpy as np\nfrom smssim.core.fault import Fault\nfrom smssim.plan import scenario",
        ),
        ("smssim.planner", "from smssim.outputs import files\nfrom smssim.plan import twin"),
        ("smssim.outputs.opening", "from smssim.outputs import files\nfrom smssim.web import page"),
        (
            "smssim.web.page",
            "from smssim.net import http\nfrom smssim.outputs import of_course\nfrom smssim.web import book",
        ),
        ("smssim.net.wire", "import grpc\nfrom smssim.v1 import run_pb2\nfrom smssim.net import rpc"),
        ("smssim.nodes.sender", "import time\nfrom smssim.nodes import parts\nfrom smssim.outputs import files"),
        ("smssim.cli", "from smssim import __version__\ndef f():\n    from smssim.nodes.sender import Sender"),
    ):
        assert faults(module, f'"""Sample."""\n{source}\n') == []


def test_each_rule_can_fail() -> None:
    for module, source, fault in (
        ("smssim.errors", "import smssim.settings", "smssim.settings is not in a lower layer"),
        ("smssim.core.fate", "from smssim import settings", "smssim.settings is not for smssim.core"),
        ("smssim.core.fate", "from smssim.words import count", "smssim.words.count is not for smssim.core"),
        ("smssim.settings", "from smssim.net import rpc", "smssim.net.rpc is not in a lower layer"),
        ("smssim.settings", "from smssim import cli", "smssim.cli is not in a lower layer"),
        ("smssim.core.fate", "def f():\n    import time", "time is not for smssim.core"),
        ("smssim.core.fate", "from os.path import join", "os.path.join is not for smssim.core"),
        ("smssim.core.fate", "import grpc.aio", "grpc.aio is not for smssim.core"),
        ("smssim.core.fate", "from smssim.v1 import run_pb2", "smssim.v1.run_pb2 is not for smssim.core"),
        ("smssim.core.fate", "from .message import Batch", ".message.Batch is relative"),
        ("smssim.core.fate", "from smssim.plan import twin", "smssim.plan.twin is not for smssim.core"),
        ("smssim.plan.twin.twin", "from smssim import settings", "smssim.settings is not for smssim.plan"),
        ("smssim.plan.twin.twin", "import time", "time is not for smssim.plan"),
        ("smssim.planner", "from smssim.nodes import watch", "smssim.nodes.watch is not in a lower layer"),
        ("smssim.outputs.files", "from smssim.web import page", "smssim.web.page is not in a lower layer"),
        ("smssim.web.page", "from smssim.outputs import opening", "smssim.outputs.opening is not in a lower layer"),
        (
            "smssim.outputs.files",
            "from smssim.outputs import opening",
            "smssim.outputs.opening is not in a lower layer",
        ),
        ("smssim.net.wire", "from smssim.outputs import files", "smssim.outputs.files is not in a lower layer"),
        ("smssim.net.rpc", "from smssim.nodes import sender", "smssim.nodes.sender is not in a lower layer"),
        ("smssim.engine.opening", "from smssim.net import access", "smssim.net.access is not in a lower layer"),
        ("smssim.nodes.sender", "from smssim.nodes import monitor", "smssim.nodes.monitor is another node"),
        ("smssim.nodes.parts", "import smssim.nodes.sender", "smssim.nodes.sender is another node"),
        ("smssim.launch.cluster", "from smssim.cli import main", "smssim.cli.main is not in a lower layer"),
        ("smssim.cli", "import smssim.utils", "smssim.utils has no layer"),
        ("smssim.utils", "", "has no layer"),
        ("smssim.cli", "#\n" * MODULE_LINES_MAX, "has 401 lines, more than 400"),
        ("smssim.nodes.sender", "#\n" * SHELL_LINES_MAX, "has 250 lines, more than 249"),
        ("smssim.cli", "async def f():\n" + "    x = 1\n" * FUNCTION_LINES_MAX, "f has 61 lines, more than 60"),
    ):
        found = faults(module, f'"""Sample."""\n{source}'.rstrip("\n") + "\n")
        assert len(found) == 1, (source, found)
        assert found[0].startswith(f"{module}: {fault}")


def test_a_missing_docstring_is_a_fault() -> None:
    assert faults("smssim.cli", "import sys\n") == ["smssim.cli: has no docstring"]


def test_each_proto_has_its_generated_modules_and_there_are_no_others() -> None:
    expected = {"__init__.py"}
    for proto in (ROOT / "protos/smssim/v1").glob("*.proto"):
        serves = any(line.startswith("service ") for line in proto.read_text(encoding="utf-8").splitlines())
        kinds = ("_pb2", "_pb2_grpc") if serves else ("_pb2",)
        expected |= {proto.stem + kind + end for kind in kinds for end in (".py", ".pyi")}
    assert len(expected) > 1
    assert {path.name for path in (ROOT / "smssim/v1").iterdir() if path.is_file()} == expected


def test_the_simulation_defines_no_numbers_for_the_behaviour_of_nodes() -> None:
    parts = {
        path.stem: path
        for path in (ROOT / "tests/simulation").glob("*.py")
        if path.stem not in ("plan", "bugs", "hunt")
    }
    found = {part: set(numbers(ast.parse(path.read_text(encoding="utf-8")))) for part, path in parts.items()}
    assert {part: names for part, names in found.items() if names} == NUMBERS_OF_THE_WORLD
    assert {part for part in parts if part in ("producer", "sender", "monitor")}, "nothing was checked"


def test_numbers_are_found_anywhere_in_a_value() -> None:
    source = "A_S = 1.0\nB: Final = 2 * HOUR_S\nC = (3, 4)\nD = True\nE = 'x'\ndef f():\n    G = 1\n"
    assert set(numbers(ast.parse(source))) == {"A_S", "B", "C"}
