"""Tools and consumers: declaring them, checking their arguments, describing them, loading and running them.

Start with ``tool.py`` (the decorator, and the record that it makes) and ``consumer.py`` (what a worker calls).
"""

from taskserver.tools.call import check
from taskserver.tools.codec import convert, decode, encode
from taskserver.tools.consumer import BaseConsumer, RunPlan, ToolExecutionConsumer
from taskserver.tools.context import Accepted, Context, Sink
from taskserver.tools.key_values import guessed, parse_key_values
from taskserver.tools.lifespan import Lifespan, worker_lifespan
from taskserver.tools.loading import Toolbox, load, load_some
from taskserver.tools.running import RunningToolbox
from taskserver.tools.schema import FORMATS, describe, json_schema
from taskserver.tools.secrets import secret_fields
from taskserver.tools.threads import run_in_thread
from taskserver.tools.tool import Tool, tool, tool_of

__all__ = [
    "FORMATS",
    "Accepted",
    "BaseConsumer",
    "Context",
    "Lifespan",
    "RunPlan",
    "RunningToolbox",
    "Sink",
    "Tool",
    "ToolExecutionConsumer",
    "Toolbox",
    "check",
    "convert",
    "decode",
    "describe",
    "encode",
    "guessed",
    "json_schema",
    "load",
    "load_some",
    "parse_key_values",
    "run_in_thread",
    "secret_fields",
    "tool",
    "tool_of",
    "worker_lifespan",
]
