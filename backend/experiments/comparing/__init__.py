"""What arms did beside each other: counted from the inference log, judged, and told to whoever waits for it."""
