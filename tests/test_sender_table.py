"""The table of senders with copies in one row: in the view and in the summary, on screens of all widths."""

from __future__ import annotations

import re
from dataclasses import replace

from view_support import copies, ended, row, snapshot

from smssim.core.fleet import Fleet
from smssim.core.folding import FoldedFleet, fold, in_rows
from smssim.core.history import History
from smssim.core.session import State
from smssim.core.snapshot import Snapshot
from smssim.outputs.terminal import summary
from smssim.outputs.terminal.screen import RunView
from smssim.outputs.terminal.sender_table import TIMES, sender_table
from smssim.outputs.terminal.table import joined

LOST, WAITING = State.LOST, State.WAITING
ALPHA = row("alpha", concurrency=8)


def drawn(seen: Snapshot, width: int = 80, height: int = 23) -> list[str]:
    """Return the table in the view of a run."""
    return table_of(RunView(seen, History()), width, height)


def table_of(view: RunView, width: int, height: int = 23) -> list[str]:
    lines = [line.plain for line in view.lines(width, height)]
    return lines[next(i for i, line in enumerate(lines) if line.startswith("sender ")) :]


def of(*rows: object) -> Snapshot:
    """Return a snapshot of these senders, as a monitor makes it: with 100 rows."""
    fleet, folded = in_rows(Fleet(rows), 100)  # type: ignore[arg-type]
    return replace(snapshot(), fleet=fleet, folded=folded)


def test_copies_are_one_row_with_their_spread_on_a_screen_of_80_columns() -> None:
    assert drawn(of(ALPHA, *copies("beta", 50))) == [
        "sender    state         sent   sent each  failed  average      now  in flight",
        "alpha     sending        500                  11  20.1 ms    190/s          4",
        f"beta {TIMES}50  sending     26,275  501 to 550     550  20.1 ms  9,500/s        200",
    ]


def test_columns_for_which_there_is_room_come_back() -> None:
    table = drawn(of(ALPHA, *copies("beta", 50)), 140)
    for head in ("lanes", "mean", "fail", "share", "average each", "rate"):
        assert f" {head} " in table[0]
    assert re.search(rf"beta {TIMES}50 +200 +20 ms +2% +sending .* 20.1 ms +20.1 ms to 20.1 ms", table[2])


def test_from_80_columns_on_the_spread_of_many_copies_is_shown_and_names_keep_their_number() -> None:
    for width in range(80, 110):
        table = drawn(of(*copies("a-sender-with-a-very-long-name", 1234)), width)
        assert "sent each" in table[0]
        assert re.match(rf"a\S*… {TIMES}1,234 ", table[1])
        assert max(map(len, table)) <= width


def test_copies_in_different_states_say_so() -> None:
    for others, brief, full in (
        ((), "sending", "sending"),
        ((LOST, LOST), "2 lost", "48 sending, 2 lost"),
        ((WAITING,) * 44, "6 sending", "6 sending, 44 waiting"),
        ((WAITING, LOST, State.LEFT), "1 lost", "47 sending, 1 waiting, 1 lost, 1 left"),
    ):
        seen = of(ALPHA, *copies("beta", 50, *others))
        assert re.match(rf"beta {TIMES}50 +{brief} ", drawn(seen, 80)[2])
        assert re.match(rf"beta {TIMES}50 .* {full} ", drawn(seen, 140)[2])


def test_copies_are_coloured_by_the_state_to_look_at_first() -> None:
    for others, style in (((), "green"), ((WAITING,), "green"), ((LOST,), "bold red")):
        lines = RunView(of(*copies("beta", 5, *others)), History()).lines(80, 23)
        (line,) = (line for line in lines if line.plain.startswith("beta"))
        assert style in [str(span.style) for span in line.spans], others


def test_a_table_without_copies_has_no_columns_for_them() -> None:
    assert drawn(of(ALPHA, row("beta-1"))) == [
        "sender  lanes    mean  fail    state  sent  failed  average      now  in flight",
        "alpha       8   20 ms    2%  sending   500      11  20.1 ms    190/s          4",
        "beta-1      4   20 ms    2%  sending   500      11  20.1 ms    190/s          4",
    ]


def test_limits_are_shown_if_a_sender_has_one_and_there_is_room() -> None:
    seen = of(ALPHA, replace(row("beta-1"), limit_per_s=100.0, burst=5), replace(row("gamma"), limit_per_s=0.5))
    assert drawn(seen, 80) == [
        "sender  limit    mean  fail    state  sent  failed  average      now  in flight",
        "alpha           20 ms    2%  sending   500      11  20.1 ms    190/s          4",
        "beta-1  100/s   20 ms    2%  sending   500      11  20.1 ms    190/s          4",
        "gamma   0.5/s   20 ms    2%  sending   500      11  20.1 ms    190/s          4",
    ]
    assert " limit " not in drawn(seen, 58)[0]
    assert " limit " not in drawn(of(ALPHA, row("beta-1")), 140)[0]


def test_the_columns_of_a_view_stay_once_there_are_copies() -> None:
    view = RunView(of(*copies("beta", 50)), History())
    heads = table_of(view, 80)[0]
    view.update(of(ALPHA), History())
    assert table_of(view, 80)[0] == heads


def test_columns_keep_their_places_while_states_differ_more_or_less() -> None:
    view, heads = RunView(of(ALPHA), History()), set()
    for waiting in (0, 1, 44, 3, 50, 49):
        view.update(of(ALPHA, *copies("beta", 50, *(WAITING,) * waiting)), History())
        heads.add(table_of(view, 80)[0])
    assert len(heads) == 1


def test_five_hundred_copies_are_one_row() -> None:
    seen = of(*copies("beta", 500), row("slow", concurrency=1))
    assert len(seen.fleet.rows) == 100
    (_, beta, slow) = drawn(seen, 100)
    assert re.match(rf"beta {TIMES}500 .* 375,250 +501 to 1,000 ", beta)
    assert slow.startswith("slow ")


def test_rows_without_room_are_summed_with_all_their_copies() -> None:
    groups = [one for name in "abcdefghijklmnop" for one in copies(name, 20)]
    table = drawn(of(*groups))
    assert [line.split()[0] for line in table[1:-1]] == list("abcdefghijklm")
    assert table[-1].startswith("60 more senders: 60 sending; ")


def test_the_summary_has_a_row_for_copies() -> None:
    left = [replace(one, state=State.LEFT) for one in copies("beta", 49)]
    fleet = Fleet((ALPHA, *left, replace(row("beta-50"), state=LOST)))
    for width, line in (
        (80, rf"  beta {TIMES}50 +20 ms +2%  1 lost +26,225  500 to 549 +550 +20.1 ms"),
        (120, rf"  beta {TIMES}50 +200 +20 ms +2%  1 lost, 49 left +26,225  500 to 549 +550 +2.0% +20.1 ms "),
    ):
        lines = summary.page(replace(ended(), fleet=fleet), width)
        assert max(map(len, lines)) <= width
        assert any(re.match(line, one) for one in lines), "\n".join(lines)
        assert sum("beta" in one for one in lines) == 1


def test_the_summary_file_has_an_object_for_each_copy() -> None:
    seen = replace(ended(), fleet=Fleet(copies("beta", 50)))
    assert [one["name"] for one in seen.as_dict()["sender_rows"]] == [f"beta-{i}" for i in range(1, 51)]


def test_figures_are_aligned_with_their_heads() -> None:
    rows = fold(Fleet((ALPHA, *copies("beta", 2000), *copies("g", 2)))).rows
    assert isinstance(fold(Fleet()), FoldedFleet)
    for room in (40, 60, 80, 100, 120, 200):
        lines = [joined(pieces) for pieces in sender_table(has_copies=True).lines(rows, room)]
        assert len(set(map(len, lines))) == 1, room
