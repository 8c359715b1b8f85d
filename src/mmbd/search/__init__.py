"""Gradient searches in input space: maximum margins and universal perturbations."""
