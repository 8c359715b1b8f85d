"""MM-BD: maximum margins, compared with a null (paper, section 5)."""
