"""The agent of kind `openai`: a conversation with a model that works in the workspace by calling tools."""
