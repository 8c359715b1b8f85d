"""One seeded training loop, compiled or private where that is asked for."""
