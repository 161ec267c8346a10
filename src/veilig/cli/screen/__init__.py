"""How does a person work with a session on a full screen? Its events, drawn; keys and words back."""
