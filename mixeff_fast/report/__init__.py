"""The only author of prose: artifacts in, text and HTML out."""
