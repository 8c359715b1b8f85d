"""What a trigger is, the known ones, and how they are kept on disk."""
