"""A fleet: every model of a folder or a manifest, scanned once for as long as nothing about it changes."""
