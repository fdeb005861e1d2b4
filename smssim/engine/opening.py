"""Opening the log of a node on an engine, and waiting for servers that do not run yet.

Loads nats-py only when a log is opened. Must not know what the log holds.
"""

from __future__ import annotations

import asyncio
import importlib
import random
from dataclasses import replace
from typing import TYPE_CHECKING

from smssim.core.limits import LIMITS, Limits
from smssim.core.log_store import UnclearError
from smssim.core.reconnect import Kind, Loss, Reconnector
from smssim.engine import checks, credentials
from smssim.engine.credentials import Credentials
from smssim.errors import UsageError
from smssim.process.logs import Log
from smssim.settings import EngineSettings

if TYPE_CHECKING:
    from smssim.engine.connection import Connection
    from smssim.engine.nats_store import NatsStore


async def load(settings: EngineSettings) -> Credentials:
    """Return what the node presents to the servers. Raises UsageError if that can't be read, or nats-py is missing."""
    try:
        importlib.import_module("nats")
        return await asyncio.to_thread(credentials.load, settings)
    except ImportError as error:
        raise credentials.missing(error.name) from error


async def open_store(
    settings: EngineSettings, presented: Credentials, kind: str, log: Log, limits: Limits = LIMITS
) -> NatsStore:
    """Return the log of the producer or the monitor (`kind`) of the run that the settings name.

    Waits as long as no server answers, and logs that. Raises UsageError if the engine can't be used: credentials,
    versions or settings are wrong, or fewer servers run than `--engine-replicas` says after `Limits.engine_ready_s`.
    """
    from smssim.engine.connection import Connection
    from smssim.engine.nats_store import NatsStore

    run = settings.run_name
    pace = replace(limits, backoff_max_s=limits.append_retry_max_s)
    reconnector = Reconnector(f"engine {settings.engine}", settings.give_up_s, random.uniform, pace)
    connection = Connection(settings.engine_servers, presented, log, limits)
    store = NatsStore(connection, reconnector, f"SMSSIM_{run}_{kind.upper()}", f"smssim.{run}.{kind}", limits)
    try:
        await _prepare(store, connection, settings, log, limits)
        await checks.check_monitoring(settings, presented, log, limits)  # now the servers run
    except BaseException:
        await store.close()
        raise
    return store


async def _prepare(
    store: NatsStore, connection: Connection, settings: EngineSettings, log: Log, limits: Limits
) -> None:
    from smssim.engine.nats_store import TooFewError

    now = asyncio.get_running_loop().time
    too_few_since: float | None = None
    while True:
        try:
            await connection.open()
            await store.prepare(settings.engine_replicas)
        except UnclearError as error:
            if connection.denied:
                raise UsageError(f"--engine: the user may not use JetStream: {connection.denied}") from error
            if isinstance(error, TooFewError):
                too_few_since = now() if too_few_since is None else too_few_since
                if now() - too_few_since > limits.engine_ready_s:
                    replicas = settings.engine_replicas
                    todo = f"start more servers, or use a lower number ({error})"
                    raise UsageError(f"--engine-replicas: got {replicas}; expected as many servers: {todo}") from error
            retry = store.reconnector.retry(Loss(Kind.MAY_PASS, str(error)), now())
            if retry.notice:
                log.info(retry.notice)
            await asyncio.sleep(retry.wait_s)
        else:
            log.info(store.reconnector.found(now()))
            return
