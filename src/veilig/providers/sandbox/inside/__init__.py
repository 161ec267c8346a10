"""What runs behind the wall? Standard library only: the box cannot import veilig, and nothing here may."""
