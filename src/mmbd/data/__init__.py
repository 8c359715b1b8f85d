"""Labelled samples: read from files of strangers, or made up."""
