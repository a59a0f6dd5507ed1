"""Roll out, refine and check video world models."""
