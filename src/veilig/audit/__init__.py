"""How are weaknesses in source code found without ever running it?

`scan_sources` is the pure entry; `collect` reads a tree with bounds; `python -m veilig.audit.worker` does
both
inside the sandbox. Rules are data in `rules/`, the abstract interpreter is in `engine/`.
"""
