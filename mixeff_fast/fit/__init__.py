"""Fitting: cross-product assembly, the engine, the search and the certificate. Numbers in, numbers out."""
