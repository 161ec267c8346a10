"""How do several people share one session? Rooms, roles, views, the approvals inbox."""
