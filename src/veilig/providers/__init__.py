"""Which hands touch the world?

Files, sandbox, services, containers, models and so on; only `veilig.app` names one.

The only folder that starts processes. Every provider passes `tests/conformance/`.
"""
