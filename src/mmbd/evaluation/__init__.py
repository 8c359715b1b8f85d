"""Detectors asked about labelled models, the answers, and the tables that are made of them."""
