"""Programs that torch.export wrote (.pt2), read and built by code of the project's own."""
