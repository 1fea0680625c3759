"""The Celery application: the doorbell of the house.

Messages carry a run's id and a stage's name; everything true is in PostgreSQL. Each setting below follows from that, or
from a measured trap of Celery and Redis, and says which. The tasks are not included: beat and Flower know them by name,
and start without the engine in half the time; a worker imports `workers.tasks` by itself.
"""

from __future__ import annotations

import os
from typing import Any

from celery import Celery, signals
from kombu.transport import TRANSPORT_ALIASES

from symphony.settings import load
from symphony.telemetry import log as logging

PREFIX = "symphony."
CONTROL_QUEUE = "control"
STAGE_QUEUES = ("provision", "proof", "land")

settings = load()

# What is no message must not end a worker, whichever way the url names the broker.
TRANSPORT_ALIASES.update(dict.fromkeys(("redis", "rediss"), "workers.transport:Transport"))


def agent_queue(node: str) -> str:
    """Name the queue on which a node's agents are rung."""
    return f"agent.{node}"


def route(name: str, _args: Any, _kwargs: Any, _options: Any, task: Any = None, **_: Any) -> dict[str, str] | None:
    """Choose a message's queue when it is published; an agent follows the node that has just provisioned it."""
    stage = name.removeprefix(PREFIX)
    if stage == "agent":
        return {"queue": agent_queue(settings.node)}
    return {"queue": stage if stage in STAGE_QUEUES else CONTROL_QUEUE}


app = Celery("symphony", broker=settings.broker_url)
app.conf.update(
    # Results are columns of `runs`; a result backend would be a second truth.
    result_backend=None,
    task_ignore_result=True,
    # Acknowledged on receipt, claimed in PostgreSQL: a visibility time-out would hand long work out twice.
    task_acks_late=False,
    task_reject_on_worker_lost=False,
    # An idle worker must not starve beside one that has fetched ahead.
    worker_prefetch_multiplier=1,
    worker_disable_prefetch=True,
    # Our lease decides who works on, not a blink of Redis.
    worker_cancel_long_running_tasks_on_connection_loss=False,
    # Nothing but JSON is read from a broker that anybody on the network may write to.
    task_serializer="json",
    accept_content=["json"],
    # Flower's view.
    worker_send_task_events=True,
    task_send_sent_event=True,
    # Logs are structured by symphony.telemetry.
    worker_hijack_root_logger=False,
    worker_redirect_stdouts=False,
    task_routes=(route,),
    task_default_queue=CONTROL_QUEUE,
    task_create_missing_queues=True,
    broker_transport_options={
        # Several deployments may share a server.
        "global_keyprefix": "symphony.",
        # No books on who has read what: a doorbell that was lost is rung again by the dispatcher.
        "ack_emulation": False,
        "socket_timeout": 10,
        "socket_connect_timeout": 3,
        "socket_keepalive": True,
        "health_check_interval": 10,
        "retry_on_timeout": True,
    },
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    broker_connection_timeout=3,
    # A doorbell that cannot be rung now is rung by the next tick.
    task_publish_retry=False,
    beat_scheduler="beat.scheduler:TickScheduler",
    beat_max_loop_interval=settings.tick.total_seconds(),
    enable_utc=True,
    worker_proc_alive_timeout=30,
)


@signals.setup_logging.connect
def _configure_logging(loglevel: Any = None, **_: Any) -> None:
    logging.configure(level=os.environ.get("SYMPHONY_LOG_LEVEL", "INFO"), as_json=bool(os.environ.get("SYMPHONY_LOG_JSON")))
