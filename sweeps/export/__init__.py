"""Take a trial's model home: choose, remake, write, verify, describe, reproduce."""
