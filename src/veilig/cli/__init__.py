"""How does the terminal talk to a session? Parse, call `veilig.app`, print. No decision is taken here."""
