cat > /app/rotate.sh <<'SH'
#!/bin/bash
set -u
file=$1 keep=${2:-}
[[ $keep =~ ^[1-9][0-9]*$ ]] || { echo "KEEP must be a positive number" >&2; exit 2; }
for ((i = keep; i >= 1; i--)); do
  [ -e "$file.$i" ] || continue
  if ((i == keep)); then rm -f -- "$file.$i"; else mv -- "$file.$i" "$file.$((i + 1))"; fi
done
cp -p -- "$file" "$file.1" && : > "$file"
SH
