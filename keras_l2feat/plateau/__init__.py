"""Plateau."""
