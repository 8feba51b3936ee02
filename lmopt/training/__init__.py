"""Training: device, trainer, losses, imitation, schedules, calibration."""
