"""Inference on fixed effects."""
