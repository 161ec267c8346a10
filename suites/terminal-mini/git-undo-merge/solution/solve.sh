cd /app && git -c user.name=A -c user.email=a@example.org revert --no-edit -m 1 "$(git log --merges --format=%H -1)"
