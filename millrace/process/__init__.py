"""What every main() does the same way: settings, lifecycle, health."""
