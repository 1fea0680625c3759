"""The tool `apply_patch`: a patch that fits is applied whole, one that does not is explained and changes nothing."""

from __future__ import annotations

from pydantic import Field

from symphony.agents.openai.tools.desk import Arguments, Desk, Result, Said, Tool
from symphony.agents.openai.tools.hand import ask


class _Arguments(Arguments):
    patch: Said = Field(description="The patch, from *** Begin Patch to *** End Patch.")


def _apply(arguments: _Arguments, desk: Desk) -> Result:
    return ask(desk, "patch", {"text": arguments.patch})


TOOL = Tool(
    name="apply_patch",
    description="""Change files of the workspace by a patch. All of it is applied, or nothing. The format:

*** Begin Patch
*** Add File: src/new.py
+first line
+second line
*** Update File: src/old.py
*** Move to: src/renamed.py
@@ class Shop
@@     def close(self):
     three lines of context before the change,
     as they are in the file
-    a line to remove
+    a line to add
     three lines of context after it
*** Delete File: src/obsolete.py
*** End Patch

Paths are relative to the workspace. "Move to" is optional. A file has any number of hunks, from top to bottom; each begins
with @@, and where its context occurs more than once, name the class or function around it behind @@, one a line, outermost
first. Each line of a hunk begins with a space (context), - or +. "*** End of File" after a hunk ties it to the file's
end.""",
    arguments=_Arguments,
    work=_apply,
    changes=True,
)
