"""Who may talk to an extension, how fast, and how much memory it may take."""
