"""Evidence: automatic checks that a policy asks for, and their stored, dated results."""
