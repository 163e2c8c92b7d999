"""PocketVLA, the small policy shipped inside the package."""
