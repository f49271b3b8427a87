"""The bytes of the session protocol: frames, their types, and the hello. No I/O."""
