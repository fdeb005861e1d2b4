"""The live page: what it answers to which request, to whom, and how it ends. Each test serves it on a real socket."""

from __future__ import annotations

import asyncio
import gzip
import html
import json
import logging
import re
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from nodes_support import play, until
from view_support import OTHER, RUN_ID
from web_support import QUICK, TOKEN, Served, end_of, request, seen_at, serving

from smssim.errors import UsageError
from smssim.process.logs import node_log
from smssim.settings import MonitorSettings
from smssim.web import assets, reports
from smssim.web.answers import POLICY
from smssim.web.assets import Content
from smssim.web.page import Page

HOSTILE = "</script><img src=x onerror=alert(1)>"


# -- paths


def test_the_page_and_its_files_are_served_with_their_types_and_tags() -> None:
    async def scene() -> None:
        async with serving() as served:
            page = await served.ask("/")
            assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
            assert page.body == assets.load(keeps=False)["index.html"].body
            for name in re.findall(r'(?:src|href)="(/static/[^"]+)"', page.text):
                file = await served.ask(name)
                assert file.status == 200
                assert file.headers["content-type"].startswith(("text/javascript", "text/css"))
                assert file.headers["cache-control"] == "no-cache"
                again = await served.ask(name, If_None_Match=f'"x", {file.headers["etag"]}')
                assert (again.status, again.body, again.headers["etag"]) == (304, b"", file.headers["etag"])

    play(scene())


def test_text_is_compressed_only_for_clients_that_accept_it() -> None:
    async def scene() -> None:
        async with serving() as served:
            served.note(seen_at(1.0))
            for target in ("/static/style.css", "/api/state"):
                plain = await served.ask(target)
                assert "content-encoding" not in plain.headers
                assert plain.headers["vary"] == "accept-encoding"
                for accepts in ("gzip", "br, GZIP;q=0.5"):
                    packed = await served.ask(target, Accept_Encoding=accepts)
                    assert packed.headers["content-encoding"] == "gzip"
                    assert gzip.decompress(packed.body) == plain.body
                    assert len(packed.body) == int(packed.headers["content-length"]) < len(plain.body)
                refused = await served.ask(target, Accept_Encoding="gzip;q=0, br")
                assert refused.body == plain.body

    play(scene())


def test_paths_outside_the_static_files_do_not_exist() -> None:
    async def scene() -> None:
        async with serving() as served:
            for target in (
                *("/static/", "/static", "/static/../page.py", "/static/%2e%2e/page.py", "/static/..%2fpage.py"),
                *(
                    "/static//etc/passwd",
                    "/static/%00",
                    "/static/vendor",
                    "/static/vendor/LICENSE",
                    "/static/index.htm",
                ),
                *("/page.py", "/api", "/api/", "/api/state/", "//", "/runs/", "/..", "/%", "http://localhost/x"),
            ):
                answer = await served.ask(target)
                assert (answer.status, answer.headers["content-type"]) == (404, "text/plain; charset=utf-8"), target
                assert len(answer.body) < 100, target

    play(scene())


def test_head_answers_only_headers_the_same_as_get() -> None:
    async def scene() -> None:
        async with serving() as served:
            served.note(seen_at(1.0))
            for target in ("/", "/static/style.css", "/api/state", "/api/runs", "/api/report", "/nothing"):
                got, head = await served.ask(target), await served.ask(target, "HEAD")
                assert head.body == b""
                same = ("content-length", "content-type", "etag")
                assert (head.status, *map(head.headers.get, same)) == (got.status, *map(got.headers.get, same)), target
            stream = await served.ask("/api/events", "HEAD")
            assert (stream.status, stream.headers["content-type"], stream.body) == (200, "text/event-stream", b"")
            assert len(served.page._page.viewers) == 0  # type: ignore[union-attr]

    play(scene())


def test_methods_that_could_change_something_are_refused() -> None:
    async def scene() -> None:
        async with serving() as served:
            for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "BREW"):
                answer = await served.ask("/api/state", method)
                assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD"), method
            body = await served.ask("/", Content_Length="5")
            assert body.status == 400

    play(scene())


# -- the state


def test_without_a_run_the_state_has_the_same_shape_and_says_that_it_waits() -> None:
    async def scene() -> None:
        async with serving(title="Rehearsal") as served:
            empty = (await served.ask("/api/state")).json()
            assert (empty["verdict"]["code"], empty["title"], empty["static_version"]) == ("starting", "Rehearsal", 0)
            assert (empty["progress"]["run_id"], empty["progress"]["total"]) == ("", 0)
            assert (await served.ask("/api/runs")).json() == []
            served.note(seen_at(1.0))
            assert (await served.ask("/api/state")).json().keys() == empty.keys()

    play(scene())


def test_the_state_of_a_run_is_its_document() -> None:
    async def scene() -> None:
        async with serving(title=HOSTILE, command="smssim run", threshold=()) as served:
            served.note(seen_at(1.0)).note(seen_at(2.0))
            for target in ("/api/state", f"/api/state?run={RUN_ID}", "/api/state?run="):
                answer = await served.ask(target)
                assert answer.headers["cache-control"] == "no-store"
                assert answer.headers["content-type"] == "application/json"
                state = answer.json()
                expected = served.page.seen[RUN_ID].document()
                assert {name: state[name] for name in expected} == json.loads(json.dumps(expected))
                assert state["title"] == HOSTILE
                assert state["history"]["elapsed_s"] == [1, 2]
                assert state.keys() - expected.keys() == {"static_version", "server_time_s"}
            for path in ("state", "events", "report"):
                assert (await served.ask(f"/api/{path}?run={OTHER}")).status == 404

    play(scene())


def test_many_who_ask_at_the_same_time_share_one_state() -> None:
    async def scene() -> None:
        async with serving(replace(QUICK, page_shared_s=1000.0)) as served:
            served.note(seen_at(1.0))
            shared = served.page._page.app.shared  # type: ignore[union-attr]
            answers = await asyncio.gather(*(served.ask("/api/state") for _ in range(20)))
            assert len({answer.body for answer in answers}) == shared.made == 1
            served.note(seen_at(2.0))
            assert (await served.ask("/api/state")).body == answers[0].body
            served.note(end_of())
            assert (await served.ask("/api/state")).json()["progress"]["final"]
            assert shared.made == 2

    play(scene())


def test_the_runs_in_progress_and_the_last_ones_that_ended_are_kept() -> None:
    async def scene() -> None:
        async with serving(linger=True) as served:
            ids = [RUN_ID.replace("1", str(number)) for number in range(2, 9)]
            served.note(seen_at(1.0))
            for run_id in ids:
                served.note(seen_at(1.0, run_id=run_id)).note(end_of(run_id))
            runs = (await served.ask("/api/runs")).json()
            assert [run["run_id"] for run in runs] == [RUN_ID, *ids[-QUICK.ended_kept_max :]]
            assert [run["state"] for run in runs] == ["running", *["complete"] * QUICK.ended_kept_max]
            assert runs[0].keys() == {"run_id", "title", "began", "state", "total"}
            assert (await served.ask("/api/state")).json()["progress"]["run_id"] == RUN_ID  # the one in progress
            served.page.dropped(RUN_ID)
            assert (await served.ask("/api/state")).json()["progress"]["run_id"] == ids[-1]

    play(scene())


def test_a_report_is_one_html_file_to_save() -> None:
    async def scene() -> None:
        async with serving() as served:
            assert (await served.ask("/api/report")).status == 404
            served.note(seen_at(1.0)).note(end_of())
            report = await served.ask("/api/report")
            assert report.headers["content-disposition"] == f'attachment; filename="smssim-{RUN_ID[:8]}.html"'
            assert report.headers["content-security-policy"] == POLICY
            assert RUN_ID in report.text
            assert report.text.startswith("<!doctype html>")

    play(scene())


def test_kept_runs_are_listed_and_shown_under_the_policy_of_a_report(tmp_path: Path) -> None:
    async def scene() -> None:
        async with serving() as served:
            for path in ("/runs", f"/runs/{RUN_ID}"):
                assert (await served.ask(path)).status == 404
            assert "/runs" not in (await served.ask("/")).text
        async with serving(history=str(tmp_path / "kept")) as served:
            assert 'href="/runs"' in (await served.ask("/")).text
            (tmp_path / "kept").mkdir()
            served.note(seen_at(1.0)).note(end_of())
            document = served.page.seen[RUN_ID].document()
            name = f"20261129T200000Z-{RUN_ID}.json"
            (tmp_path / "kept" / name).write_text(json.dumps(document | {"began": "2026-11-29T20:00:00Z"}))
            listed = await served.ask("/runs")
            assert listed.headers["content-security-policy"] == POLICY
            assert f'href="/runs/{RUN_ID}"' in listed.text
            kept = await served.ask(f"/runs/{RUN_ID}")
            assert (kept.status, RUN_ID in kept.text) == (200, True)
            policy = kept.headers["content-security-policy"]
            assert policy.startswith("default-src 'none'; script-src 'sha256-")
            assert policy.endswith("form-action 'none'; frame-ancestors 'none'")
            for unknown in (OTHER, "..", "%2e%2e%2fx", "zzz"):
                assert (await served.ask(f"/runs/{unknown}")).status == 404
            (own,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]+)"', kept.text)
            assert f"{html.unescape(own)}; frame-ancestors 'none'" == policy

    play(scene())


# -- who may ask


def test_every_answer_has_the_headers_that_protect_the_page_and_none_that_opens_it() -> None:
    async def scene() -> None:
        async with serving() as served:
            served.note(seen_at(1.0))
            raw = [
                *(request(target) for target in ("/", "/static/style.css", "/api/state", "/api/runs", "/nothing")),
                *(request("/", "POST"), request("/", Host="evil.example"), request("/", Origin="http://evil.example")),
                *(b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
                b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * QUICK.http_head_bytes_max,
            ]
            for one in raw:
                answer = await served.raw(one)
                head = answer.partition(b"\r\n\r\n")[0].decode().lower()
                assert f"\r\ncontent-security-policy: {POLICY.lower()}" in head, one
                assert "\r\nx-content-type-options: nosniff" in head
                assert "\r\nreferrer-policy: no-referrer" in head
                assert not re.search("access-control|\r\nserver:|uvicorn", head)

    play(scene())


def test_the_policy_is_the_specified_one() -> None:
    assert POLICY == (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def test_a_request_under_a_name_that_a_stranger_can_point_here_is_refused() -> None:
    async def scene() -> None:
        async with serving() as served:
            for host in (
                "evil.example",
                "evil.example:80",
                "10.0.0.5",
                "localhost.evil.example",
                "",
                "[::1",
                "a@localhost",
            ):
                for target in ("/", "/api/state", "/static/style.css", f"/?token={TOKEN}"):
                    assert (await served.ask(target, Host=host)).status == 400, host
            for host in ("localhost", "127.0.0.1:8", "[::1]:8", "LOCALHOST"):
                assert (await served.ask(Host=host)).status == 200, host

    play(scene())


def test_with_a_token_everything_needs_it_even_on_loopback() -> None:
    async def scene() -> None:
        async with serving(token=TOKEN) as served:
            served.note(seen_at(1.0))
            assert TOKEN not in "".join(served.said)
            for target in (
                "/",
                "/static/style.css",
                "/api/state",
                "/api/events",
                "/api/report",
                "/runs",
                "/x",
                "/?token=x",
            ):
                for header in ({}, {"Authorization": "Bearer wrong"}, {"Cookie": f"smssim-{served.port}=a.b"}):
                    answer = await served.ask(target, **header)
                    assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer"), target
                    assert "open /?token=TOKEN once" in answer.text
                    assert "set-cookie" not in answer.headers
            assert (await served.ask("/api/state", Authorization=f"Bearer {TOKEN}")).status == 200
            assert (await served.ask(f"/api/state?token={TOKEN}")).status == 401

    play(scene())


def test_a_browser_gets_a_session_for_the_token_and_keeps_it_over_a_restart() -> None:
    async def scene() -> None:
        async with serving(token=TOKEN) as served:
            port = served.port
            answer = await served.ask(f"/?run=a%20b&token={TOKEN}")
            assert (answer.status, answer.headers["location"], answer.body) == (303, "/?run=a+b", b"")
            cookie, *attributes = answer.headers["set-cookie"].split("; ")
            assert set(attributes) == {"Path=/", "HttpOnly", "SameSite=Strict"}
            assert TOKEN not in cookie
            other = await served.ask(f"/?token={TOKEN}")
            assert other.headers["set-cookie"].split("; ")[0] != cookie
            assert other.headers["location"] == "/"
            assert (await served.ask(Cookie=f"a=b; {cookie}; c")).status == 200
            assert (await served.ask(Cookie=cookie[:-1] + ("0" if cookie[-1] != "0" else "1"))).status == 401
            assert (await served.ask(Cookie=cookie.replace(str(port), str(port + 1)))).status == 401
        async with serving(token=TOKEN, port=port) as served:
            assert (await served.ask(Cookie=cookie)).status == 200
        async with serving(token=TOKEN + "x", port=port) as served:
            assert (await served.ask(Cookie=cookie)).status == 401
        async with serving() as served:  # without a token
            answer = await served.ask("/?token=whatever")
            assert (answer.status, answer.headers["location"], "set-cookie" in answer.headers) == (303, "/", False)

    play(scene())


# -- streams


def test_a_stream_begins_with_the_newest_frame_and_ends_with_the_last_one_and_over() -> None:
    async def scene() -> None:
        async with serving() as served:
            waiting = await served.follow()  # before there is a run
            served.note(seen_at(1.0))
            assert (await waiting.frame())["progress"]["elapsed_s"] == 1
            late = await served.follow(RUN_ID)
            assert (await late.frame())["progress"]["elapsed_s"] == 1
            served.note(seen_at(2.0))
            for stream in (waiting, late):
                assert (await stream.frame())["progress"]["elapsed_s"] == 2
            served.note(seen_at(3.0)).note(end_of())
            closing = asyncio.create_task(served.page.close())
            for stream in (waiting, late):
                last = await stream.frame()
                assert last["progress"] == json.loads(json.dumps(end_of().as_dict()))
                assert await stream.next() == ("over", {"reason": "all runs have ended"})
                assert await stream.next() is None
            assert await closing

    play(scene())


def test_frames_are_made_once_for_all_viewers_and_only_if_there_are_any() -> None:
    async def scene() -> None:
        async with serving() as served:
            viewers = served.page._page.viewers  # type: ignore[union-attr]
            for second in range(50):
                served.note(seen_at(float(second)))
            assert viewers.made == 0
            streams = [await served.follow() for _ in range(10)]
            for stream in streams:
                assert (await stream.frame())["progress"]["elapsed_s"] == 49
            assert viewers.made == 1
            served.note(seen_at(50.0))
            for stream in streams:
                stream.close()
            await until(lambda: not len(viewers))
            made = viewers.made
            for second in range(51, 60):
                served.note(seen_at(float(second)))
            assert viewers.made == made

    play(scene())


def test_a_stream_never_begins_with_a_frame_from_before_the_state_that_its_viewer_has_fetched() -> None:
    async def scene() -> None:
        async with serving() as served:
            served.note(seen_at(1.0))
            (await served.follow()).close()
            await until(lambda: served.page._page.viewers.made == 1 and not len(served.page._page.viewers))  # type: ignore[union-attr]
            served.note(seen_at(600.0))
            assert (await (await served.follow()).frame())["progress"]["elapsed_s"] == 600

    play(scene())


def test_there_is_at_most_one_frame_per_second_and_it_has_the_newest_figures() -> None:
    async def scene() -> None:
        async with serving(replace(QUICK, page_shared_s=0.3)) as served:
            served.note(seen_at(1.0))
            stream = await served.follow()
            await stream.frame()
            for tenth in range(11, 21):
                served.note(seen_at(tenth / 10))
            assert (await stream.frame())["progress"]["elapsed_s"] == 2
            served.note(seen_at(2.1))
            served.note(end_of())  # the last frame does not wait
            assert (await stream.frame())["progress"]["final"]
            assert served.page._page.viewers.made == 3  # type: ignore[union-attr]

    play(scene())


def test_a_stream_of_an_ended_run_has_its_last_frame_and_ends() -> None:
    async def scene() -> None:
        async with serving(replace(QUICK, page_over_s=0.01), linger=True) as served:
            served.note(seen_at(1.0)).note(end_of())
            stream = await served.follow(RUN_ID)
            assert await stream.rest() == ["frame"]

    play(scene())


def test_the_streams_of_a_dropped_run_end_and_those_of_others_go_on() -> None:
    async def scene() -> None:
        async with serving(linger=True) as served:
            served.note(seen_at(1.0)).note(seen_at(1.0, run_id=OTHER))
            gone, other = await served.follow(RUN_ID), await served.follow(OTHER)
            served.page.dropped(RUN_ID)
            await gone.rest()
            await other.frame()
            served.note(seen_at(2.0, run_id=OTHER))
            assert (await other.frame())["progress"]["elapsed_s"] == 2

    play(scene())


def test_a_stream_without_frames_gets_signs_of_life() -> None:
    async def scene() -> None:
        async with serving(replace(QUICK, page_alive_s=0.01)) as served:
            stream = await served.follow()
            while await stream._line() != b":\n":
                pass
            served.note(seen_at(1.0))
            await stream.frame()

    play(scene())


def test_a_viewer_that_has_left_makes_room() -> None:
    async def scene() -> None:
        async with serving(replace(QUICK, page_viewers_max=3)) as served:
            viewers = served.page._page.viewers  # type: ignore[union-attr]
            streams = [await served.follow() for _ in range(3)]
            full = await served.ask("/api/events")
            assert (full.status, full.headers["retry-after"]) == (503, "5")
            assert (await served.ask("/api/state")).status == 200
            streams[0].close()
            await until(lambda: len(viewers) == 2)
            await served.follow()

    play(scene())


# -- the port, the log, the libraries


def test_a_busy_port_is_refused_in_one_line() -> None:
    async def scene() -> str:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            with pytest.raises(UsageError) as refused:
                async with serving(port=port):
                    pass
            return str(refused.value).replace(str(port), "PORT")

    expected = "--web: got PORT; expected an available port on 127.0.0.1 (address already in use)"
    assert play(scene()) == expected


def test_without_the_extra_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for missing in ("starlette", "uvicorn"):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, missing, None)
            with pytest.raises(UsageError) as refused:
                Page(MonitorSettings(web=0), node_log("monitor")).check()
        assert str(refused.value) == "--web: starlette and uvicorn are not installed: run pip install 'smssim[web]'"


def test_starlette_and_uvicorn_are_loaded_only_when_a_page_is_opened() -> None:
    code = "import sys, smssim.nodes.monitor, smssim.nodes.watch, smssim.launch.cluster, smssim.web.page\n"
    code += "from smssim.settings import MonitorSettings\n"
    code += "smssim.web.page.Page(MonitorSettings(web=0), None).check()\n"
    code += "print({'starlette', 'uvicorn', 'h11', 'anyio'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "set()"


def test_a_fault_in_an_answer_is_logged_once_and_the_page_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(document: dict[str, Any]) -> Content:
        raise ZeroDivisionError

    async def scene() -> None:
        monkeypatch.setattr(reports, "content", broken)
        async with serving() as served:
            served.note(seen_at(1.0))
            for _ in range(3):
                failed = await served.ask("/api/report")
                assert (failed.status, failed.headers["content-security-policy"]) == (500, POLICY)
            assert (await served.ask("/api/state")).status == 200
            assert sum("failed to answer" in line for line in served.said) == 1

    play(scene())


def test_if_the_server_fails_the_log_says_so_once_and_the_node_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        async with serving() as served:
            served.note(seen_at(1.0))
            stream = await served.follow()
            await stream.frame()
            page = served.page._page
            assert page is not None
            monkeypatch.setattr(page.server, "on_tick", None)
            await until(lambda: any("not served any more" in line for line in served.said))
            assert await stream.next() is None
            with pytest.raises(ConnectionError):
                await served.connect()
            served.note(seen_at(2.0)).note(end_of())
        assert sum("not served any more" in line for line in served.said) == 1

    play(scene())


def test_strangers_write_nothing_into_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async def scene() -> None:
        async with serving(token=TOKEN) as served:
            upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Authorization": f"Bearer {TOKEN}"}
            reader, writer = await served.connect()
            writer.write(request("/api/state", **upgrade))
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")
            writer.close()
            for one in (b"\x16\x03\x01", b"x\r\n\r\n", request(f"/?token={TOKEN}"), request("/", "POST")):
                await served.raw(one + b"\r\n\r\n")
            assert served.said == [f"Page at {served.url} (open it once as /?token=TOKEN)"]

    with caplog.at_level(logging.INFO):
        play(scene())
    assert [record.getMessage() for record in caplog.records if record.name != "asyncio"] == []


def test_a_page_without_viewers_ends_at_once_and_leaves_nothing_behind() -> None:
    async def scene() -> None:
        async with serving(replace(QUICK, page_farewell_s=1000.0)) as served:
            served.note(seen_at(1.0))
            reader, writer = await served.connect()  # an idle connection
            await served.ask()
        assert await reader.read() == b""
        writer.close()
        with pytest.raises(ConnectionError):
            await served.connect()

    play(scene())


def test_a_page_waits_until_its_viewers_have_the_report_of_the_end() -> None:
    async def scene() -> None:
        async with serving(replace(QUICK, page_farewell_s=1000.0)) as served:
            served.note(seen_at(1.0))
            streams = [await served.follow() for _ in range(3)]
            served.note(end_of())
            closing = asyncio.create_task(served.page.close())
            for stream in streams:
                assert (await stream.rest())[-1] == "over"
                for path in ("report", "state"):
                    assert not closing.done()
                    assert (await served.ask(f"/api/{path}?run={RUN_ID}")).status == 200
            assert await closing

    play(scene())


def test_viewers_that_never_read_do_not_delay_the_end() -> None:
    async def scene() -> None:
        async with serving(replace(QUICK, page_farewell_s=0.05)) as served:
            served.note(seen_at(1.0))
            stream = await served.follow()
            served.note(end_of())
            assert await served.page.close()  # no report was fetched
            stream.close()

    play(scene())


def test_a_page_that_was_never_opened_can_be_closed() -> None:
    page = Page(MonitorSettings(web=0), node_log("monitor"))
    Served(page, "http://127.0.0.1:1/", []).note(seen_at(1.0)).note(end_of())
    page.dropped(RUN_ID)
    assert asyncio.run(page.close())
