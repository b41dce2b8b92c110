"""What the studies do; `recipes/<name>.py` says how each is called."""
