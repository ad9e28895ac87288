"""What a running system tells about itself, to people and to machines."""
