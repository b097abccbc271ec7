"""Archives of fits, compiled models and sufficient statistics. Nothing that is read is executed: formulas are parsed as any
other, arrays hold numbers only, and no file expands to more than it is allowed to."""
