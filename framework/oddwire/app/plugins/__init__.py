"""From plugins to frozen tables: found, loaded, registered, and put together."""
