"""How the defaults of the detector were chosen, and the tables that it ships."""
