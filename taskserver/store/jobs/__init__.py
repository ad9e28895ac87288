"""What happens to jobs: each transition is called here."""
