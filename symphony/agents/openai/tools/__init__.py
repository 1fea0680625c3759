"""What the model can call: one file a tool, and the registry that the loop uses."""

from symphony.agents.openai.tools.desk import Arguments, Desk, Result, Tool
from symphony.agents.openai.tools.registry import call, for_run, schema
from symphony.agents.openai.tools.sessions import Sessions

__all__ = ["Arguments", "Desk", "Result", "Sessions", "Tool", "call", "for_run", "schema"]
