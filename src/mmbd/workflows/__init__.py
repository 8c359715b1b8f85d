"""Whole jobs over the rooms below, without a screen."""
