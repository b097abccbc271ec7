"""Versioned artifacts as pydantic models. Importing a module here imports pydantic, so callers do it on first use."""
