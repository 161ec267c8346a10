cd /app && git log --format=%H --grep="Speed up net" > culprit.txt
