"""What is asked: experiment files become one validated, frozen, hashable description.

TOML -> pydantic models (strict, unknown keys refused) -> `Experiment` -> canonical JSON -> SHA-256 -> one
`Task` a cell.
"""
