"""What is served over HTTP? The gateway with an OpenAI-compatible API and the shared live page."""
