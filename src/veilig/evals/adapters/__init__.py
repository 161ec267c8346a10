"""How do Harbor and Inspect AI run our agents, our wall and our gate? One module for each side of each."""
