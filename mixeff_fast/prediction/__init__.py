"""Predictions from a fitted model."""
