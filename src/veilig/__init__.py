"""veilig: an agent for code and infrastructure that stays inside bounds its operators wrote down."""

__version__ = "0.1.0"
