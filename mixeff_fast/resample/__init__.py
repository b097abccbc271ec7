"""Simulation from a fitted model."""
