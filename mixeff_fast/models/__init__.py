"""What users hold: compiled specifications and fitted models. Each method calls a room below."""
