"""What hardy mrc, rift and why share: how criticality is measured, in one process or several."""
