"""What do many machines share? The queue of sessions, their leases, and the copies they work on."""
